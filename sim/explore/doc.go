// Package explore looks at every state that the rules of package fencing can
// get into in small scopes: one to three node IDs and holders, clocks that go in
// a few steps, and a bounded number of faults, in every order. It drives the
// real fencing.Server and fencing.Holder, by breadth-first search, and checks
// the promises in each state. A simulation tries much that is likely; this tries
// all that is small.
//
// # What a state is
//
// A leader, and up to two deposed servers that don't know yet; the writes that
// they wait for; what the store holds; the holders with all that their
// generators may mint; requests and replies under way; the service's steady
// clock, how far the others' lag behind it, and what the wall clock is off by;
// and of the past what later steps can contradict: windows that were closed and
// epochs that were told.
//
// # What can happen
//
// Time passes, for each machine or not; the wall clock is set. A request comes
// to the leader or to a deposed server, a reply to its holder or to the next
// incarnation: late, twice, out of order, or never. A write is acknowledged, in
// any order. The leader crashes or is deposed, each of its writes under way
// being durable or lost, and another one starts on what the store holds. A
// holder gives its lease back, having used nothing, its floor or all; or dies.
// An operator revokes a lease. A stranger tries to use one.
//
// # What is checked
//
// P1, P2 and P3 of the design; that a lease whose record is durable as ended or
// revoked is never promised again; Server.Check and Holder.Check. P2 does not
// wait until something is minted: what a holder may mint, it may mint at any
// time until its generator is stopped, whatever its clock says, as it may have
// been paused just after it had looked. P1 is left out where the scope's clocks
// lie.
//
// # How it stays small
//
// States that differ only in what can make no difference are one: see the
// AppendFingerprint methods of package fencing, and (*holder).age. Holders that
// no server has heard of are alike. And unless a scope is Lazy, whoever has
// something to do when its clock moves on does it then: what it sends may come
// late or never, which is as good as having slept. What became of a part that
// was told something is remembered, since most states differ in other parts.
//
// Not looked at: queues of waiting requests, changes of pools, stores that were
// lost or recovered, times that differ by less than a Unit. Those are the
// simulator's.
package explore
