// Package files says what the system allows with files: how many the process may
// open, and what other users of the machine may do to them. It must not read what
// is in them.
package files
