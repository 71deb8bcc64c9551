// Package steady provides the steady clock: it only moves forward, about one
// second a second, and is never set. Every duration in Cirrus is measured on
// it. It must not be used to tell the time of day, and its readings mean
// nothing outside the process that took them.
//
// A steady clock must count the time that a machine spends suspended. Otherwise a
// holder that wakes up would believe that its lease is still fresh. Go's monotonic
// reading stops in suspend, so on Linux and macOS the Clock adds the suspended time,
// by a second clock that counts it. On other systems it cannot: see CountsSuspend.
package steady

import (
	"sync/atomic"
	"time"
)

// recheck is how often Now checks for time spent suspended, by the cheap clock. A check
// that is a millisecond old is no worse than a stall of a millisecond after the check.
const recheck = time.Millisecond

// Clock is a steady clock that starts at 0 when New makes it. It is safe for
// concurrent use.
//
// Now costs little more than time.Since, because it reads the clock that counts
// suspend, by a system call, only once per millisecond.
type Clock struct {
	base  time.Time                    // 0 of the cheap clock
	cheap func() time.Duration         // stops in suspend
	boot  func() (time.Duration, bool) // counts suspend; false: there is no such clock
	boot0 time.Duration                // boot's reading at the start, taken after base
	works bool                         // boot had a reading at the start

	// While cheap < checkAt, asleep is used without a check. Both only rise, and
	// asleep ≤ the true time spent suspended.
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

// CountsSuspend reports whether the clock counts time spent suspended. On systems other
// than Linux and macOS it does not. If such a machine is suspended while it holds a
// lease, it believes that the lease is younger than it is, by the time spent suspended,
// and P1 does not hold for that time. P2 and P3 hold, because they rest on no clock.
func (c *Clock) CountsSuspend() bool { return c.works }

// Now returns the time since the clock's start, at least 0. A reading that starts after
// another one has ended is never below it, on any goroutine.
func (c *Clock) Now() time.Duration { return c.at(time.Since(c.base)) }

// Exact returns the same clock for a server: each reading checks for time spent
// suspended. Otherwise a server that was deposed while its machine was suspended could
// make promises in its first millisecond (S10).
func (c *Clock) Exact() Exact { return Exact{c} }

// Exact is a Clock whose readings are never older than the call. Get one from
// Clock.Exact.
type Exact struct{ clock *Clock }

// Now is Clock.Now without its fast path.
func (e Exact) Now() time.Duration { return e.clock.check() }

// at is Now for a given reading of the cheap clock.
func (c *Clock) at(cheap time.Duration) time.Duration {
	// checkAt is loaded before asleep, and check stores asleep before checkAt. So a
	// reader that sees the new checkAt sees the new asleep, too.
	if int64(cheap) < c.checkAt.Load() {
		return cheap + time.Duration(c.asleep.Load())
	}
	return c.check()
}

// check is Now, and first updates how long the machine has been suspended.
func (c *Clock) check() time.Duration {
	boot, ok := c.boot()
	// The cheap clock is read second. A stall between the two readings then makes the
	// difference too small, which the next check corrects. In the other order it would
	// be too large, for ever.
	cheap := c.cheap()
	if c.works && ok {
		raise(&c.asleep, int64(boot-c.boot0-cheap))
	}
	raise(&c.checkAt, int64(cheap+recheck))
	return cheap + time.Duration(c.asleep.Load())
}

// Sleep pauses the calling goroutine for at least d, as time.Sleep does. Time spent
// suspended does not count towards d, so call Now again afterwards.
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
