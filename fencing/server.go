package fencing

import (
	"fmt"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// Server is the state of a server and its rules, S1 to S12. The caller tells each
// method what happened and what time it is, and the method returns what to do. A
// Server does no IO, reads no clock, waits for nothing and is not safe for
// concurrent use.
//
// A method that decides on a change returns a Write. The caller makes the
// write's batch durable, calls Written, and only then replies (S1). Until Written
// is called, the server shows what was acknowledged before. After a failed write
// the caller calls Fail, and the server promises nothing any more (S9).
type Server struct {
	time serverTime
	// meta is the store's Meta as last acknowledged, except that FirstEpoch is
	// this start's base from the beginning (S2).
	meta Meta
	mark markLease
	// pools are as last acknowledged; changing has the names of pools whose own
	// write is in progress.
	pools    map[PoolName]*pool
	changing map[PoolName]bool

	// shortestTTL is the shortest TTL that a pool may have or a request may ask
	// for (S11).
	shortestTTL time.Duration

	failed *Refusal
	// portion is the most slots that one call moves within the index, and spare
	// how many of them the present call may still move.
	portion, spare int

	lastTicket Ticket
	events     []Event
	// lastNoted is the pool whose leases were noted last. notesLeft says that notes
	// filled the last write of the mark, so there may be more (S5).
	lastNoted PoolName
	notesLeft bool
}

// NewServer starts a server from what its store held. now must have been read
// after the store was loaded (S6). stride is the configured stride.
//
// An error says why this store cannot be served now, and what to do.
func NewServer(snap Snapshot, stride time.Duration, now Now) (*Server, error) {
	if err := validStride(stride); err != nil {
		return nil, err
	}
	// An older version may have stored a longer stride than is allowed now. Such a
	// store is served like any other: its stride applies until it has passed.
	longer := max(snap.Meta.Stride, stride)
	clock, err := startServerTime(now, snap.Meta.Mark, snap.Meta.Stride)
	if err != nil {
		return nil, err
	}
	// S2: durable with the first mark, before any grant
	snap.Meta.FirstEpoch = base(clock.ms, snap.Meta.FirstEpoch)
	s := &Server{
		time:     clock,
		meta:     snap.Meta,
		mark:     markLease{stride: longer, longest: longer, configured: stride, since: now.Steady},
		pools:    make(map[PoolName]*pool, len(snap.Pools)),
		changing: map[PoolName]bool{},
		portion:  portion,
	}
	for _, settings := range snap.Pools {
		if r := settings.Validate(stride); r != nil {
			return nil, fmt.Errorf("pool %q of this store cannot be served with a stride of %v: %w",
				settings.Name, stride, r)
		}
		settings.remember(0)
		s.pools[settings.Name] = newPool(settings, snap.Meta.FirstEpoch, now.Steady)
	}
	if err := s.restore(snap.Records, now); err != nil {
		return nil, err
	}
	return s, nil
}

// RequireTTL refuses pools whose TTL is below shortest from now on. With several
// replicas, shortest is four times the TTL of the election's session, so that
// holders outlive a leader's silence and the takeover after it (S11). 0, the
// initial value, refuses no pool.
//
// An error names a pool of the store whose TTL is too short.
func (s *Server) RequireTTL(shortest time.Duration) error {
	for _, name := range s.PoolNames() {
		if r := s.pools[name].ValidTTL(shortest); r != nil {
			return fmt.Errorf("pool %q of this store cannot be served by several replicas: %w",
				name, r)
		}
	}
	s.shortestTTL = shortest
	return nil
}

// restore loads the records as if every holder had just sent a heartbeat (S6):
// whatever an earlier server promised, it promised before this process finished
// loading, at a server time of at most the mark. If a lease has a silence note,
// nothing was promised after the note.
func (s *Server) restore(records []Record, now Now) error {
	perPool := map[PoolName]int{}
	for i := range records {
		perPool[records[i].Pool]++
	}
	for name, p := range s.pools {
		p.reserve(perPool[name])
	}
	leases := make([]slot, len(records)) // one allocation: faster than one for each
	for i := range records {
		rec := &records[i]
		p := s.pools[rec.Pool]
		if p == nil {
			return noSuchPool(rec)
		}
		if rec.TTL > p.LongestTTL { // an older version kept none
			p.remember(rec.TTL)
			p.unsaved = true
		}
		l := &leases[i]
		l.node = rec.Node
		l.set(rec)
		if rec.Status != Ended {
			l.deadline = now.Steady + s.mark.stride + rec.TTL
			l.ceiling = max(rec.Ceiling, s.meta.Mark.Add(rec.TTL))
			if rec.Silence.Noted { // nothing was promised since: time has only passed
				l.deadline = now.Steady + rec.Silence.Left
				l.ceiling = min(rec.Silence.Ceiling, s.meta.Mark.Add(rec.TTL))
			}
			l.noteAt = s.mark.since + 2*s.mark.longest
		}
		p.load(l)
	}
	for _, p := range s.pools {
		p.placeAll(s.reading(now))
	}
	return nil
}

func noSuchPool(rec *Record) error {
	return fmt.Errorf(
		"the store holds a lease of node ID %d in pool %q, but no such pool: restore it from a copy and recover it", rec.Node, rec.Pool)
}

// Fail stops all promises: after a failed write it is unknown what the store holds
// (S9).
func (s *Server) Fail(cause error) {
	s.failed = refuse(ReasonStoreFailed,
		"the store failed, so this server promises nothing any more: look at its log (%v), mend the disk and start it again", cause)
}

// Wait says what the caller must wait for before it asks again.
type Wait uint8

// What to wait for.
const (
	// WaitNone: nothing; the Decision is the answer.
	WaitNone Wait = iota
	// WaitMark: until a mark write that Tick asks for is acknowledged (S10).
	WaitMark
	// WaitKey: until the write of this key that is in progress is acknowledged (S1).
	WaitKey
	// WaitFree: until a node ID is free, and it is this ticket's turn.
	WaitFree
	// WaitTurn: until it is this ticket's turn, because a node ID may be free for it.
	WaitTurn
	// WaitSettled: for nothing; ask again. So many leases changed state at once that
	// this call could not find out whether a node ID is free. Other requests may be
	// served first.
	WaitSettled
)

// Decision says what to do for a request. If there is a Write, make it durable and
// call Written; then, for Acquire and Heartbeat, ask again: the request is then
// answered like a heartbeat. If there is a Wait, wait and ask again. Otherwise
// Lease is the answer.
type Decision struct {
	Lease Lease
	Write *Write
	Wait  Wait
	// Ticket is the request's place in the queue, with Acquire: pass it in the
	// request when asking again.
	Ticket Ticket
	// At is, with WaitFree, the steady time at which the next node ID can become
	// free. It is 0 if only another request can free one, and for all but the first
	// in the queue: they wait until the first is served. With WaitTurn it is the
	// steady time at which to ask again at the latest.
	At time.Duration
}

// reading is one reading of the clocks: the steady clock and server time.
type reading struct {
	steady time.Duration
	server snowflake.Millis
}

// advance moves server time to now and returns the reading. It begins a call, so
// it also renews the call's portion.
func (s *Server) advance(now Now) reading {
	s.spare = s.portion
	return reading{steady: now.Steady, server: s.time.advance(now)}
}

// reading returns the reading at the instant at which server time was started. It
// moves nothing.
func (s *Server) reading(now Now) reading {
	return reading{steady: now.Steady, server: s.time.ms}
}

// promising reports whether a promise may be made at this reading (S10).
func (s *Server) promising(at reading) bool {
	return at.server <= s.meta.Mark && s.mark.holds(at.steady)
}

// PromisesFor returns for how long promises may still be made if no other write
// of the mark is acknowledged and server time keeps its pace; 0 if none may.
func (s *Server) PromisesFor(now Now) time.Duration {
	at := s.advance(now)
	if s.failed != nil || !s.promising(at) {
		return 0
	}
	return min(s.mark.sent+s.mark.configured-at.steady, s.meta.Mark.Sub(at.server))
}

// ClockOffset returns the wall clock minus server time, at the last reading.
func (s *Server) ClockOffset() time.Duration { return s.time.offset }

// ClockAlarm reports whether the wall clock is so far ahead that server time
// follows it at 1 % only (S8).
func (s *Server) ClockAlarm() bool { return s.time.alarmed() }

// ServerTime returns server time at the last reading of the clocks.
func (s *Server) ServerTime() snowflake.Millis { return s.time.ms }

// Mark returns the mark as last acknowledged.
func (s *Server) Mark() snowflake.Millis { return s.meta.Mark }

// Stride returns the stride that is stored with the mark now. S6 and S7 rely on it.
func (s *Server) Stride() time.Duration { return s.mark.stride }
