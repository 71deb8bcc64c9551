package sim

import (
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/cirrus-id/cirrus/snowflake"
)

// trueStart is the true wall clock at the beginning of every run.
const trueStart = 1_767_225_600_000 * time.Millisecond // 2026-01-01

// machine has a clock of its own, processes, and the habit of standing still.
type machine struct {
	loop *loop
	name string

	// The hardware's clock: raw at true time since, and rate millionths fast.
	since, raw time.Duration
	rate       int64
	// resolution is what readings are cut to; 0: none.
	resolution time.Duration
	// lost is what the steady clock didn't count of the suspends; while it
	// stands still, stopped says so, and stopAt is where.
	lost, stopAt time.Duration
	stopped      bool
	// offset is the wall clock's, to the true one.
	offset time.Duration

	procs   []*process
	started int
	timers  []*timer
	touched bool
	// looked says that a task has run since the last look at the machine.
	looked bool
	// frozen until this true time: nothing runs; asleep until then: timers stand
	// still, too.
	frozen, asleep time.Duration
	// woke is when it last woke from sleep, or will. Timers that were set before
	// come late by as long as it slept, though its steady clock counts that.
	woke time.Duration
}

// process starts one.
func (m *machine) process() *process {
	m.started++
	p := &process{machine: m, number: m.started}
	m.procs = append(m.procs, p)
	return p
}

// touch has the machine's tasks looked at.
func (m *machine) touch() {
	if !m.touched {
		m.touched = true
		m.loop.touched = append(m.loop.touched, m)
	}
}

// poll lets all tasks go on that can.
func (m *machine) poll() {
	if m.isFrozen() {
		return // its thaw will look again
	}
	for again := true; again; {
		again = false
		for i := 0; i < len(m.procs); i++ {
			if m.procs[i].dead {
				m.procs = append(m.procs[:i], m.procs[i+1:]...)
				i--
				continue
			}
			again = m.procs[i].run() || again
			if m.isFrozen() {
				return
			}
		}
	}
}

func (m *machine) isFrozen() bool { return m.loop.now < m.frozen }

// freeze makes the machine stand still for d, as a stop signal or a host that
// is too busy does. Its clocks go on.
func (m *machine) freeze(d time.Duration) {
	m.frozen = max(m.frozen, m.loop.now+d)
	m.loop.at(m.frozen, "thaw", m.touch)
}

// thaw lets the machine go on now, with all that it waits for.
func (m *machine) thaw() {
	m.frozen = min(m.frozen, m.loop.now)
	if early := m.asleep - m.loop.now; early > 0 {
		m.asleep, m.woke = 0, m.loop.now
		m.shift(-early)
	}
	m.goOn()
	m.loop.at(m.loop.now, "thaw", m.touch)
}

// suspend puts the machine to sleep for d. Its timers stand still; its steady
// clock counts the time if it is as good as it should be.
func (m *machine) suspend(d time.Duration, counts bool) {
	if !counts && !m.stopped {
		m.stopped, m.stopAt = true, m.steady()
		m.loop.at(m.loop.now+d, "clock goes on", m.goOn)
	}
	m.freeze(d)
	m.asleep = m.loop.now + d
	m.woke = m.asleep
	m.shift(d)
}

// shift moves all timers.
func (m *machine) shift(d time.Duration) {
	for _, t := range m.timers {
		at := t.event.at
		if m.loop.cancel(t.event) {
			t.plan(at + d)
		}
	}
}

// goOn lets a steady clock that stood still go on.
func (m *machine) goOn() {
	if m.stopped {
		m.stopped = false
		m.lost += m.steady() - m.stopAt
	}
}

// hardware is the hardware's clock at a true time.
func (m *machine) hardware() time.Duration {
	d := int64(m.loop.now - m.since)
	return m.raw + time.Duration(d+d/1e6*m.rate+d%1e6*m.rate/1e6)
}

// setRate changes how fast the machine's clock goes, and with it its timers. What
// is left of a sleep is true time.
func (m *machine) setRate(rate int64) {
	m.raw, m.since = m.hardware(), m.loop.now
	goOn := max(m.asleep, m.loop.now)
	for _, t := range m.timers {
		left := int64(t.event.at - goOn)
		if m.rate != rate && m.loop.cancel(t.event) {
			t.plan(goOn + time.Duration(left+left/(1e6+rate)*(m.rate-rate)))
		}
	}
	m.rate = rate
}

// steady is the steady clock's reading, exact.
func (m *machine) steady() time.Duration {
	if m.stopped {
		return m.stopAt
	}
	return m.hardware() - m.lost
}

// coarse cuts a reading to the clock's resolution.
func (m *machine) coarse(d time.Duration) time.Duration {
	if m.resolution > 0 {
		return d - d%m.resolution
	}
	return d
}

// wall is the wall clock's reading.
func (m *machine) wall() time.Duration {
	return m.coarse(trueStart + m.hardware() + m.offset)
}

func (m *machine) wallMillis() snowflake.Millis {
	return snowflake.Millis(m.wall() / time.Millisecond)
}

// clock is a process's view of its machine's clocks: clockwork.Clock for the
// wall clock and timers, and a steady clock that reads from 0 at its start.
type clock struct {
	proc *process
	base time.Duration
	// before is called at each reading of the steady clock with what it will
	// give; the generator's check can be made to stall here, where its view
	// is loaded and its ID is not yet taken.
	before func()
}

func newClock(p *process) *clock { return &clock{proc: p, base: p.machine.steady()} }

// steadyClock is the steady half of a clock.
type steadyClock struct{ *clock }

// Now implements service.Steady and snowflake.Clock.
func (c steadyClock) Now() time.Duration {
	m := c.proc.machine
	d := m.coarse(m.steady() - c.base)
	if c.before != nil {
		c.before()
	}
	return d
}

// Sleep implements snowflake.Clock.
func (c steadyClock) Sleep(d time.Duration) { c.clock.Sleep(d) }

// The wall clock and the timers, as clockwork wants them.

func (c *clock) Now() time.Time {
	return time.Unix(0, int64(c.proc.machine.wall())).UTC()
}
func (c *clock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }
func (c *clock) Until(t time.Time) time.Duration { return t.Sub(c.Now()) }
func (c *clock) Sleep(d time.Duration) {
	c.proc.machine.loop.sleep(c.proc.machine.trueTime(d), "sleep")
}
func (c *clock) After(d time.Duration) <-chan time.Time {
	return c.NewTimer(d).Chan()
}
func (c *clock) NewTicker(time.Duration) clockwork.Ticker {
	panic("sim: no tickers are simulated")
}
func (c *clock) AfterFunc(time.Duration, func()) clockwork.Timer {
	panic("sim: no timers with functions are simulated")
}
func (c *clock) NewTimer(d time.Duration) clockwork.Timer {
	t := &timer{proc: c.proc, ch: make(chan time.Time, 1)}
	t.Reset(d)
	return t
}

// trueTime is how long the machine's timers take for d: where clocks tick in
// large steps, so do timers.
func (m *machine) trueTime(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	if m.resolution > 0 {
		d = (d + m.resolution - 1) / m.resolution * m.resolution
	}
	return d - time.Duration(int64(d)/(1e6+m.rate)*m.rate) + 1
}

// timer is a clockwork.Timer on a machine.
type timer struct {
	proc  *process
	ch    chan time.Time
	event *event
}

func (t *timer) Chan() <-chan time.Time { return t.ch }

func (t *timer) Stop() bool {
	stopped := t.proc.machine.loop.cancel(t.event)
	t.proc.machine.drop(t)
	ready(t.ch) // as since Go 1.23: what was sent before is not seen
	return stopped
}

func (t *timer) Reset(d time.Duration) bool {
	stopped := t.Stop()
	m := t.proc.machine
	if !t.proc.dead {
		m.timers = append(m.timers, t)
		t.plan(m.loop.now + m.trueTime(d))
	}
	return stopped
}

func (t *timer) plan(at time.Duration) {
	m := t.proc.machine
	t.event = m.loop.at(at, "timer", func() {
		m.drop(t)
		t.ch <- time.Time{}
		m.touch()
	})
}

// drop forgets a timer that has fired or was stopped.
func (m *machine) drop(t *timer) {
	for i, other := range m.timers {
		if other == t {
			m.timers = append(m.timers[:i], m.timers[i+1:]...)
			return
		}
	}
}

// stopTimers stops those of a process that is dead.
func (m *machine) stopTimers(p *process) {
	kept := m.timers[:0]
	for _, t := range m.timers {
		if t.proc == p {
			m.loop.cancel(t.event)
		} else {
			kept = append(kept, t)
		}
	}
	clear(m.timers[len(kept):])
	m.timers = kept
}
