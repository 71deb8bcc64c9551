package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/cirrus-id/cirrus/sim/explore/interleave/turns"
	"github.com/cirrus-id/cirrus/snowflake"
)

// layout has two IDs in each millisecond, so that a few IDs need several
// milliseconds.
var layout = snowflake.Layout{Origin: 1_700_000_000_000, TimestampBits: 41, NodeBits: 4,
	SequenceBits: 1}

const (
	deadline = 10 * time.Millisecond
	never    = time.Hour
)

// stage has a generator with a lease, and what its minters and its holder have
// done. What they learn from that goes into turns.Note.
type stage struct {
	clock *turns.Clock
	gen   *snowflake.Generator
	lease *snowflake.Session

	minted []minted
	// highest is the highest ID that was minted.
	highest snowflake.ID
	// ceiling and deadline are the highest that a call has given to the generator,
	// from the start of that call.
	ceiling  snowflake.Millis
	deadline time.Duration
	// stopped says that Stop has returned, with last and used.
	stopped bool
	last    snowflake.Millis
	used    bool
	// waits says that the generator may not run ahead of its clock, so that Next
	// may wait for ever.
	waits bool
	// err is the first check that failed.
	err error
}

type minted struct {
	id snowflake.ID
	ms snowflake.Millis
}

// newStage returns a stage whose lease has a window of this many ms.
func newStage(ms snowflake.Millis, lead, until time.Duration) *stage {
	s := &stage{clock: &turns.Clock{}, ceiling: layout.Origin + ms - 1, deadline: until,
		waits: lead < 0}
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

// next returns a thread that mints n IDs one by one.
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

// nextN returns a thread that mints n IDs in one call.
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

// call makes one call of a minter and checks what must be true of it whatever the
// other threads do.
func (s *stage) call(mint func() ([]snowflake.ID, error)) {
	turns.Begin("call")
	late := s.stopped
	highest := s.highest
	passed := s.clock.Peek() >= s.deadline
	noteAll(highest, late, passed)
	ids, err := mint()
	if err != nil && !errors.Is(err, snowflake.ErrLeaseNotValid) &&
		!errors.Is(err, snowflake.ErrCeiling) {
		s.fail("%v", err)
	}
	for _, id := range ids {
		parts, err := layout.Decompose(id)
		switch {
		case err != nil:
			s.fail("%v", err)
		case late:
			s.fail("minted %d, after Stop had returned", id)
		case passed:
			s.fail("minted %d, after the deadline had passed", id)
		case id <= highest:
			s.fail("minted %d, after %d", id, highest)
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

// noteAll adds what a call has read to what its thread has learned.
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
		s.fail("Stop returned %d, %v and then %d, %v", s.last, s.used, last, used)
	}
}

// extend returns a thread that extends the window to this many ms, and the
// deadline.
func (s *stage) extend(ms snowflake.Millis, until time.Duration) func() {
	return func() {
		turns.Begin("call Extend")
		ceiling := layout.Origin + ms - 1
		s.ceiling, s.deadline = max(s.ceiling, ceiling), max(s.deadline, until)
		if err := s.lease.Extend(snowflake.Extension{Ceiling: ceiling, Deadline: until,
			Time: snowflake.TimeSample{ServerTime: layout.Origin}}); err != nil {
			s.fail("Extend: %v", err)
		}
	}
}

// passes returns a thread that lets time pass in steps.
func (s *stage) passes(to ...time.Duration) func() {
	return func() {
		for _, at := range to {
			s.clock.Set(at)
		}
	}
}

// check checks what must be true after all threads have ended.
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
		return fmt.Errorf("stop returned %d, and %d was minted", s.last, highest)
	case s.stopped && s.used != (len(s.minted) > 0):
		return fmt.Errorf("stop returned used: %v, and %d IDs were minted", s.used, len(s.minted))
	case s.stopped && s.used && highest != s.last:
		return fmt.Errorf("stop returned %d, and the highest timestamp minted is %d", s.last,
			highest)
	case s.stopped || s.waits || s.clock.Peek() >= s.deadline ||
		layout.Origin.Add(s.clock.Peek()) > s.ceiling:
		return nil // nothing more can be minted
	}
	return s.drain(seen)
}

// drain mints all remaining IDs of the window. It must reach the highest ceiling
// that Extend was given, and nothing above it.
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

// top returns the last ID of node ID 1 in a millisecond.
func top(ms snowflake.Millis) snowflake.ID {
	id, _ := layout.Compose(snowflake.Parts{Timestamp: ms, Node: 1, Sequence: layout.MaxSequence()})
	return id
}

// probe returns a case that has turns only if the generator takes any.
func probe() turns.Case {
	return turns.Case{Name: "one Next", Start: func() ([]func(), func() error) {
		s := newStage(8, 0, never)
		return []func(){func() { _, _ = s.gen.Next() }}, s.check
	}}
}

// cases returns the cases: every call of a lease concurrently with every other.
func cases() []turns.Case {
	on := func(name string, ms snowflake.Millis, lead, until time.Duration,
		threads func(s *stage) []func()) turns.Case {
		return turns.Case{Name: name, Start: func() ([]func(), func() error) {
			s := newStage(ms, lead, until)
			return threads(s), s.check
		}}
	}
	type list = []func()
	return []turns.Case{
		on("two goroutines, two Next each", 8, 0, never,
			func(s *stage) list { return list{s.next(2), s.next(2)} }),
		on("three goroutines, Next", 8, 0, never,
			func(s *stage) list { return list{s.next(1), s.next(1), s.next(1)} }),
		on("two Next, Stop", 8, 0, never,
			func(s *stage) list { return list{s.next(2), s.next(1), s.stop} }),
		on("NextN, Next", 8, 0, never, func(s *stage) list { return list{s.nextN(3), s.next(2)} }),
		on("NextN, Next, Stop", 8, 0, never,
			func(s *stage) list { return list{s.nextN(3), s.next(1), s.stop} }),
		on("Next up to the ceiling, Extend", 1, 0, never,
			func(s *stage) list { return list{s.next(3), s.extend(2, never)} }),
		on("NextN beyond the ceiling, Next, Extend", 1, 0, never,
			func(s *stage) list { return list{s.nextN(3), s.next(1), s.extend(2, never)} }),
		on("Extend, Extend, Next", 1, 0, never, func(s *stage) list {
			return list{s.extend(2, never), s.extend(3, never), s.next(2)}
		}),
		on("Next, Extend, Stop", 1, 0, never,
			func(s *stage) list { return list{s.next(2), s.extend(2, never), s.stop} }),
		on("two Next while the deadline passes", 8, 0, deadline, func(s *stage) list {
			return list{s.next(2), s.next(1), s.passes(time.Millisecond, deadline)}
		}),
		on("Next while the deadline passes, Extend", 8, 0, deadline, func(s *stage) list {
			return list{s.next(2), s.extend(8, never), s.passes(deadline)}
		}),
		on("Next without lead while time passes, Stop", 8, snowflake.NoLead, never,
			func(s *stage) list {
				return list{s.next(3), s.passes(time.Millisecond, 2*time.Millisecond), s.stop}
			}),
		on("a new lease, two Next", 4, 0, never, func(s *stage) list {
			return list{s.next(1), s.next(1), s.renew}
		}),
	}
}

// renew stops the lease and starts another one of the same node ID, with a window
// above the first one's.
func (s *stage) renew() {
	turns.Begin("call Stop and Begin")
	if last, _ := s.lease.Stop(); last > s.ceiling {
		s.fail("Stop returned %d, above the ceiling %d", last, s.ceiling)
	}
	floor := s.ceiling + 1
	s.ceiling += 4
	s.begin(1, floor, s.ceiling)
}
