package sim

import "slices"

// minimizeRuns bounds the runs of a Minimize: 5 s or so.
const minimizeRuns = 500

// Minimize looks for the smallest world that breaks the same promise as the
// one that a config leads to: fewer kinds of faults, fewer apps, fewer faults,
// a shorter time. It returns the run of that world, with its trace, and how
// many runs it took. Where the config breaks nothing, so says the result.
func Minimize(c Config) (Result, int) {
	c.Trace = false
	first := Run(c)
	if first.Violation == nil {
		return first, 1
	}
	m := &minimizer{best: first, promise: first.Violation.Promise, runs: 1}
	m.best.Config.Profile = first.Profile
	for again := true; again && m.runs < minimizeRuns; {
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
	best    Result
	promise Promise
	runs    int
}

// try keeps a config that breaks the promise, too.
func (m *minimizer) try(change func(*Config)) bool {
	if m.runs >= minimizeRuns {
		return false
	}
	c := m.best.Config
	c.Without = slices.Clone(c.Without)
	change(&c)
	m.runs++
	r := Run(c)
	if r.Violation == nil || r.Violation.Promise != m.promise {
		return false
	}
	m.best = r
	return true
}

// kinds switches kinds of faults off: all at once, then by halves, and then
// one by one.
func (m *minimizer) kinds() (better bool) {
	var on []Kind
	for _, k := range Kinds() {
		if m.best.Kinds[k] {
			on = append(on, k)
		}
	}
	for size := len(on); size > 0; size /= 2 {
		for rest := on; len(rest) > 0; {
			n := min(size, len(rest))
			off := rest[:n]
			rest = rest[n:]
			if m.try(func(c *Config) { c.Without = append(c.Without, off...) }) {
				better = true
				on = slices.DeleteFunc(slices.Clone(on), func(k Kind) bool { return slices.Contains(off, k) })
			}
		}
	}
	return better
}

func (m *minimizer) apps() (better bool) {
	for n := 2; n < m.best.Stats.Apps; n++ {
		if m.try(func(c *Config) { c.Apps = n }) {
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
	if m.try(func(c *Config) { c.Faults = -1 }) {
		return true
	}
	for step := m.best.Stats.Faults / 2; step > 0; {
		if n := m.best.Stats.Faults - step; n > 0 && m.try(func(c *Config) { c.Faults = n }) {
			better = true
			continue
		}
		step /= 2
	}
	return better
}

// time lets the world end its faults earlier.
func (m *minimizer) time() (better bool) {
	end := m.best.Stats.Heal
	if end == 0 {
		end = m.best.Violation.At
	}
	for step := end / 2; step > end/50; {
		if until := end - step; until > 0 && m.try(func(c *Config) { c.Until = until }) {
			better, end = true, until
			continue
		}
		step /= 2
	}
	return better
}
