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

// Options say which bugs to plant and how to hunt for them. The zero value plants
// all, as `make zoo` does.
type Options struct {
	// Dir is a folder in the source tree. Empty: the working directory.
	Dir string
	// Only has the names of the bugs to plant. Empty: all.
	Only []string
	// Sample is how many of them to plant. 0: all. Start chooses which.
	Sample int
	// Start is the first seed. Another one makes other hunts, and chooses another
	// sample. 0: 1.
	Start uint64
	// Starts is the number of hunts for each bug. 0: 5.
	Starts int
	// Budget is the most time of one core that a hunt may take. 0: DefaultBudget.
	Budget time.Duration
	// Jobs is how many bugs are hunted at once. 0: as many as there are cores.
	Jobs int
	// NoControls leaves out the controls.
	NoControls bool
	// Progress is called with each finding, one at a time. It may be nil.
	Progress func(Finding)
}

// Finding is the result of planting a bug or a control.
type Finding struct {
	Bug Bug
	// Control says that it does no harm and must not be found.
	Control bool
	// Hunts are all hunts for it.
	Hunts []Hunt
	// Median is the hunt in the middle, by the number of seeds.
	Median Hunt
	// Err says what is wrong: a bug was not found, or a control was.
	Err error
}

// Report has the results of a run of the zoo.
type Report struct {
	Bugs, Controls []Finding
	Canary         Finding
}

// Err returns everything that is wrong as one error.
func (r Report) Err() error {
	var errs []error
	for _, f := range slices.Concat(r.Bugs, r.Controls, []Finding{r.Canary}) {
		if f.Err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.Bug.Name, f.Err))
		}
	}
	return errors.Join(errs...)
}

// session is one run of the zoo.
type session struct {
	Options
	workspace *workspace
	mu        sync.Mutex // of Progress
}

// Run plants bugs and controls and returns what found them. After an error there is
// no report; but if ctx was done, the report has the hunts that had ended by then.
// Report.Err says whether a bug was missed.
func Run(ctx context.Context, o Options) (Report, error) {
	c, err := load()
	if err != nil {
		return Report{}, err
	}
	bugs, err := o.choose(c.bugs)
	if err != nil {
		return Report{}, err
	}
	ws, err := newWorkspace(o.Dir)
	if err != nil {
		return Report{}, err
	}
	defer func() { _ = ws.close() }() // a folder of temporary files
	if err := Check(ws.root); err != nil {
		return Report{}, err
	}
	v := &session{Options: o.withDefaults(), workspace: ws}
	var r Report
	r.Canary = v.canary(ctx)
	r.Bugs = v.each(ctx, bugs, v.bug)
	if !o.NoControls {
		seeds := 10 * slowest(r.Bugs)
		r.Controls = v.each(ctx, c.controls, func(ctx context.Context, b Bug) Finding {
			return v.control(ctx, b, seeds)
		})
	}
	return r, ctx.Err()
}

// withDefaults returns the options with values for those that are 0.
func (o Options) withDefaults() Options {
	if o.Start == 0 {
		o.Start = 1
	}
	if o.Starts == 0 {
		o.Starts = 5
	}
	if o.Budget == 0 {
		o.Budget = DefaultBudget
	}
	if o.Jobs == 0 {
		o.Jobs = runtime.GOMAXPROCS(0)
	}
	return o
}

// choose returns the bugs that the options ask for.
func (o Options) choose(all []Bug) ([]Bug, error) {
	for _, name := range o.Only {
		if !slices.ContainsFunc(all, func(b Bug) bool { return b.Name == name }) {
			return nil, fmt.Errorf("the zoo has no bug %q: see the list of its bugs", name)
		}
	}
	if len(o.Only) > 0 {
		all = slices.DeleteFunc(slices.Clone(all),
			func(b Bug) bool { return !slices.Contains(o.Only, b.Name) })
	}
	if o.Sample <= 0 || o.Sample >= len(all) {
		return all, nil
	}
	// The sample is spread over the list, because neighbours are alike.
	var some []Bug
	n := uint64(len(all))
	for i := range uint64(o.Sample) {
		some = append(some, all[(o.Start+i*n/uint64(o.Sample))%n])
	}
	return some, nil
}

// each calls work with each bug, for Jobs bugs at once. It returns the findings in
// the order of the bugs, without those that were not complete when ctx was done.
func (v *session) each(
	ctx context.Context, bugs []Bug, work func(context.Context, Bug) Finding,
) []Finding {
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
				v.report(findings[i])
			}
		})
	}
	all.Wait()
	var complete []Finding
	for i, f := range findings {
		if done[i] {
			complete = append(complete, f)
		}
	}
	return complete
}

// report calls Progress.
func (v *session) report(f Finding) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.Progress != nil {
		v.Progress(f)
	}
}

// bug plants a bug and hunts for it.
func (v *session) bug(ctx context.Context, b Bug) Finding {
	f := Finding{Bug: b}
	b.Budget = v.Budget
	program, err := v.workspace.build(ctx, b)
	if err != nil {
		f.Err = err
		return f
	}
	if !b.Found.bySimulator() {
		f.Median = v.workspace.huntByTest(ctx, b, program)
		f.Hunts, f.Err = []Hunt{f.Median}, f.Median.Err
		return f
	}
	for i := range v.Starts {
		h := v.workspace.hunt(ctx, b, program, v.Start+uint64(i)*startsApart, manySeeds)
		f.Hunts = append(f.Hunts, h)
		if h.Err != nil {
			f.Err = fmt.Errorf("from seed %d: %w", h.Start, h.Err)
			break
		}
	}
	f.Median = median(f.Hunts)
	return f
}

// control plants a change that does no harm, and runs this many seeds.
func (v *session) control(ctx context.Context, b Bug, seeds int) Finding {
	f := Finding{Bug: b, Control: true}
	b.Budget = DefaultBudget * 10
	program, err := v.workspace.build(ctx, b)
	if err != nil {
		f.Err = err
		return f
	}
	h := v.workspace.hunt(ctx, b, program, v.Start, seeds)
	if errors.Is(h.Err, errMissed) && h.Seeds == seeds && len(h.Others) == 0 {
		h.Err = nil
	} else if h.Err == nil || len(h.Others) > 0 {
		h.Err = fmt.Errorf("it must do no harm, but was found: %v %s", h.Others, h.Text)
	}
	f.Hunts, f.Median, f.Err = []Hunt{h}, h, h.Err
	return f
}

// canary checks that the zoo notices a violation: the simulator reports one at the
// canary's seed and at none before it.
func (v *session) canary(ctx context.Context) Finding {
	b := canary
	b.Budget = DefaultBudget
	f := Finding{Bug: b}
	program, err := v.workspace.without(ctx, b.Found)
	if err == nil {
		f.Median = v.workspace.hunt(ctx, b, program, v.Start, 2*canarySeed)
		f.Hunts = []Hunt{f.Median}
		err = f.Median.Err
	}
	if err == nil && f.Median.Seeds != canarySeed {
		err = fmt.Errorf("the violation was found at seed %d, want %d", f.Median.Seeds, canarySeed)
	}
	f.Err = err
	v.report(f)
	return f
}

// slowest returns the highest median number of seeds.
func slowest(findings []Finding) int {
	most := 1
	for _, f := range findings {
		if f.Err == nil {
			most = max(most, f.Median.Seeds)
		}
	}
	return most
}
