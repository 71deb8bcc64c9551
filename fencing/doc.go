// Package fencing implements the rules of Cirrus: the server's (S1 to S12, type
// Server), the holder's (C1 to C7, type Holder), and what a resource does with an
// epoch (type Gate). docs/design.md states the rules. They are plain functions of a
// state and a time. The package does no IO, reads no clock, starts no goroutine,
// takes no lock and draws no random numbers. It must stay that way, so that a test,
// a simulator and a reader can go through the rules one step at a time.
//
// # The words
//
// A pool is a set of node IDs. A lease gives one of them to one instance of an
// app, under an epoch that is higher than all before it in the pool, with a
// window [floor, ceiling] of timestamps in Unix ms, both inclusive. The record
// is what the store keeps of a lease. It is live until it is written as ended or
// revoked, or another grant of the node ID replaces it. Durations are measured
// on steady clocks, which only move forward and also count the time for which the
// machine is suspended. Server time is the Unix ms by which the server sets windows.
// The mark is a durable Unix ms: the server promises nothing at a server time above
// it. It is written a stride ahead.
//
// A node ID is
//
//	held         its record is live, and steady now < deadline
//	free         no write of its record is in progress, server time > its last
//	             ceiling, and (no record, or an ended one, or
//	             steady now ≥ deadline + quarantine)
//	quarantined  otherwise
//
// The state is computed when it matters: expiry is a comparison, not a job (S5).
//
// # What happens to a request
//
// Acquire first checks whether the instance already has a live record. If it has,
// it gets the same lease again, as if by heartbeat, so that a lost reply costs
// nothing (S2). Otherwise Acquire takes a free node ID: the one that the app held
// last, or else the one that has been free longest. The epoch of the grant is one
// more than the highest in the pool, its floor is server time, its ceiling server
// time + TTL. Because the node ID is free, floor > every ceiling ever promised under
// an earlier lease of it: windows of one node ID never overlap.
//
// The record goes to the store. Until it is durable, the grant is told to nobody,
// and nothing else may happen to this node ID (S1). Then the request is judged
// again, and answered like a heartbeat.
//
// A heartbeat is valid if the record is live and has its epoch and instance,
// however late it comes: as long as no other grant has replaced the record,
// nobody else can have the node ID (S3). A heartbeat moves the deadline to steady
// now + TTL and the ceiling to server time + TTL, never back. It writes nothing,
// unless the lease has a silence note (S5), which is removed first.
//
// The stored ceiling gets old, and that is safe: the server answers only while
// server time ≤ mark (S10), so every ceiling ever promised is at most mark + TTL,
// and a restarted server assumes that ceiling (S6). The server also answers only if
// the mark was written less than a stride ago by the steady clock. So a server that
// was deposed and does not know it falls silent within a stride. A restarted server
// adds that stride to the deadlines, which it counts from after it has loaded.
//
// Release ends the record, with the last timestamp that the holder used as its
// ceiling. The node ID is free when server time has passed that ceiling, without
// quarantine (S4): the holder stopped minting before it asked (C6), so no later
// timestamp was used. Revoke only stops heartbeats: the holder can't be reached, so
// the lease runs out like any other.
//
// # Why no two IDs are equal (P2)
//
// Two equal IDs have the same node ID and timestamp. Under one lease, the IDs of
// the generator only rise. Of two leases of one node ID, the later one's floor lies
// above every timestamp that the earlier one allows. If the same server granted
// both, it knew the earlier ceiling exactly. If not, it assumed mark + TTL, and no
// more was promised. If the earlier one was released, its holder had stopped, and
// said at which timestamp. None of these steps needs a clock that is right.
//
// # Why no two holders are live at once (P1)
//
// The holder counts its deadline from before it sent the request (C2), the
// server from after it arrived. So the holder stops first if steady clocks run
// alike, and the quarantine covers their drift. This promise needs clocks that
// drift apart by less than the quarantine over TTL + stride. If they drift more, P2
// and P3 still hold.
//
// # Why epochs rise (P3)
//
// The highest epoch is the maximum over the pool's records and its grants in
// progress; a record's epoch outlives its lease. Each start, of any store, begins at
// a base that is higher than the one before and rises with the wall clock (S2). So
// the epochs of lost writes or of a lost store are not granted again, unless the
// wall clock was set back meanwhile.
//
// # Why node IDs come back (P4)
//
// The node ID of a dead holder is free after TTL + quarantine, and its window has
// passed by then unless server time runs slow. Requests that wait for a node ID are
// served in the order in which they came, and one whose caller is gone leaves the
// queue.
package fencing
