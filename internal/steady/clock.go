// Package steady provides the steady clock: it only moves forward, about one
// second a second, and is never set. Every duration in Cirrus is measured on
// it. It must not be used to tell the time of day, and its readings mean
// nothing outside the process that took them.
//
// A steady clock has to count the time that a machine spends suspended, or a
// holder that wakes up would take its lease for a fresh one. Go's monotonic
// reading stops in suspend, so on Linux and macOS the Clock adds to it what a
// clock that counts suspend says was slept. Elsewhere it cannot: see
// CountsSuspend.
package steady

import (
	"sync/atomic"
	"time"
)

// recheck is how much of the cheap clock passes before Now looks again for
// time spent suspended. A check that is a millisecond old is no worse than a
// stall of a millisecond after it.
const recheck = time.Millisecond

// Clock is a steady clock that starts at 0 when it is made. It is safe for use
// by many goroutines. Make one with New.
//
// Now costs little more than time.Since, since it looks at the suspend-counting
// clock, a system call, once per millisecond only.
type Clock struct {
	base  time.Time                    // 0 of the cheap clock
	cheap func() time.Duration         // stops in suspend
	boot  func() (time.Duration, bool) // goes on in suspend; false: no such clock here
	boot0 time.Duration                // boot's reading at the start, taken after base
	works bool                         // boot gave a reading at the start

	// While cheap < checkAt, asleep is taken as it stands. Both only rise, and
	// asleep ≤ the time truly spent suspended.
	checkAt atomic.Int64 // ns of the cheap clock
	asleep  atomic.Int64 // ns
}

// New starts a steady clock.
func New() *Clock {
	c := &Clock{base: time.Now(), boot: bootTime}
	c.cheap = func() time.Duration { return time.Since(c.base) }
	c.boot0, c.works = c.boot()
	return c
}

// CountsSuspend says whether the clock counts time spent suspended. Where it
// doesn't (any system but Linux and macOS), a machine that was suspended while
// it held a lease takes the lease for younger than it is by as long as it slept:
// P1 is lost for that time. P2 and P3 stand, as they rest on no clock.
func (c *Clock) CountsSuspend() bool { return c.works }

// Now returns the time since the clock's start, at least 0. A reading that
// begins after another one ended is never below it, in whatever goroutine.
func (c *Clock) Now() time.Duration { return c.at(time.Since(c.base)) }

// Exact returns the same clock for a server: each reading looks at the clock that
// counts suspend. A server that was deposed while its machine slept would
// otherwise promise to whoever asks in its first millisecond (S10).
func (c *Clock) Exact() Exact { return Exact{c} }

// Exact is a Clock whose readings are never older than the call. Get one from
// Clock.Exact.
type Exact struct{ clock *Clock }

// Now is Clock.Now without its fast path.
func (e Exact) Now() time.Duration { return e.clock.look() }

// at is Now for a given reading of the cheap clock.
func (c *Clock) at(cheap time.Duration) time.Duration {
	// checkAt is loaded before asleep: look stores them the other way round,
	// so who sees the new checkAt sees the new asleep, too.
	if int64(cheap) < c.checkAt.Load() {
		return cheap + time.Duration(c.asleep.Load())
	}
	return c.look()
}

// look learns how long the machine has been suspended so far, and is Now
// otherwise.
func (c *Clock) look() time.Duration {
	boot, ok := c.boot()
	// The cheap clock is read second: a stall between the two makes the
	// difference too small, which the next look mends. The other way round it
	// would be too large, and for ever.
	cheap := c.cheap()
	if c.works && ok {
		raise(&c.asleep, int64(boot-c.boot0-cheap))
	}
	raise(&c.checkAt, int64(cheap+recheck))
	return cheap + time.Duration(c.asleep.Load())
}

// Sleep pauses the calling goroutine for at least d, as time.Sleep does: d does
// not run while the machine is suspended, so look at Now again afterwards.
func (c *Clock) Sleep(d time.Duration) { time.Sleep(d) }

// raise sets a to at least to.
func raise(a *atomic.Int64, to int64) {
	for {
		old := a.Load()
		if old >= to || a.CompareAndSwap(old, to) {
			return
		}
	}
}
