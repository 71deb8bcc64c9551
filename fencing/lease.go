package fencing

import (
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// State is what a node ID is at an instant: worked out when it matters, from
// its record and the clocks, and written down nowhere.
type State uint8

// The states of a node ID.
const (
	// Held: its record is live and the deadline has not passed.
	Held State = iota + 1
	// Quarantined: neither held nor free.
	Quarantined
	// Free: it can be granted.
	Free
)

// String gives the state in lower case.
func (s State) String() string {
	switch s {
	case Held:
		return "held"
	case Quarantined:
		return "quarantined"
	case Free:
		return "free"
	}
	return "unknown"
}

// lease is a record as the server knows it: with the deadline and the ceiling
// as heartbeats have moved them. There is one per node ID ever granted, maybe
// a million, so its size counts.
type lease struct {
	node   snowflake.NodeID
	status Status
	// shelf is the index that the lease stands in: what it was when it was
	// last looked at. No rule asks it; rules compare.
	shelf State
	// cooling says which of the two heaps a quarantined one is in.
	cooling bool
	// slot is its place in a heap.
	slot int32
	// lookSlot is its place in the pool's quiet heap, from 1; inLine: it waits
	// for a silence note; 0: neither, as only a write under way or an end leave it.
	lookSlot int32
	epoch    Epoch
	app      AppID
	instance InstanceHash
	ttl      time.Duration
	// floor ≤ every timestamp used ≤ ceiling.
	floor, ceiling snowflake.Millis
	// deadline is the steady time until which the holder may be live.
	deadline time.Duration
	// due is the key in a heap: when to look again.
	due time.Duration
	// noteAt is the steady time from which it counts as silent (S5), and
	// lookAt ≤ noteAt the key in the quiet heap.
	noteAt, lookAt time.Duration
	// note is its silence note, as acknowledged; nil: none.
	note *Silence
	// pending is the write of this record that is under way (S1).
	pending *change
	// prev and next link the free ones, longest free first.
	prev, next *lease
}

// set takes over a record as it was acknowledged.
func (l *lease) set(rec *Record) {
	l.status, l.epoch, l.app, l.instance = rec.Status, rec.Epoch, rec.App, rec.Instance
	l.ttl, l.floor, l.ceiling = rec.TTL, rec.Floor, rec.Ceiling
	if l.note = nil; rec.Silence.Noted {
		note := rec.Silence
		l.note = &note
	}
}

// record is what the store would be told of the lease now.
func (l *lease) record(pool PoolName) Record {
	rec := Record{
		Pool: pool, Node: l.node, Epoch: l.epoch, App: l.app, Instance: l.instance,
		TTL: l.ttl, Status: l.status, Floor: l.floor, Ceiling: l.ceiling,
	}
	if l.note != nil {
		rec.Silence = *l.note
	}
	return rec
}

// ended is the record of the lease's end. It has no silence note: there is
// nothing to wait for but its ceiling.
func (l *lease) ended(pool PoolName) Record {
	rec := l.record(pool)
	rec.Status, rec.Silence = Ended, Silence{}
	return rec
}

// matches says whether a request speaks of this very lease.
func (l *lease) matches(ref LeaseRef) bool {
	return l != nil && l.epoch == ref.Epoch && l.instance == ref.Instance
}

// change is a record's write that is under way.
type change struct {
	kind changeKind
	// deadline is a grant's, or that of a holder that was heard: a repeated
	// Acquire or heartbeat moves it while the write is still under way (S2, S5).
	deadline time.Duration
	instance InstanceHash
	ttl      time.Duration
	// from is the shelf that the lease was taken off.
	from State
}

type changeKind uint8

const (
	changeGranted changeKind = iota + 1
	changeReleased
	changeRevoked
	changeNoted
	// changeSilent writes a silence note, and changeHeard takes it away (S5).
	changeSilent
	changeHeard
)

// moves says whether the lease leaves its shelf for as long as the write is
// under way.
func (k changeKind) moves() bool { return k != changeNoted && k != changeSilent }

// state compares; see "The life of a node ID" in the package's documentation.
func (p *pool) state(l *lease, at reading) State {
	switch {
	case l.status == Live && at.steady < l.deadline:
		return Held
	case p.isFree(l, at):
		return Free
	}
	return Quarantined
}

// isFree says whether the ID can be granted, but for a write under way:
// everything that could ever be promised under the lease lies in the past.
func (p *pool) isFree(l *lease, at reading) bool {
	return at.server > l.ceiling && (l.status == Ended || at.steady >= l.deadline+p.QuarantineOf(l.ttl))
}

// freeAt is the steady time at which the ID can be free at the earliest, as
// far as can be told now: server time may yet run slower, and heartbeats come.
func (p *pool) freeAt(l *lease, at reading) time.Duration {
	free := at.steady
	if left := l.ceiling - at.server; left >= 0 {
		free += left.Sub(-1)
	}
	if l.status != Ended {
		free = max(free, l.deadline+p.QuarantineOf(l.ttl))
	}
	return free
}
