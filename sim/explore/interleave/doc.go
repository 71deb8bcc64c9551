// Package interleave searches every order in which goroutines that share one
// generator can take its atomic steps. It builds package snowflake from its own
// source, but for two imports: an overlay replaces sync/atomic and sync by package
// turns. The program in minters then searches. Nothing in snowflake knows of this.
// It needs the go command.
//
// It checks in every order that
//
//   - no ID is minted twice, under one lease or the next;
//   - each ID lies in the window that was allowed when it was minted;
//   - an ID is above all that were minted before its call started, so the IDs of
//     one goroutine rise;
//   - a call that starts after Stop has returned, or after the deadline, mints
//     nothing; no ID is above the last timestamp that Stop returns; and each call
//     of Stop returns exactly the highest timestamp that was used.
//
// The memory model is that of Go's atomics: one order of all operations. What a
// compiler or a processor does to plain variables, the race detector has to find.
package interleave
