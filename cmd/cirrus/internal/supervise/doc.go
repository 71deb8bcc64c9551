// Package supervise runs a child process for as long as a lease lasts: it starts
// the child, passes signals on to it, and ends it before the lease ends. It needs
// a Unix system. It must not call the service: how long the lease lasts, it is
// told. It waits for no log before it ends a child (S14).
package supervise
