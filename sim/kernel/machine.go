package kernel

import (
	"time"

	"github.com/jonboulle/clockwork"
)

// trueStart is the true wall clock at the beginning of every run.
const trueStart = 1_767_225_600_000 * time.Millisecond // 2026-01-01

// Machine has clocks of its own, timers and processes, and can be frozen or put to
// sleep.
type Machine struct {
	Loop *Loop
	Name string

	// The hardware's clock: raw at true time since, and rate millionths fast.
	since, raw time.Duration
	Rate       int64
	// Resolution is what readings are cut to a multiple of; 0: they are exact.
	Resolution time.Duration
	// lost is what the steady clock didn't count of the suspends; while it
	// stands still, stopped says so, and stopAt is where.
	lost, stopAt time.Duration
	stopped      bool
	// Offset is how far the wall clock is ahead of the true one.
	Offset time.Duration

	procs   []*Process
	started int
	timers  []*timer
	touched bool
	// Ran: a task has run since whoever checks the machine has cleared this.
	Ran bool
	// Frozen until this true time: nothing runs; asleep until then: timers stand
	// still, too.
	Frozen, asleep time.Duration
	// Woke is when it last woke from sleep, or will. Timers that were set before
	// come late by as long as it slept, though its steady clock counts that.
	Woke time.Duration
}

// NewMachine returns a machine whose clocks are right and whose processes are none.
func NewMachine(l *Loop, name string) *Machine { return &Machine{Loop: l, Name: name} }

// KillAll ends all processes where they stand.
func (m *Machine) KillAll() {
	for _, p := range m.procs {
		p.Kill()
	}
}

// Process starts a process without tasks.
func (m *Machine) Process() *Process {
	m.started++
	p := &Process{Machine: m, Number: m.started}
	m.procs = append(m.procs, p)
	return p
}

// Touch has the loop poll the machine's tasks after the event that happens.
func (m *Machine) Touch() {
	if !m.touched {
		m.touched = true
		m.Loop.touched = append(m.Loop.touched, m)
	}
}

// poll lets all tasks go on that can.
func (m *Machine) poll() {
	if m.IsFrozen() {
		return // its thaw will look again
	}
	for again := true; again; {
		again = false
		for i := 0; i < len(m.procs); i++ {
			if m.procs[i].Dead {
				m.procs = append(m.procs[:i], m.procs[i+1:]...)
				i--
				continue
			}
			again = m.procs[i].run() || again
			if m.IsFrozen() {
				return
			}
		}
	}
}

// IsFrozen reports whether the machine is paused.
func (m *Machine) IsFrozen() bool { return m.Loop.Now < m.Frozen }

// Freeze makes the machine stand still for d, as a stop signal or a host that
// is too busy does. Its clocks go on.
func (m *Machine) Freeze(d time.Duration) {
	m.Frozen = max(m.Frozen, m.Loop.Now+d)
	m.Loop.At(m.Frozen, "thaw", m.Touch)
}

// Thaw ends a freeze or a sleep now.
func (m *Machine) Thaw() {
	m.Frozen = min(m.Frozen, m.Loop.Now)
	if early := m.asleep - m.Loop.Now; early > 0 {
		m.asleep, m.Woke = 0, m.Loop.Now
		m.shift(-early)
	}
	m.goOn()
	m.Loop.At(m.Loop.Now, "thaw", m.Touch)
}

// Suspend puts the machine to sleep for d. Its timers stand still; its steady
// clock counts the time if it is as good as it should be.
func (m *Machine) Suspend(d time.Duration, counts bool) {
	if !counts && !m.stopped {
		m.stopped, m.stopAt = true, m.Steady()
		m.Loop.At(m.Loop.Now+d, "clock goes on", m.goOn)
	}
	m.Freeze(d)
	m.asleep = m.Loop.Now + d
	m.Woke = m.asleep
	m.shift(d)
}

// shift moves all timers.
func (m *Machine) shift(d time.Duration) {
	for _, t := range m.timers {
		at := t.event.At
		if m.Loop.Cancel(t.event) {
			t.plan(at + d)
		}
	}
}

// goOn lets a steady clock that stood still go on.
func (m *Machine) goOn() {
	if m.stopped {
		m.stopped = false
		m.lost += m.Steady() - m.stopAt
	}
}

// hardware is the hardware's clock at a true time.
func (m *Machine) hardware() time.Duration {
	d := int64(m.Loop.Now - m.since)
	return m.raw + time.Duration(d+d/1e6*m.Rate+d%1e6*m.Rate/1e6)
}

// SetRate changes how fast the machine's clock goes, and with it its timers. What
// is left of a sleep is true time.
func (m *Machine) SetRate(rate int64) {
	m.raw, m.since = m.hardware(), m.Loop.Now
	goOn := max(m.asleep, m.Loop.Now)
	for _, t := range m.timers {
		left := int64(t.event.At - goOn)
		if m.Rate != rate && m.Loop.Cancel(t.event) {
			t.plan(goOn + time.Duration(left+left/(1e6+rate)*(m.Rate-rate)))
		}
	}
	m.Rate = rate
}

// Steady is the steady clock's reading, exact.
func (m *Machine) Steady() time.Duration {
	if m.stopped {
		return m.stopAt
	}
	return m.hardware() - m.lost
}

// When returns the true time at which the machine's steady clock will read steady,
// if its rate stays as it is.
func (m *Machine) When(steady time.Duration) time.Duration {
	d := steady - m.Steady()
	return m.Loop.Now + d - time.Duration(int64(d)/(1e6+m.Rate)*m.Rate)
}

// coarse cuts a reading to the clock's resolution.
func (m *Machine) coarse(d time.Duration) time.Duration {
	if m.Resolution > 0 {
		return d - d%m.Resolution
	}
	return d
}

// Wall is the wall clock's reading.
func (m *Machine) Wall() time.Duration {
	return m.coarse(trueStart + m.hardware() + m.Offset)
}

// Clock is a process's view of its machine's clocks: clockwork.Clock for the
// wall clock and timers, and a steady clock that reads from 0 at its start.
type Clock struct {
	proc *Process
	base time.Duration
	// Before is called at each reading of the steady clock with what it will
	// give. A task can be made to stall here, between its check and what it
	// does on the strength of it.
	Before func()
}

// NewClock returns the clocks of a process that starts now.
func NewClock(p *Process) *Clock { return &Clock{proc: p, base: p.Machine.Steady()} }

// SteadyClock is the steady half of a Clock.
type SteadyClock struct{ *Clock }

// Steady returns the steady half.
func (c *Clock) Steady() SteadyClock { return SteadyClock{c} }

// Now implements service.Steady and snowflake.Clock.
func (c SteadyClock) Now() time.Duration {
	m := c.proc.Machine
	d := m.coarse(m.Steady() - c.base)
	if c.Before != nil {
		c.Before()
	}
	return d
}

// Sleep implements snowflake.Clock.
func (c SteadyClock) Sleep(d time.Duration) { c.Clock.Sleep(d) }

// Now returns the machine's wall clock, as clockwork has it.
func (c *Clock) Now() time.Time {
	return time.Unix(0, int64(c.proc.Machine.Wall())).UTC()
}

// Since returns the time passed since t by the wall clock.
func (c *Clock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// Until returns the time until t by the wall clock.
func (c *Clock) Until(t time.Time) time.Duration { return t.Sub(c.Now()) }

// Sleep blocks the task for d by the machine's clock.
func (c *Clock) Sleep(d time.Duration) {
	c.proc.Machine.Loop.Sleep(c.proc.Machine.TrueTime(d), "sleep")
}

// After returns a channel that gets the time once d has passed.
func (c *Clock) After(d time.Duration) <-chan time.Time {
	return c.NewTimer(d).Chan()
}

// NewTicker panics: nothing in the product uses tickers.
func (c *Clock) NewTicker(time.Duration) clockwork.Ticker {
	panic("sim: no tickers are simulated")
}

// AfterFunc panics: nothing in the product uses timers with functions.
func (c *Clock) AfterFunc(time.Duration, func()) clockwork.Timer {
	panic("sim: no timers with functions are simulated")
}

// NewTimer returns a timer that fires after d by the machine's clock.
func (c *Clock) NewTimer(d time.Duration) clockwork.Timer {
	t := &timer{proc: c.proc, ch: make(chan time.Time, 1)}
	t.Reset(d)
	return t
}

// TrueTime is how long the machine's timers take for d: where clocks tick in
// large steps, so do timers.
func (m *Machine) TrueTime(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	if m.Resolution > 0 {
		d = (d + m.Resolution - 1) / m.Resolution * m.Resolution
	}
	return d - time.Duration(int64(d)/(1e6+m.Rate)*m.Rate) + 1
}

// timer is a clockwork.Timer on a machine.
type timer struct {
	proc  *Process
	ch    chan time.Time
	event *Event
}

func (t *timer) Chan() <-chan time.Time { return t.ch }

func (t *timer) Stop() bool {
	stopped := t.proc.Machine.Loop.Cancel(t.event)
	t.proc.Machine.drop(t)
	Ready(t.ch) // as since Go 1.23: what was sent before is not seen
	return stopped
}

func (t *timer) Reset(d time.Duration) bool {
	stopped := t.Stop()
	m := t.proc.Machine
	if !t.proc.Dead {
		m.timers = append(m.timers, t)
		t.plan(m.Loop.Now + m.TrueTime(d))
	}
	return stopped
}

func (t *timer) plan(at time.Duration) {
	m := t.proc.Machine
	t.event = m.Loop.At(at, "timer", func() {
		m.drop(t)
		t.ch <- time.Time{}
		m.Touch()
	})
}

// drop forgets a timer that has fired or was stopped.
func (m *Machine) drop(t *timer) {
	for i, other := range m.timers {
		if other == t {
			m.timers = append(m.timers[:i], m.timers[i+1:]...)
			return
		}
	}
}

// stopTimers stops those of a process that is dead.
func (m *Machine) stopTimers(p *Process) {
	kept := m.timers[:0]
	for _, t := range m.timers {
		if t.proc == p {
			m.Loop.Cancel(t.event)
		} else {
			kept = append(kept, t)
		}
	}
	clear(m.timers[len(kept):])
	m.timers = kept
}
