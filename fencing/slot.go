package fencing

import (
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// State is the state of a node ID at an instant. It is computed from the record
// and the clocks when it matters, and stored nowhere.
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

// slot is one node ID's record and state in memory, with the deadline and the
// ceiling as heartbeats have moved them. There is one for each node ID ever
// granted, maybe a million, so its size counts.
type slot struct {
	node   snowflake.NodeID
	status Status
	// indexedAs is the part of the index that the slot is in: its state when it
	// was last moved; 0 while it is in none. No rule asks it; rules compare.
	indexedAs State
	// cooling says which of the two heaps a quarantined slot is in.
	cooling bool
	// heapAt is the slot's place in its heap.
	heapAt int32
	// quietAt is the slot's place in the pool's quiet heap, from 1; queuedForNote
	// while it waits for a silence note; 0 if neither, which only a pending write
	// or an ended record allows.
	quietAt  int32
	epoch    Epoch
	app      AppID
	instance InstanceHash
	ttl      time.Duration
	// floor ≤ every timestamp used ≤ ceiling.
	floor, ceiling snowflake.Millis
	// deadline is the steady time until which the holder may be live.
	deadline time.Duration
	// due is the key in the heap: the steady or server time at which to check the
	// slot again.
	due time.Duration
	// noteAt is the steady time from which the lease counts as silent (S5), and
	// checkAt ≤ noteAt the key in the quiet heap.
	noteAt, checkAt time.Duration
	// note is the silence note, as acknowledged; nil if there is none.
	note *Silence
	// pending is the write of this record that is in progress (S1).
	pending *pendingWrite
	// prev and next link the free slots, longest free first.
	prev, next *slot
}

// set takes over an acknowledged record.
func (l *slot) set(rec *Record) {
	l.status, l.epoch, l.app, l.instance = rec.Status, rec.Epoch, rec.App, rec.Instance
	l.ttl, l.floor, l.ceiling = rec.TTL, rec.Floor, rec.Ceiling
	if l.note = nil; rec.Silence.Noted {
		note := rec.Silence
		l.note = &note
	}
}

// record returns the record as it would be written now.
func (l *slot) record(pool PoolName) Record {
	rec := Record{
		Pool: pool, Node: l.node, Epoch: l.epoch, App: l.app, Instance: l.instance,
		TTL: l.ttl, Status: l.status, Floor: l.floor, Ceiling: l.ceiling,
	}
	if l.note != nil {
		rec.Silence = *l.note
	}
	return rec
}

// ended returns the record that ends the lease. It has no silence note: nothing
// but its ceiling has to be waited for.
func (l *slot) ended(pool PoolName) Record {
	rec := l.record(pool)
	rec.Status, rec.Silence = Ended, Silence{}
	return rec
}

// matches reports whether a request names this very lease.
func (l *slot) matches(ref LeaseRef) bool {
	return l != nil && l.epoch == ref.Epoch && l.instance == ref.Instance
}

// pendingWrite is the write of a record that is in progress.
type pendingWrite struct {
	kind pendingKind
	// deadline is the lease's deadline once a grant or the removal of a note is
	// acknowledged. A repeated Acquire or a heartbeat moves it in the meantime
	// (S2, S5).
	deadline time.Duration
	instance InstanceHash
	ttl      time.Duration
	// from is the part of the index that the slot was taken out of.
	from State
}

// pendingKind says what a pending write does.
type pendingKind uint8

const (
	pendingGrant pendingKind = iota + 1
	pendingRelease
	pendingRevoke
	// pendingEndNote notes a lease as ended that ended by time.
	pendingEndNote
	// pendingSilenceNote writes a silence note, pendingNoteRemoval removes it (S5).
	pendingSilenceNote
	pendingNoteRemoval
)

// moves reports whether the slot is out of the index during the write.
func (k pendingKind) moves() bool { return k != pendingEndNote && k != pendingSilenceNote }

// state returns the slot's state by comparison: see "The words" in the package's
// documentation.
func (p *pool) state(l *slot, at reading) State {
	switch {
	case l.status == Live && at.steady < l.deadline:
		return Held
	case p.isFree(l, at):
		return Free
	}
	return Quarantined
}

// isFree reports whether everything that could ever be promised under the lease
// lies in the past. The node ID can then be granted unless a write of its record
// is in progress.
func (p *pool) isFree(l *slot, at reading) bool {
	return at.server > l.ceiling && (l.status == Ended || at.steady >= l.deadline+p.QuarantineOf(l.ttl))
}

// freeAt returns the earliest steady time at which the node ID can be free, as
// far as is known now: server time may run slower, and heartbeats may come.
func (p *pool) freeAt(l *slot, at reading) time.Duration {
	free := at.steady
	if left := l.ceiling - at.server; left >= 0 {
		free += left.Sub(-1)
	}
	if l.status != Ended {
		free = max(free, l.deadline+p.QuarantineOf(l.ttl))
	}
	return free
}
