package sim

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/cirrus-id/cirrus/sim/plan"
)

// What bounds a Minimize: its runs, and all their events together, which take
// 5 s or so. No world ends its faults earlier than at minimizeStep.
const (
	minimizeRuns   = 500
	minimizeEvents = 1_500_000
	minimizeStep   = 50 * time.Millisecond
)

// Minimize looks for the smallest world that breaks the same promise as the
// one that a config leads to: fewer kinds of faults, fewer apps, fewer faults,
// a shorter time. It returns the run of that world, with its trace, and how
// many runs it took. Where the config breaks nothing, so says the result. When
// ctx is done, it is the smallest world so far.
func Minimize(ctx context.Context, c plan.Config) (Result, int) {
	c.Trace = false
	first := Run(c)
	if first.Violation == nil {
		return first, 1
	}
	m := &minimizer{ctx: ctx, best: first, promise: first.Violation.Promise, runs: 1,
		events: first.Stats.Events}
	m.best.Config.Profile = first.Profile
	for again := true; again && !m.exhausted(); {
		again = m.kinds()
		again = m.apps() || again
		again = m.faults() || again
		again = m.time() || again
	}
	last := m.best.Config
	last.Trace = true
	return Run(last), m.runs + 1
}

type minimizer struct {
	ctx          context.Context
	best         Result
	promise      Promise
	runs, events int
}

func (m *minimizer) exhausted() bool {
	return m.runs >= minimizeRuns || m.events >= minimizeEvents || m.ctx.Err() != nil
}

// try keeps a config that breaks the promise, too.
func (m *minimizer) try(change func(*plan.Config)) bool {
	if m.exhausted() {
		return false
	}
	c := m.best.Config
	c.Without = slices.Clone(c.Without)
	change(&c)
	m.runs++
	r := Run(c)
	m.events += r.Stats.Events
	if r.Violation == nil || r.Violation.Promise != m.promise {
		return false
	}
	m.best = r
	return true
}

// kinds switches kinds of faults off: all at once, then by halves, and then
// one by one.
func (m *minimizer) kinds() (better bool) {
	var on []plan.Kind
	for _, k := range plan.Kinds() {
		if m.best.Kinds[k] {
			on = append(on, k)
		}
	}
	for size := len(on); size > 0; size /= 2 {
		for rest := on; len(rest) > 0; {
			n := min(size, len(rest))
			off := rest[:n]
			rest = rest[n:]
			if m.try(func(c *plan.Config) { c.Without = append(c.Without, off...) }) {
				better = true
				on = slices.DeleteFunc(slices.Clone(on),
					func(k plan.Kind) bool { return slices.Contains(off, k) })
			}
		}
	}
	return better
}

func (m *minimizer) apps() (better bool) {
	for n := 2; n < m.best.Stats.Apps; n++ {
		if m.try(func(c *plan.Config) { c.Apps = n }) {
			return true
		}
	}
	return false
}

// faults looks for the fewest faults that do it, none included.
func (m *minimizer) faults() (better bool) {
	if m.best.Config.Faults < 0 || m.best.Stats.Faults == 0 {
		return false
	}
	if m.try(func(c *plan.Config) { c.Faults = -1 }) {
		return true
	}
	for step := m.best.Stats.Faults / 2; step > 0; {
		if n := m.best.Stats.Faults - step; n > 0 && m.try(func(c *plan.Config) { c.Faults = n }) {
			better = true
			continue
		}
		step /= 2
	}
	return better
}

// time lets the world end its faults earlier.
func (m *minimizer) time() (better bool) {
	end := cmp.Or(m.best.Config.Until, m.best.Stats.Heal, m.best.Violation.At)
	for step := end / 2; step > max(end/50, minimizeStep); {
		if until := end - step; until >= minimizeStep &&
			m.try(func(c *plan.Config) { c.Until = until }) {
			better, end = true, until
			continue
		}
		step /= 2
	}
	return better
}
