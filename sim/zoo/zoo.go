package zoo

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Options of a visit to the zoo. The zero value is for `make zoo`.
type Options struct {
	// Dir is a folder in the source tree; empty: the working directory.
	Dir string
	// Only are the names of the bugs to plant; empty: all.
	Only []string
	// Sample is how many of them to plant, 0: all. Which, Start says.
	Sample int
	// Start is the first seed: another one makes other hunts, and chooses
	// another sample. 0: 1.
	Start uint64
	// Starts is how many hunts there are for each bug; 0: 5.
	Starts int
	// Budget is the most time of one core that a hunt may take, whatever the
	// bug's own says; 0: its own.
	Budget time.Duration
	// Jobs is how many bugs are hunted at once; 0: as many as there are cores.
	Jobs int
	// NoControls leaves the controls out.
	NoControls bool
	// Progress hears of each finding, one at a time; nil: nobody does.
	Progress func(Finding)
}

// Finding is what became of a bug or a control.
type Finding struct {
	Bug Bug
	// Control: it does no harm, and must not be found.
	Control bool
	// Hunts are all of them, Median the one in the middle.
	Hunts  []Hunt
	Median Hunt
	// Err is what is wrong: a bug that was not found, a control that was.
	Err error
}

// Report is what a visit has shown.
type Report struct {
	Bugs, Controls []Finding
	Canary         Finding
}

// Err names everything that is wrong.
func (r Report) Err() error {
	var errs []error
	for _, f := range slices.Concat(r.Bugs, r.Controls, []Finding{r.Canary}) {
		if f.Err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.Bug.Name, f.Err))
		}
	}
	return errors.Join(errs...)
}

// visit is a run of the zoo under way.
type visit struct {
	Options
	shop *workshop
	mu   sync.Mutex // of Progress
}

// Run plants bugs and controls and says who found what. An error means that
// there is no report, or, if ctx was done, only one about the hunts that were
// over by then; Report.Err says whether it is a good one.
func Run(ctx context.Context, o Options) (Report, error) {
	bugs, err := o.choose(Bugs())
	if err != nil {
		return Report{}, err
	}
	shop, err := newWorkshop(o.Dir)
	if err != nil {
		return Report{}, err
	}
	defer func() { _ = shop.close() }() // a folder of temporary files
	if err := Check(shop.root); err != nil {
		return Report{}, err
	}
	v := &visit{Options: o.withDefaults(), shop: shop}
	var r Report
	r.Canary = v.canary(ctx)
	r.Bugs = v.each(ctx, bugs, v.bug)
	if !o.NoControls {
		seeds := 10 * slowest(r.Bugs)
		r.Controls = v.each(ctx, controls, func(ctx context.Context, b Bug) Finding { return v.control(ctx, b, seeds) })
	}
	return r, ctx.Err()
}

func (o Options) withDefaults() Options {
	if o.Start == 0 {
		o.Start = 1
	}
	if o.Starts == 0 {
		o.Starts = 5
	}
	if o.Jobs == 0 {
		o.Jobs = runtime.GOMAXPROCS(0)
	}
	return o
}

// choose picks the bugs that are asked for.
func (o Options) choose(all []Bug) ([]Bug, error) {
	for _, name := range o.Only {
		if !slices.ContainsFunc(all, func(b Bug) bool { return b.Name == name }) {
			return nil, fmt.Errorf("the zoo has no bug %q: see its table for those that there are", name)
		}
	}
	if len(o.Only) > 0 {
		all = slices.DeleteFunc(all, func(b Bug) bool { return !slices.Contains(o.Only, b.Name) })
	}
	if o.Sample <= 0 || o.Sample >= len(all) {
		return all, nil
	}
	// Every so-manieth from one on that Start chooses: neighbours are alike.
	var some []Bug
	n := uint64(len(all))
	for i := range uint64(o.Sample) {
		some = append(some, all[(o.Start+i*n/uint64(o.Sample))%n])
	}
	return some, nil
}

// each works on bugs, Jobs at once, and keeps their order. What ctx cuts short
// is left out.
func (v *visit) each(ctx context.Context, bugs []Bug, work func(context.Context, Bug) Finding) []Finding {
	findings := make([]Finding, len(bugs))
	done := make([]bool, len(bugs))
	free := make(chan struct{}, v.Jobs)
	var all sync.WaitGroup
	for i, b := range bugs {
		free <- struct{}{}
		all.Go(func() {
			defer func() { <-free }()
			if ctx.Err() == nil {
				findings[i] = work(ctx, b)
			}
			if done[i] = ctx.Err() == nil; done[i] {
				v.tell(findings[i])
			}
		})
	}
	all.Wait()
	var whole []Finding
	for i, f := range findings {
		if done[i] {
			whole = append(whole, f)
		}
	}
	return whole
}

func (v *visit) tell(f Finding) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.Progress != nil {
		v.Progress(f)
	}
}

// bug plants a bug and hunts for it.
func (v *visit) bug(ctx context.Context, b Bug) Finding {
	f := Finding{Bug: b}
	b.Budget = v.budget(b)
	program, err := v.shop.build(ctx, b)
	if err != nil {
		f.Err = err
		return f
	}
	if !b.Found.bySimulator() {
		f.Median = v.shop.huntByTest(ctx, b, program)
		f.Hunts, f.Err = []Hunt{f.Median}, f.Median.Err
		return f
	}
	for i := range v.Starts {
		h := v.shop.hunt(ctx, b, program, v.Start+uint64(i)*startsApart, manySeeds)
		f.Hunts = append(f.Hunts, h)
		if h.Err != nil {
			f.Err = fmt.Errorf("from seed %d: %w", h.Start, h.Err)
			break
		}
	}
	f.Median = median(f.Hunts)
	return f
}

func (v *visit) budget(b Bug) time.Duration {
	own := b.Budget
	if own == 0 {
		own = DefaultBudget
	}
	if v.Budget > 0 {
		return min(own, v.Budget)
	}
	return own
}

// control plants a change that does no harm.
func (v *visit) control(ctx context.Context, b Bug, seeds int) Finding {
	f := Finding{Bug: b, Control: true}
	b.Budget = DefaultBudget * 10
	program, err := v.shop.build(ctx, b)
	if err != nil {
		f.Err = err
		return f
	}
	h := v.shop.hunt(ctx, b, program, v.Start, seeds)
	if errors.Is(h.Err, errMissed) && h.Seeds == seeds && len(h.Others) == 0 {
		h.Err = nil
	} else if h.Err == nil || len(h.Others) > 0 {
		h.Err = fmt.Errorf("it does no harm, and yet: %v %s", h.Others, h.Text)
	}
	f.Hunts, f.Median, f.Err = []Hunt{h}, h, h.Err
	return f
}

// canary sees that what the simulator says is heard: the seed before the
// canary's is green, and the canary's is not.
func (v *visit) canary(ctx context.Context) Finding {
	b := canary
	b.Budget = DefaultBudget
	f := Finding{Bug: b}
	program, err := v.shop.without(ctx, b.Found)
	if err == nil {
		f.Median = v.shop.hunt(ctx, b, program, v.Start, 2*canarySeed)
		f.Hunts = []Hunt{f.Median}
		err = f.Median.Err
	}
	if err == nil && f.Median.Seeds != canarySeed {
		err = fmt.Errorf("it cried at seed %d of %d", f.Median.Seeds, canarySeed)
	}
	f.Err = err
	v.tell(f)
	return f
}

// slowest is how many seeds the bug took, in the median, that took the most.
func slowest(findings []Finding) int {
	most := 1
	for _, f := range findings {
		if f.Err == nil {
			most = max(most, f.Median.Seeds)
		}
	}
	return most
}
