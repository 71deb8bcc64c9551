// Package bench measures the service and the generator, each beside its limit
// in the same run: a call beside a handler that does nothing with the same
// messages, codec, options and server, a durable write beside the disk's own
// syncs, the generator beside the clock and the compare-and-swap that it can't
// do without.
//
// Machines are shared and clock rates wander, so nothing here compares two
// numbers that were taken at different times. What is compared is measured in
// turns, in slices of a twentieth of the time, and what is reported is the median
// of the slices' ratios. A server's cost is the CPU time of its own process,
// which is why every server is a process of its own. It is a report, not a
// test: a target that is missed is printed, and nothing fails.
package bench
