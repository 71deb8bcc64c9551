package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/cirrus-id/cirrus/sim/explore/interleave/turns"
	"github.com/cirrus-id/cirrus/snowflake"
)

// layout has two IDs to the millisecond, so that a few IDs use up several.
var layout = snowflake.Layout{Origin: 1_700_000_000_000, TimestampBits: 41, NodeBits: 4, SequenceBits: 1}

const (
	deadline = 10 * time.Millisecond
	never    = time.Hour
)

// stage is a generator under a lease, and what its minters and its holder did.
// What they learn from it goes into turns.Note.
type stage struct {
	clock *turns.Clock
	gen   *snowflake.Generator
	lease *snowflake.Session

	minted []minted
	// highest is the highest ID that was handed out.
	highest snowflake.ID
	// ceilings and deadlines that a call which has begun may have brought.
	ceiling  snowflake.Millis
	deadline time.Duration
	stopped  bool
	last     snowflake.Millis
	used     bool
	// waits: the generator may be no time ahead, so minting can wait for ever.
	waits bool
	err   error
}

type minted struct {
	id snowflake.ID
	ms snowflake.Millis
}

// newStage begins a lease with a window of so many ms.
func newStage(ms snowflake.Millis, lead, until time.Duration) *stage {
	s := &stage{clock: &turns.Clock{}, ceiling: layout.Origin + ms - 1, deadline: until, waits: lead < 0}
	s.gen = snowflake.NewGenerator(s.clock, snowflake.Options{MaxLead: lead})
	s.lease = s.begin(1, layout.Origin, s.ceiling)
	return s
}

func (s *stage) begin(node snowflake.NodeID, floor, ceiling snowflake.Millis) *snowflake.Session {
	l, err := s.gen.Begin(snowflake.Grant{
		Layout: layout, Node: node, Floor: floor, Ceiling: ceiling, Deadline: s.deadline,
		Time: snowflake.TimeSample{ServerTime: layout.Origin},
	})
	if err != nil {
		s.fail("Begin: %v", err)
	}
	return l
}

func (s *stage) fail(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf("thread %d: "+format, append([]any{turns.Thread()}, args...)...)
	}
}

// next mints n IDs, one by one, as one goroutine does.
func (s *stage) next(n int) func() {
	return func() {
		for range n {
			s.call(func() ([]snowflake.ID, error) {
				id, err := s.gen.Next()
				if err != nil {
					return nil, err
				}
				return []snowflake.ID{id}, nil
			})
		}
	}
}

// nextN mints n IDs at once.
func (s *stage) nextN(n int) func() {
	return func() {
		s.call(func() ([]snowflake.ID, error) {
			ids := make([]snowflake.ID, n)
			got, err := s.gen.NextN(ids)
			if (err != nil) != (got < n) {
				s.fail("NextN filled %d of %d, with error %v", got, n, err)
			}
			return ids[:got], err
		})
	}
}

// call is one call of a minter, with what must be true of it whatever the
// others do.
func (s *stage) call(mint func() ([]snowflake.ID, error)) {
	turns.Begin("call")
	late := s.stopped
	highest := s.highest
	passed := s.clock.Peek() >= s.deadline
	noteAll(highest, late, passed)
	ids, err := mint()
	if err != nil && !errors.Is(err, snowflake.ErrLeaseNotValid) && !errors.Is(err, snowflake.ErrCeiling) {
		s.fail("%v", err)
	}
	for _, id := range ids {
		parts, err := layout.Decompose(id)
		switch {
		case err != nil:
			s.fail("%v", err)
		case late:
			s.fail("minted %d, and Stop had returned", id)
		case passed:
			s.fail("minted %d, and the deadline had passed", id)
		case id <= highest:
			s.fail("minted %d, and %d had been handed out before", id, highest)
		case parts.Timestamp < layout.Origin || parts.Timestamp > s.ceiling:
			s.fail("minted in %d, outside %d to %d", parts.Timestamp, layout.Origin, s.ceiling)
		}
		highest = id
		s.highest = max(s.highest, id)
		s.minted = append(s.minted, minted{id, parts.Timestamp})
		turns.Note(uint64(id))
		turns.Note(uint64(s.ceiling))
	}
}

// noteAll makes what a call saw a part of what its thread knows.
func noteAll(highest snowflake.ID, flags ...bool) {
	turns.Note(uint64(highest))
	for _, f := range flags {
		if f {
			turns.Note(1)
		} else {
			turns.Note(0)
		}
	}
}

// stop stops the lease, twice.
func (s *stage) stop() {
	turns.Begin("call Stop")
	s.last, s.used = s.lease.Stop()
	s.stopped = true
	if last, used := s.lease.Stop(); last != s.last || used != s.used {
		s.fail("Stop said %d, %v and then %d, %v", s.last, s.used, last, used)
	}
}

// extend raises the ceiling by so many ms, and the deadline.
func (s *stage) extend(ms snowflake.Millis, until time.Duration) func() {
	return func() {
		turns.Begin("call Extend")
		ceiling := layout.Origin + ms - 1
		s.ceiling, s.deadline = max(s.ceiling, ceiling), max(s.deadline, until)
		if err := s.lease.Extend(snowflake.Extension{Ceiling: ceiling, Deadline: until, Time: snowflake.TimeSample{ServerTime: layout.Origin}}); err != nil {
			s.fail("Extend: %v", err)
		}
	}
}

// passes lets time pass in steps.
func (s *stage) passes(to ...time.Duration) func() {
	return func() {
		for _, at := range to {
			s.clock.Set(at)
		}
	}
}

// check is what must be true in the end.
func (s *stage) check() error {
	seen := map[snowflake.ID]bool{}
	var highest snowflake.Millis
	for _, m := range s.minted {
		if seen[m.id] {
			return fmt.Errorf("%d was minted twice", m.id)
		}
		seen[m.id] = true
		highest = max(highest, m.ms)
	}
	switch {
	case s.err != nil:
		return s.err
	case s.stopped && highest > s.last:
		return fmt.Errorf("stop said %d, and %d was minted", s.last, highest)
	case s.stopped && s.used != (len(s.minted) > 0):
		return fmt.Errorf("stop said used: %v, and %d IDs were minted", s.used, len(s.minted))
	case s.stopped && s.used && highest != s.last:
		return fmt.Errorf("stop said %d, and the highest minted is %d", s.last, highest)
	case s.stopped || s.waits || s.clock.Peek() >= s.deadline || layout.Origin.Add(s.clock.Peek()) > s.ceiling:
		return nil // nothing is left to mint
	}
	return s.drain(seen)
}

// drain mints, alone, all that is left. Whatever a good heartbeat brought is in
// force, so it reaches the ceiling and nothing above it.
func (s *stage) drain(seen map[snowflake.ID]bool) error {
	var last snowflake.ID
	for {
		id, err := s.gen.Next()
		if err != nil {
			break
		}
		if seen[id] {
			return fmt.Errorf("%d was minted twice", id)
		}
		seen[id], last = true, id
	}
	if most := top(s.ceiling); !seen[most] || last > most {
		return fmt.Errorf("the last ID of the window is %d, and minting ended at %d", most, last)
	}
	return nil
}

// top is the last ID of node ID 1 in a millisecond.
func top(ms snowflake.Millis) snowflake.ID {
	id, _ := layout.Compose(snowflake.Parts{Timestamp: ms, Node: 1, Sequence: layout.MaxSequence()})
	return id
}

// probe is a case of so many turns, if the generator takes any.
func probe() turns.Case {
	return turns.Case{Name: "one Next", Start: func() ([]func(), func() error) {
		s := newStage(8, 0, never)
		return []func(){func() { _, _ = s.gen.Next() }}, s.check
	}}
}

// cases are what is looked at: every call that a lease has, beside every other.
func cases() []turns.Case {
	on := func(name string, ms snowflake.Millis, lead, until time.Duration, threads func(s *stage) []func()) turns.Case {
		return turns.Case{Name: name, Start: func() ([]func(), func() error) {
			s := newStage(ms, lead, until)
			return threads(s), s.check
		}}
	}
	type list = []func()
	return []turns.Case{
		on("two goroutines, two Next each", 8, 0, never, func(s *stage) list { return list{s.next(2), s.next(2)} }),
		on("three goroutines, Next", 8, 0, never, func(s *stage) list { return list{s.next(1), s.next(1), s.next(1)} }),
		on("two Next, Stop", 8, 0, never, func(s *stage) list { return list{s.next(2), s.next(1), s.stop} }),
		on("NextN, Next", 8, 0, never, func(s *stage) list { return list{s.nextN(3), s.next(2)} }),
		on("NextN, Next, Stop", 8, 0, never, func(s *stage) list { return list{s.nextN(3), s.next(1), s.stop} }),
		on("Next up to the ceiling, Extend", 1, 0, never, func(s *stage) list { return list{s.next(3), s.extend(2, never)} }),
		on("NextN beyond the ceiling, Next, Extend", 1, 0, never, func(s *stage) list { return list{s.nextN(3), s.next(1), s.extend(2, never)} }),
		on("Extend, Extend, Next", 1, 0, never, func(s *stage) list {
			return list{s.extend(2, never), s.extend(3, never), s.next(2)}
		}),
		on("Next, Extend, Stop", 1, 0, never, func(s *stage) list { return list{s.next(2), s.extend(2, never), s.stop} }),
		on("two Next while the deadline passes", 8, 0, deadline, func(s *stage) list {
			return list{s.next(2), s.next(1), s.passes(time.Millisecond, deadline)}
		}),
		on("Next while the deadline passes, Extend", 8, 0, deadline, func(s *stage) list {
			return list{s.next(2), s.extend(8, never), s.passes(deadline)}
		}),
		on("Next without lead while time passes, Stop", 8, snowflake.NoLead, never, func(s *stage) list {
			return list{s.next(3), s.passes(time.Millisecond, 2*time.Millisecond), s.stop}
		}),
		on("a new lease, two Next", 4, 0, never, func(s *stage) list {
			return list{s.next(1), s.next(1), s.renew}
		}),
	}
}

// renew stops the lease and begins another one of the same node ID, whose
// window lies above the first one's.
func (s *stage) renew() {
	turns.Begin("call Stop and Begin")
	if last, _ := s.lease.Stop(); last > s.ceiling {
		s.fail("Stop said %d, above the ceiling %d", last, s.ceiling)
	}
	floor := s.ceiling + 1
	s.ceiling += 4
	s.begin(1, floor, s.ceiling)
}
