// Package interleave goes through every order in which goroutines that share
// one generator can take its atomic steps. It builds package snowflake as it
// stands, but for two imports: an overlay puts package turns in the place of
// sync/atomic and sync, and a program of package minters searches with it.
// Nothing in snowflake knows of this. It needs the go command and nothing else.
//
// What holds in every order, or is found:
//
//   - no ID is handed out twice, under one lease or the next;
//   - each lies inside the window that was allowed when it was handed out;
//   - an ID is above all that were handed out before its call began, and so
//     those of one goroutine rise;
//   - a call that begins after Stop has returned, or after the deadline, gets
//     none; none is ever above what Stop said; and Stop says exactly the
//     highest one, each time it is asked.
//
// The memory is that of Go's atomics: one order of all operations. What a
// compiler or a processor does to plain variables is the race detector's part.
package interleave
