// Package turns replaces sync/atomic and sync in code whose interleavings are to
// be searched. Each operation on its types takes a turn: the thread waits for its
// turn, and then does the operation and all that follows up to its next operation.
// Search searches every order of turns. The package is for code that is built with
// an overlay, never for production.
//
// A process has one search at a time, whose threads are coroutines of one
// goroutine. The present thread is in a variable of the package, because the types
// must work from their zero value, as the types that they replace do.
package turns
