// Package explore searches all states that the rules of package fencing can
// reach in small scopes: one to three node IDs and holders, clocks of a few
// steps, and a bounded number of faults, in every order. It is a breadth-first
// search over the real fencing.Server and fencing.Holder, and checks the promises
// in each state. The simulator samples large worlds; explore exhausts small ones.
//
// # What a state is
//
// A state has a leader, and up to two deposed servers that do not know it yet;
// the writes that these wait for; the contents of the store; the holders, each
// with the window in which its generator may mint; requests and replies in
// flight; the service's steady clock, the lag of the other steady clocks behind
// it, and the offset of the wall clock; and that part of the past which a later
// step can contradict: closed windows and promised epochs.
//
// # What can happen
//
// Time passes, for each machine or not; the wall clock is set. A request reaches
// the leader or a deposed server, and a reply reaches its holder or the holder's
// next incarnation: late, twice, out of order, or never. Writes are acknowledged
// in any order. The leader crashes or is deposed; each of its pending writes is
// then durable or lost, and another server starts on what the store holds. A
// holder dies, or releases its lease after it has used nothing, only the floor,
// or all of its window. An operator revokes a lease. A client with a made-up
// instance ID tries to use a lease.
//
// # What is checked
//
// P1, P2 and P3 of the design; that a lease whose record is durable as ended or
// revoked is never promised again; and Server.Check and Holder.Check. For P2,
// a holder may mint any timestamp of its window until its generator is stopped,
// whatever its clock says, because it may have been paused just after it read the
// clock. P1 is not checked in scopes whose clocks drift further than P1 allows.
//
// # How it stays small
//
// Two states are one if nothing that happens later can tell them apart: see
// fingerprint.go and (*holder).age. Holders that have not reached a server are
// interchangeable. Unless a scope is Lazy, a server or holder acts as soon as its
// clock says so; that its messages may be late or lost covers the case in which it
// acts later. The search memoizes what one part of a state does, because most
// states share that part with others.
//
// Not searched: queues of waiting requests, changes of pools, stores that were
// lost or recovered, and times that differ by less than a Unit. The simulator
// tries those.
package explore
