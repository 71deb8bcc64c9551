package snowflake

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Clock is the steady clock that a generator lives by. It must count time spent
// suspended, and must not be the wall clock.
type Clock interface {
	// Now is the time since an arbitrary start, at least 0. It never goes back.
	Now() time.Duration
	// Sleep returns after about d. It may return early or late.
	Sleep(d time.Duration)
}

// DefaultMaxLead is how far a generator may be ahead of its time unless told
// otherwise.
const DefaultMaxLead = time.Second

// NoLead is the MaxLead that keeps a generator from being ahead of its time at
// all.
const NoLead time.Duration = -1

// Options of a generator. The zero value is a sound choice.
type Options struct {
	// MaxLead is how far the timestamps of a burst may be ahead of the
	// generator's time, in whole milliseconds; what is below one is dropped.
	// 0: DefaultMaxLead. Negative (NoLead): not at all, so a millisecond has no
	// more IDs than its sequence has numbers. No upper bound but the ceiling.
	MaxLead time.Duration
}

// Generator mints IDs under one lease after the other. It lasts for its
// holder's whole life, is safe for use by many goroutines, and mints nothing
// until a lease has begun. Make one with NewGenerator.
type Generator struct {
	clock   Clock
	lead    time.Duration // at least 0
	session atomic.Pointer[Session]

	begin sync.Mutex // taken by Begin, so that two can't both follow one lease
}

// NewGenerator returns a generator that has no lease yet.
func NewGenerator(clock Clock, opts Options) *Generator {
	g := &Generator{clock: clock, lead: max(opts.MaxLead, 0)}
	if opts.MaxLead == 0 {
		g.lead = DefaultMaxLead
	}
	// A lease that allows nothing, so that Next need not ask whether there is one.
	none := &Session{clock: clock}
	none.next.Store(sealed)
	none.allowance.Store(&allowance{deadline: math.MinInt64})
	g.session.Store(none)
	return g
}

// rounds is how often a lost compare-and-swap is tried again before the clock
// is read anew: each loss is another goroutine's gain, and some 50 ns.
const rounds = 8

// Next mints one ID, above all that were minted under the same lease. It
// allocates nothing, and waits only when it is MaxLead ahead of its time.
//
// Errors: ErrLeaseNotValid, ErrCeiling, ErrLayoutExhausted. After an error
// nothing has changed.
func (g *Generator) Next() (ID, error) {
	for {
		// The allowance is loaded before the clock is read, so the reading is never
		// older than the allowance.
		s := g.session.Load()
		a := s.allowance.Load()
		now := g.clock.Now()
		for range rounds {
			next := s.next.Load()
			first, end := a.room(now, next)
			if first >= end {
				break
			}
			// G4: what was compared, first, is what goes into the ID. A Stop
			// in between has changed next, and this fails.
			if s.next.CompareAndSwap(next, first+1) {
				return a.id(first), nil
			}
		}
		if err := s.await(a, now); err != nil {
			return 0, err
		}
	}
}

// NextN fills dst with IDs, each above the one before it, and returns how many
// it could. It reserves as many at once as it can: IDs minted by other
// goroutines in the meantime may lie between them. It waits as Next does.
//
// Errors: as with Next, if and only if n < len(dst); the first n IDs are good.
func (g *Generator) NextN(dst []ID) (n int, err error) {
	for n < len(dst) {
		s := g.session.Load()
		a := s.allowance.Load()
		now := g.clock.Now()
		next := s.next.Load()
		first, end := a.room(now, next)
		if first >= end {
			if err := s.await(a, now); err != nil {
				return n, err
			}
			continue
		}
		end = min(end, first+uint64(len(dst)-n))
		if s.next.CompareAndSwap(next, end) {
			for p := first; p < end; p++ {
				dst[n] = a.id(p)
				n++
			}
		}
	}
	return n, nil
}
