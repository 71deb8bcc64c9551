package fencing

import (
	"fmt"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// Server holds the server's rules, S1 to S12, as a plain state: each method is
// told what happened and what time it is, and answers what to do. It does no
// IO, reads no clock, waits for nothing and is not safe for concurrent use.
//
// A method that decides on a change returns a Write. The caller makes the
// write's batch durable, calls Written, and only then replies (S1); what the
// server shows until then is what was acknowledged before. After a failed
// write the caller calls Fail, and nothing is promised any more (S9).
type Server struct {
	time serverTime
	// meta is the store's, as acknowledged, but for its first epoch: that is
	// this start's base from the beginning (S2).
	meta Meta
	mark markLease
	// pools are as acknowledged; changing holds the names that have a write
	// under way.
	pools    map[PoolName]*pool
	changing map[PoolName]bool

	// shortestTTL is the least that a TTL may be here, a pool's or one that is
	// asked for (S11).
	shortestTTL time.Duration

	failed *Refusal
	// portion is how many leases a call moves from shelf to shelf at most, and
	// spare what is left of it.
	portion, spare int

	lastTicket Ticket
	events     []Event
	// lastNoted is the pool of which leases were noted last; notesLeft: they
	// filled the mark's write (S5).
	lastNoted PoolName
	notesLeft bool
}

// NewServer starts from what a store held. The reading now must have been
// taken after the loading (S6). stride is the configured one.
//
// An error is a sentence that says why this store cannot be served now, and
// what to do.
func NewServer(snap Snapshot, stride time.Duration, now Now) (*Server, error) {
	if err := validStride(stride); err != nil {
		return nil, err
	}
	// An older version stored longer strides than are taken now. Such a store is
	// served like any other: its stride counts until it has passed.
	longer := max(snap.Meta.Stride, stride)
	clock, err := startServerTime(now, snap.Meta.Mark, snap.Meta.Stride)
	if err != nil {
		return nil, err
	}
	snap.Meta.FirstEpoch = base(clock.ms, snap.Meta.FirstEpoch) // S2: durable with the first mark, before any grant
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
			return nil, fmt.Errorf("pool %q of this store cannot be served with a stride of %v: %w", settings.Name, stride, r)
		}
		settings.remember(0)
		s.pools[settings.Name] = newPool(settings, snap.Meta.FirstEpoch, now.Steady)
	}
	if err := s.restore(snap.Records, now); err != nil {
		return nil, err
	}
	return s, nil
}

// RequireTTL refuses pools whose TTL is under shortest from now on: with
// several replicas, four times the TTL of the election's session, so that
// holders outlive a leader's silence and the takeover after it (S11). 0, as at
// the start, refuses none.
//
// An error says which pool of the store is such a one.
func (s *Server) RequireTTL(shortest time.Duration) error {
	for _, name := range s.PoolNames() {
		if r := s.pools[name].ValidTTL(shortest); r != nil {
			return fmt.Errorf("pool %q of this store cannot be served by several replicas: %w", name, r)
		}
	}
	s.shortestTTL = shortest
	return nil
}

// restore starts as if everyone had just sent a heartbeat (S6): whatever an
// earlier server promised, it promised before this process finished loading,
// at a server time of at most the mark; and where a lease has a silence note,
// before that.
func (s *Server) restore(records []Record, now Now) error {
	perPool := map[PoolName]int{}
	for i := range records {
		perPool[records[i].Pool]++
	}
	for name, p := range s.pools {
		p.reserve(perPool[name])
	}
	leases := make([]slot, len(records)) // one by one they would take longer
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
	return fmt.Errorf("the store holds a lease of node ID %d in pool %q, but no such pool: restore it from a copy and recover it", rec.Node, rec.Pool)
}

// Fail stops all promises: after a failed write nobody knows what the store
// holds (S9).
func (s *Server) Fail(cause error) {
	s.failed = refuse(ReasonStoreFailed, "the store failed, so this server promises nothing any more: look at its log (%v), mend the disk and start it again", cause)
}

// Wait says what must happen before asking again can help.
type Wait uint8

// What to wait for.
const (
	// WaitNone: nothing; the decision is the answer.
	WaitNone Wait = iota
	// WaitMark: until a mark write that Tick asks for is acknowledged (S10).
	WaitMark
	// WaitKey: until the write of this key that is under way is (S1).
	WaitKey
	// WaitFree: until a node ID is free, and it is this ticket's turn.
	WaitFree
	// WaitTurn: until it is this ticket's turn, since a node ID may be free for it.
	WaitTurn
	// WaitSettled: for nothing; so much has come about at once that this call
	// couldn't find out whether an ID is free. Others may have their turn first.
	WaitSettled
)

// Decision is what a request leads to. With a Write: make it durable, call
// Written, and, for Acquire and Heartbeat, ask again: the answer is then given
// as to a heartbeat. With a Wait: wait, and ask again. Otherwise Lease is the answer.
type Decision struct {
	Lease Lease
	Write *Write
	Wait  Wait
	// Ticket is the place in the queue that Acquire was given or still has:
	// pass it along when asking again.
	Ticket Ticket
	// At is, with WaitFree, the steady time at which the next node ID can
	// become free, or 0 where only an event can tell. It is 0 for all but the
	// first in line, too: to them the event is that the first is served. With
	// WaitTurn it is when to ask again whatever happens.
	At time.Duration
}

// reading is one look at the clocks: the steady one and server time.
type reading struct {
	steady time.Duration
	server snowflake.Millis
}

func (s *Server) advance(now Now) reading {
	s.spare = s.portion
	return reading{steady: now.Steady, server: s.time.advance(now)}
}

// reading is advance for the instant at which server time was started.
func (s *Server) reading(now Now) reading {
	return reading{steady: now.Steady, server: s.time.ms}
}

// promising says whether a promise may be made at this reading (S10).
func (s *Server) promising(at reading) bool {
	return at.server <= s.meta.Mark && s.mark.holds(at.steady)
}

// PromisesFor is for how long promises may still be made if no other write of
// the mark is acknowledged and server time runs on as it does; 0: none may.
func (s *Server) PromisesFor(now Now) time.Duration {
	at := s.advance(now)
	if s.failed != nil || !s.promising(at) {
		return 0
	}
	return min(s.mark.sent+s.mark.configured-at.steady, s.meta.Mark.Sub(at.server))
}

// ClockOffset is the wall clock less server time, as last seen.
func (s *Server) ClockOffset() time.Duration { return s.time.offset }

// ClockAlarm says that the wall clock is so far ahead of server time that it
// is followed at 1 % only (S8).
func (s *Server) ClockAlarm() bool { return s.time.alarmed() }

// ServerTime is server time at the last reading of the clocks.
func (s *Server) ServerTime() snowflake.Millis { return s.time.ms }

// Mark is the acknowledged mark.
func (s *Server) Mark() snowflake.Millis { return s.meta.Mark }

// Stride is the one that is stored with the marks now: S6 and S7 rest on it.
func (s *Server) Stride() time.Duration { return s.mark.stride }
