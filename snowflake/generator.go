package snowflake

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Clock is the steady clock of a generator. It must count the time during which
// the machine is suspended, and must not be the wall clock.
type Clock interface {
	// Now returns the time since an arbitrary start, at least 0. It never goes back.
	Now() time.Duration
	// Sleep returns after about d. It may return early or late.
	Sleep(d time.Duration)
}

// DefaultMaxLead is the MaxLead of a generator whose Options leave it 0.
const DefaultMaxLead = time.Second

// NoLead is the MaxLead of a generator that must never be ahead of its time.
const NoLead time.Duration = -1

// Options of a generator. The zero value is valid: it holds the defaults.
type Options struct {
	// MaxLead is how far the timestamps of a burst may be ahead of the
	// generator's time, rounded down to whole milliseconds. 0: DefaultMaxLead.
	// Negative (NoLead): not at all, so a millisecond has at most as many IDs as
	// its sequence has numbers. The only upper bound is the lease's ceiling.
	MaxLead time.Duration
}

// Generator mints IDs under one lease after another. A holder uses the same one
// for all its leases. It is safe for use by many goroutines, and mints nothing
// before the first Begin. NewGenerator makes one.
type Generator struct {
	clock   Clock
	lead    time.Duration // at least 0
	session atomic.Pointer[Session]

	begin sync.Mutex // taken by Begin, so that two calls can't both follow one session
}

// NewGenerator returns a generator that has no lease yet.
func NewGenerator(clock Clock, opts Options) *Generator {
	g := &Generator{clock: clock, lead: max(opts.MaxLead, 0)}
	if opts.MaxLead == 0 {
		g.lead = DefaultMaxLead
	}
	// A session that allows nothing, so that Next need not check for nil.
	none := &Session{clock: clock}
	none.next.Store(sealed)
	none.allowance.Store(&allowance{deadline: math.MinInt64})
	g.session.Store(none)
	return g
}

// rounds is how many compare-and-swaps Next tries for one reading of the clock.
// One fails only if another goroutine has minted; it takes some 50 ns.
const rounds = 8

// Next mints one ID, higher than all that were minted under the same lease. It
// allocates nothing, and waits only while it is MaxLead ahead of its time.
//
// Errors: ErrLeaseNotValid, ErrCeiling, ErrLayoutExhausted. A call that returns
// an error has changed nothing.
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
			// G4: the ID is made from first, the position that was checked. If
			// Stop was called in between, next has changed, and this fails.
			if s.next.CompareAndSwap(next, first+1) {
				return a.id(first), nil
			}
		}
		if err := s.await(a, now); err != nil {
			return 0, err
		}
	}
}

// NextN fills dst with IDs, each higher than the one before it, and returns how
// many it minted. It reserves as many at once as it can; IDs that other goroutines
// mint meanwhile may lie between them. It waits as Next does.
//
// Errors: as with Next, if and only if n < len(dst); the first n IDs are valid.
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
