// Package event has what the simulator's parts tell each other, as plain values:
// News for the oracle, and Records for whoever reads a trace.
//
// News says what happened on the wire, in the store and at the holders, never
// what it means. Whoever runs the product sends it at the instant at which it
// happens, with the clocks of that Instant. The package decides nothing, and
// imports nothing of this module but the plain types of fencing and snowflake.
package event
