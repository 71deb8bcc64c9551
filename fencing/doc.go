// Package fencing holds the rules of Cirrus: the server's (S1 to S12, type
// Server), the holder's (C1 to C7, type Holder), and what a resource does with
// an epoch (type Gate); docs/design.md states them. They are plain functions of a state and a time. The
// package does no IO, reads no clock, starts no goroutine, takes no lock and
// draws no randomness; it must stay that way, because that is what lets a test,
// a simulator and a reader go through them one step at a time.
//
// # The words
//
// A pool is a set of node IDs. A lease gives one of them to one instance of an
// app, under an epoch that is higher than all before it in the pool, with a
// window [floor, ceiling] of timestamps in Unix ms, both inclusive. The record
// is what the store keeps of a lease. It is live until it is noted as ended or
// revoked, or another grant of the node ID replaces it. Durations are measured
// on steady clocks, which only move forward and count time spent suspended.
// Server time is the server's idea of Unix ms; windows are cut by it. The mark
// is a durable ms that server time is not allowed to pass without raising it
// first, written a stride ahead.
//
// A node ID is
//
//	held         its record is live, and steady now < deadline
//	free         no write of its record is under way, server time > its last
//	             ceiling, and (no record, or an ended one, or
//	             steady now ≥ deadline + quarantine)
//	quarantined  otherwise
//
// and which of these is worked out when it matters: expiry is a comparison, no
// job (S5).
//
// # What happens to a request
//
// Acquire first looks whether the instance has a live record already. If so it
// gets the same lease again, as if by heartbeat, so that a lost reply costs
// nothing (S2). Otherwise it takes a free ID: the one that its app held last,
// or the one that has been free longest. The grant's epoch is one more than
// the highest in the pool, its floor is server time, its ceiling server time +
// TTL. Because the ID is free, floor > every ceiling ever promised under an
// earlier lease of it: windows of one ID never touch.
//
// The record goes to the store, and until the store says that it is durable
// nobody hears of the grant, and nothing else may happen to this ID (S1). Then
// the grant is looked at again, and answered as a heartbeat would be.
//
// A heartbeat is good if the record is live and has its epoch and instance,
// however late it comes: as long as no other grant has replaced the record,
// nobody else can have the ID (S3). It moves the deadline to steady now + TTL
// and the ceiling to server time + TTL, never back, and writes nothing.
//
// That is sound although the ceiling on disk is old, because no answer is
// given unless server time ≤ mark (S10). So every ceiling ever promised is at
// most mark + TTL, and that is what a restarted server takes it for (S6). Nor
// is one given unless the mark was written less than a stride ago by the
// steady clock, so a server that lost its right to answer, and does not know,
// falls silent within a stride. A restarted server adds that stride to the
// deadlines, which it counts from after it has loaded.
//
// Release ends the record, with the last timestamp that the holder used as its
// ceiling; the ID is free when server time has passed it, without quarantine
// (S4). The holder has stopped minting before it asked (C6), so its word is
// final. Revoke only stops heartbeats: the holder can't be reached, so the
// lease runs out like any other.
//
// # Why no two IDs are equal (P2)
//
// Two equal IDs have the same node ID and timestamp. Under one lease, the
// generator only ever goes up. Of two leases of one node ID, the later one's
// floor lies above every timestamp that the earlier one allows: if the same
// server granted both it knew the ceiling exactly; if not, it took mark + TTL,
// and no more was promised; if the earlier one was released, its holder had
// said where it stopped, and stopped. Not one of these steps asks a clock
// whether it is right.
//
// # Why no two holders are live at once (P1)
//
// The holder counts its deadline from before it sent the request (C2), the
// server from after it arrived. So if steady clocks ran alike, the holder
// stops first; the quarantine is the room for clocks that don't. This promise
// needs clocks that drift apart by less than the quarantine over TTL + stride.
// When they don't, P2 and P3 still stand.
//
// # Why epochs rise (P3)
//
// The highest epoch is the maximum over the pool's records and grants under
// way; a record's epoch outlives its lease. Each start, of any store, begins at a
// base that is higher than the one before and goes up with the wall clock (S2): so
// the epochs of writes that a store lost, or of a lost store, don't come again,
// unless the wall clock was set back meanwhile.
//
// # What ends well (P4)
//
// An expired ID is free after TTL + quarantine, and its window has passed by
// then unless server time runs slow; those who wait for one are served in the
// order in which they came, and a caller that is gone leaves the queue.
package fencing
