// Package turns stands in for sync/atomic and sync in code whose interleavings
// are to be looked at one by one. Each operation on its types is a turn: the
// thread that wants to do it waits until it is its turn, and then does it and
// all that follows up to its next operation. Search goes through every order
// of turns. It is for code that is built with an overlay, never for production.
//
// There is one search at a time in a process, and all its threads are
// coroutines of one goroutine, so the present one stands in a variable of the
// package: the types have to work from their zero value, as those that they
// stand in for do.
package turns
