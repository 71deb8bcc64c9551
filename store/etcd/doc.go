// Package etcd keeps a Cirrus store in an etcd cluster, for several replicas of
// which the election chooses one at a time. What it writes it writes as a term:
// a transaction puts a value that nobody wrote before under one key, the term
// record, and every later transaction compares that value. So whoever begins a
// term ends all others, at that instant, and no clock, session or election has
// a say in it (S10). The package must not rest anything but liveness on the
// election, never sends a write again, and decides nothing about what it keeps.
//
// Under the prefix, beside the keys that every store has (see package store):
//
//	leader/…      the election's: who leads, and who waits to
//	term          the term record: 128 random bits, and the replica that began the term
//	unfinished    a note: a recover or a migration is under way, or broke off, or
//	              the store was moved away; whatever it says, nobody serves the store
//
// # A write whose outcome is unknown
//
// A transaction that timed out may have been done, may be done at any moment
// from now on, or never. To send it again would not help: the first copy might
// land after a later write of the same key, and undo it. So the term ends with
// the first error: whoever wants to go on begins another one. From then on the
// late copy compares a term that is over, and does nothing.
package etcd
