// Package kernel runs many machines in one thread, the same way each time: a
// loop of events, tasks that are coroutines, machines with clocks of their own,
// and the choices of a seed.
//
// A Loop lets events happen in the order of their times and, at one time, of
// their making. What blocks is a Task of a Process on a Machine, and gives the
// thread back while it waits (Loop.Park). A Machine has a steady clock and a
// wall clock that may run fast or slow, be set, or stand still, and timers that
// go by them. Choices are streams of numbers by purpose and entity, so that
// what one entity draws shifts nothing for another.
//
// The package knows nothing of leases, and must not import anything else of
// this module.
package kernel
