package sim

import (
	"context"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cirrus-id/cirrus/sim/kernel"
	"github.com/cirrus-id/cirrus/sim/plan"
)

// GCPercent is what a program that runs worlds had better tell
// debug.SetGCPercent: worlds are made and dropped all the time, so a heap that
// is mostly garbage costs little memory, and collecting it much time.
const GCPercent = 1000

// Options of a campaign. The zero value runs nothing: give Seeds or For.
type Options struct {
	// Start is the first seed.
	Start uint64
	// Seeds is how many there are; 0: as many as fit into For.
	Seeds int
	// For ends the campaign after a time, but not before its first seed was run;
	// 0: never.
	For time.Duration
	// Jobs is how many worlds run at once; 0: as many as GOMAXPROCS allows.
	Jobs int
	// Config is what each seed is run with: profile, kinds that are off, and so
	// on. Its Seed, Choices and Trace are not used.
	Config plan.Config
	// KeepGoing goes on after a violation.
	KeepGoing bool
	// NoFloors leaves the floors out: for campaigns that are short, or that
	// run one profile or without some faults.
	NoFloors bool
	// Progress is called now and then, by one goroutine at a time; nil: never.
	Progress func(Progress)
	// Clock measures the campaign; nil: it has no seeds per second, and For
	// must be 0.
	Clock func() time.Duration
}

// Progress is how far a campaign has come.
type Progress struct {
	Done, Seeds int // Seeds is 0 where only the time is bounded
	Elapsed     time.Duration
	Violations  int
	// Situations is how many of those that must come about have, at least once.
	Situations, OfSituations int
}

// PerSecond is how many seeds a second were run.
func (p Progress) PerSecond() float64 { return perSecond(p.Done, p.Elapsed) }

func perSecond(n int, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// Report is what a campaign came to.
type Report struct {
	Options Options
	Seeds   int
	Elapsed time.Duration
	// Violations are the runs that broke a promise, by seed; the first one
	// alone unless KeepGoing was set.
	Violations []Result
	// Mismatches are the seeds that had two hashes.
	Mismatches []uint64
	// Repeated is how many seeds were run again for that.
	Repeated int
	// Situations counts in how many runs each came about.
	Situations map[string]int
	// Floors says which floors were missed, a sentence each.
	Floors []string
	// Interrupted: there was more to run.
	Interrupted bool
	// Profiles counts runs, Moved those in which a node ID changed its holder.
	Profiles, Moved map[plan.Profile]int
	// Broken and Alarms sum up the runs of the profile Vows: in how many of them
	// each promise broke, in how many the server told of it, and in how many it
	// did not although something broke.
	Broken          map[Promise]int
	Alarms, Unaware int
	// Sums over all runs.
	Apps, Calls, Grants, IDs, Crashes, Events, Faults int
}

// PerSecond is how many seeds a second were run.
func (r *Report) PerSecond() float64 { return perSecond(r.Seeds, r.Elapsed) }

// OK says that nothing is wrong, and that all was run.
func (r *Report) OK() bool {
	return !r.Interrupted && len(r.Violations) == 0 && len(r.Mismatches) == 0 && len(r.Floors) == 0
}

// Floors on what a campaign of floorSeeds seeds must have come to.
const (
	floorSeeds      = 2000
	floorSituations = 20 // runs, in so many seeds
	floorMoved      = 30 // of a hundred envelope seeds
	repeatEvery     = 100
)

// campaign is a campaign in progress.
type campaign struct {
	Options
	mu     sync.Mutex
	next   uint64
	done   int
	stop   bool
	report *Report
}

// Campaign runs many seeds, each in a world of its own, and sums up. One seed
// in a hundred runs again, in a thread that has the processors to itself and in
// one that has not, and must have the same hash. When ctx is done the campaign
// ends after the seeds that are in progress; the report is about those that were
// run.
func Campaign(ctx context.Context, o Options) (*Report, error) {
	if o.Seeds == 0 && o.For == 0 {
		return nil, fmt.Errorf("a campaign of no seeds and no time: give one of them")
	}
	if o.For != 0 && o.Clock == nil {
		return nil, fmt.Errorf("a campaign that is to end after %v needs a clock", o.For)
	}
	if err := o.Config.Validate(); err != nil {
		return nil, err
	}
	if o.Jobs == 0 {
		o.Jobs = runtime.GOMAXPROCS(0)
	}
	if o.Clock == nil {
		o.Clock = func() time.Duration { return 0 }
	}
	c := &campaign{Options: o, next: o.Start, report: &Report{
		Options: o, Situations: map[string]int{}, Profiles: map[plan.Profile]int{},
		Moved: map[plan.Profile]int{}, Broken: map[Promise]int{},
	}}
	started := o.Clock()
	var wg sync.WaitGroup
	for range o.Jobs {
		wg.Go(func() { c.work(ctx, started) })
	}
	wg.Wait()
	c.repeat(ctx, runtime.GOMAXPROCS(0))
	c.report.Elapsed = o.Clock() - started
	slices.SortFunc(c.report.Violations, func(a, b Result) int {
		if a.Config.Seed < b.Config.Seed {
			return -1
		}
		return 1
	})
	if !o.KeepGoing && len(c.report.Violations) > 1 {
		c.report.Violations = c.report.Violations[:1]
	}
	c.floors()
	return c.report, nil
}

// work runs seeds until there are none left.
func (c *campaign) work(ctx context.Context, started time.Duration) {
	ws := &kernel.Workers{}
	defer ws.Close()
	for {
		c.mu.Lock()
		late := c.For > 0 && c.next != c.Start && c.Clock()-started >= c.For
		done := c.stop || late || c.Seeds > 0 && c.next >= c.Start+uint64(c.Seeds)
		if !done && ctx.Err() != nil {
			done, c.report.Interrupted = true, true
		}
		seed := c.next
		c.next++
		c.mu.Unlock()
		if done {
			return
		}
		r := run(c.config(seed), ws)
		var again uint64
		repeats := (seed-c.Start)%repeatEvery == 0
		if repeats {
			again = run(c.config(seed), ws).Hash
		}
		c.mu.Lock()
		if repeats {
			c.compare(seed, r.Hash, again)
		}
		c.add(r)
		c.progress(c.Clock() - started)
		c.mu.Unlock()
	}
}

func (c *campaign) config(seed uint64) plan.Config {
	config := c.Config
	config.Seed, config.Choices, config.Trace = seed, nil, false
	return config
}

func (c *campaign) compare(seed, hash, again uint64) {
	c.report.Repeated++
	if hash != again && !slices.Contains(c.report.Mismatches, seed) {
		c.report.Mismatches = append(c.report.Mismatches, seed)
		c.stop = c.stop || !c.KeepGoing
	}
}

// repeat runs one seed in a thousand with one processor, and with two: alone,
// because that is a setting of the whole process.
func (c *campaign) repeat(ctx context.Context, processors int) {
	defer runtime.GOMAXPROCS(processors)
	for i := uint64(0); i < uint64(c.done) && !c.stop; i += 10 * repeatEvery {
		if ctx.Err() != nil {
			c.report.Interrupted = true
			return
		}
		runtime.GOMAXPROCS(1)
		one := Run(c.config(c.Start + i)).Hash
		runtime.GOMAXPROCS(2)
		c.compare(c.Start+i, one, Run(c.config(c.Start+i)).Hash)
	}
}

// add takes in what a run came to.
func (c *campaign) add(r Result) {
	p := c.report
	c.done++
	p.Seeds++
	p.Profiles[r.Profile]++
	if r.Stats.Moved {
		p.Moved[r.Profile]++
	}
	p.Apps += r.Stats.Apps
	p.Calls += r.Stats.Calls
	p.Grants += r.Stats.Grants
	p.IDs += r.Stats.IDs
	p.Crashes += r.Stats.Crashes
	p.Events += r.Stats.Events
	p.Faults += r.Stats.Faults
	for s := range r.Situations {
		p.Situations[s]++
	}
	for b := range r.Broken {
		p.Broken[b]++
	}
	if r.Alarms > 0 && r.Profile == plan.Vows {
		p.Alarms++
	}
	if r.Alarms == 0 && len(r.Broken) > 0 {
		p.Unaware++
	}
	if r.Violation == nil && r.Profile == plan.Calm &&
		(r.Stats.Grants < calmGrants || r.Stats.IDs < calmIDs) && !c.NoFloors {
		p.Floors = append(p.Floors,
			fmt.Sprintf("the calm seed %d has %d grants and %d IDs: there should be %d and %d",
				r.Config.Seed, r.Stats.Grants, r.Stats.IDs, calmGrants, calmIDs))
	}
	if r.Violation != nil {
		p.Violations = append(p.Violations, r)
		c.stop = c.stop || !c.KeepGoing
	}
}

func (c *campaign) progress(elapsed time.Duration) {
	report := c.Progress
	if report == nil {
		return
	}
	p := Progress{Done: c.done, Seeds: c.Seeds, Elapsed: elapsed,
		Violations: len(c.report.Violations), OfSituations: len(Situations)}
	for _, s := range Situations {
		if c.report.Situations[s] > 0 {
			p.Situations++
		}
	}
	report(p)
}

// floors sees that the campaign was not empty. For fewer seeds than
// floorSeeds they are lower in proportion.
func (c *campaign) floors() {
	p := c.report
	if c.NoFloors || p.Interrupted || len(p.Violations) > 0 {
		return
	}
	for _, s := range Situations {
		if want := floorSituations * min(c.done, floorSeeds) / floorSeeds; p.Situations[s] < want {
			p.Floors = append(p.Floors,
				fmt.Sprintf("the situation %q came about in %d of %d runs: it should in %d", s,
					p.Situations[s], c.done, want))
		}
	}
	if n := p.Profiles[plan.Envelope]; n >= floorSeeds/20 &&
		p.Moved[plan.Envelope]*100 < floorMoved*n {
		p.Floors = append(p.Floors,
			fmt.Sprintf(
				"in %d of %d envelope runs a node ID changed its holder: it should in %d %%",
				p.Moved[plan.Envelope], n, floorMoved))
	}
}

// Write prints the report for people. commit names the version that was run;
// empty: nobody knows.
func (r *Report) Write(w io.Writer, commit string) error {
	var b strings.Builder
	if r.Interrupted {
		fmt.Fprintf(&b, "interrupted after %d seeds%s; this is about them:\n", r.Seeds,
			r.Options.of())
	}
	fmt.Fprintf(&b, "%d seeds from %d", r.Seeds, r.Options.Start)
	if r.Elapsed > 0 {
		fmt.Fprintf(&b, " in %v, %.0f a second", r.Elapsed.Round(time.Millisecond), r.PerSecond())
	}
	fmt.Fprintf(&b, ", %d of them repeated\n", r.Repeated)
	if n := max(r.Seeds, 1); true {
		fmt.Fprintf(
			&b, "a seed has %.1f apps, %d calls, %d grants, %d IDs, %.1f crashes of the server, %d faults, %d events\n",
			float64(r.Apps)/float64(n), r.Calls/n, r.Grants/n, r.IDs/n,
			float64(r.Crashes)/float64(n), r.Faults/n, r.Events/n)
	}
	for _, p := range plan.Profiles() {
		if n := r.Profiles[p]; n > 0 {
			fmt.Fprintf(&b, "%8d %s, a node ID changed its holder in %d %%\n", n, p,
				100*r.Moved[p]/n)
		}
	}
	b.WriteString("in how many runs:\n")
	for _, s := range slices.Sorted(maps.Keys(r.Situations)) {
		fmt.Fprintf(&b, "%8d %s\n", r.Situations[s], s)
	}
	if n := r.Profiles[plan.Vows]; n > 0 {
		fmt.Fprintf(
			&b, "vows were broken in %d runs; the server told of it in %d, and in %d something broke unreported. What broke:\n", n, r.Alarms, r.Unaware)
		for _, p := range slices.Sorted(maps.Keys(r.Broken)) {
			fmt.Fprintf(&b, "%8d %s\n", r.Broken[p], p)
		}
	}
	for _, f := range r.Floors {
		fmt.Fprintf(&b, "FAIL: %s\n", f)
	}
	for _, seed := range r.Mismatches {
		fmt.Fprintf(&b, "FAIL: two runs of seed %d differ\n", seed)
	}
	for _, v := range r.Violations {
		fmt.Fprintf(&b, "FAIL: %s", v.Failure(commit))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// of says how many seeds there should have been.
func (o *Options) of() string {
	if o.Seeds > 0 {
		return fmt.Sprintf(" of %d", o.Seeds)
	}
	return ""
}

// Failure tells of a run that broke a promise: what, where, and how to see it
// again. It is empty for one that broke none. commit names the version that
// was run; empty: nobody knows.
func (r Result) Failure(commit string) string {
	v := r.Violation
	if v == nil {
		return ""
	}
	if commit == "" {
		commit = "that this build was not told"
	}
	return fmt.Sprintf(
		"%s: %s\n  seed %d, commit %s, profile %s, event %d, at %v\n  repeat it with: %s --trace trace.ndjson\n",
		v.Promise.Broken(), v.Text, r.Config.Seed, commit, r.Profile, v.Event, v.At,
		r.Config.Command())
}
