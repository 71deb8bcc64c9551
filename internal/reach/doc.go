// Package reach knows the addresses of the service and which of them to use: it
// keeps to one that works, and goes on to the next when it is told that this one
// doesn't. It is what a holder and the commands share. When to go on, how long
// to try and how often is theirs to decide: nothing here looks at a clock, waits
// or starts a goroutine.
package reach
