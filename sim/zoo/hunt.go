package zoo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// manySeeds is more seeds than any budget has time for.
	manySeeds = 1_000_000
	// startsApart is the distance between the first seeds of two hunts.
	startsApart = 10_000_000
	// wallFactor is how many times its budget a hunt may take by the wall clock,
	// because other programs may use the core, too.
	wallFactor = 6
)

// Hunt is one search for a bug, from one first seed on.
type Hunt struct {
	// Start is the first seed.
	Start uint64
	// Seeds is how many seeds were run, the one that found the bug included.
	Seeds int
	// Time is how much time of one core that took.
	Time time.Duration
	// Text is the violation that the simulator reported.
	Text string
	// Others are panics, and violations of other promises, that came before it. They
	// do not count.
	Others []string
	// Err says why the bug was not found. nil: it was found.
	Err error
}

// errMissed says that a bug was not found.
var errMissed = errors.New("not found")

// hunt runs seeds from start on until one finds the bug, and checks that the same
// seed is green without the bug.
func (ws *workspace) hunt(
	ctx context.Context, b Bug, program string, start uint64, count int,
) Hunt {
	h := Hunt{Start: start}
	limit := b.Budget
	out, code, took, err := ws.run(ctx, wallFactor*limit, ".",
		program, b.Name, number(start), strconv.Itoa(count))
	h.Time = took
	all, rest := outcomes(out)
	found := outcome{}
	for _, o := range all {
		switch {
		case o.Found || o.Done:
			found = o
		case o.Panic != "":
			h.Others = append(h.Others,
				fmt.Sprintf("panic at seed %d: %s", o.Seed, firstLine(o.Panic)))
		default:
			h.Others = append(h.Others, fmt.Sprintf("seed %d: %s", o.Seed, firstLine(o.Text)))
		}
	}
	h.Seeds, h.Text = found.Seeds, found.Text
	switch {
	case found.Found && took > limit:
		h.Err = fmt.Errorf("%w within %v of one core: it took %v",
			errMissed, limit, took.Round(time.Millisecond))
	case found.Found && b.Name != canary.Name:
		h.Err = ws.greenWithout(ctx, b, found.Seed)
	case found.Found:
	case found.Done:
		h.Err = fmt.Errorf("%w in %d seeds", errMissed, found.Seeds)
	case err != nil:
		h.Err = fmt.Errorf("%w: %w", errMissed, err)
	default:
		h.Err = fmt.Errorf("%w: the driver ended with code %d: %s", errMissed, code,
			firstLine(rest))
	}
	return h
}

// greenWithout returns an error if a seed is not green without the bug: then it was
// not the bug that was found.
func (ws *workspace) greenWithout(ctx context.Context, b Bug, seed uint64) error {
	program, err := ws.without(ctx, b.Found)
	if err != nil {
		return err
	}
	out, code, _, err := ws.run(ctx, DefaultBudget, ".", program, b.Name, number(seed), "1")
	if err != nil {
		return err
	}
	if all, rest := outcomes(out); code != 0 || len(all) != 1 || !all[0].Done {
		return fmt.Errorf("seed %d is not green without the bug either: %s", seed,
			firstLine(out+rest))
	}
	return nil
}

// huntByTest runs the test that must find a bug.
func (ws *workspace) huntByTest(ctx context.Context, b Bug, program string) Hunt {
	out, code, took, err := ws.test(ctx, b, program)
	h := Hunt{Time: took}
	switch {
	case err != nil:
		h.Err = fmt.Errorf("%w: %w", errMissed, err)
	case code == 0:
		h.Err = fmt.Errorf("%w: %s passes", errMissed, b.Found.Test)
	case code != 1 || strings.Contains(out, "panic: ") ||
		!strings.Contains(out, "--- FAIL: "+b.Found.Test):
		h.Err = fmt.Errorf("%w: %s ended in another way than to pass or fail: %.200s",
			errMissed, b.Found.Test, out)
	default:
		h.Text = b.Found.Test + " fails"
		h.Err = ws.passes(ctx, b)
	}
	return h
}

// passes returns an error if the test does not pass without the bug.
func (ws *workspace) passes(ctx context.Context, b Bug) error {
	program, err := ws.without(ctx, b.Found)
	if err != nil {
		return err
	}
	out, code, _, err := ws.test(ctx, b, program)
	if err == nil && (code != 0 || !strings.Contains(out, "--- PASS: "+b.Found.Test)) {
		err = fmt.Errorf("%s does not pass without the bug either: %.200s", b.Found.Test, out)
	}
	return err
}

// test runs the test that must find a bug.
func (ws *workspace) test(
	ctx context.Context, b Bug, program string,
) (out string, code int, took time.Duration, err error) {
	return ws.run(ctx, wallFactor*b.Budget, b.Found.Package,
		program, "-test.v", "-test.count=1", "-test.run=^"+b.Found.Test+"$")
}

// outcomes reads the output of a driver. rest has the lines that are no outcomes.
func outcomes(out string) (all []outcome, rest string) {
	for line := range strings.Lines(out) {
		var o outcome
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			rest += line
			continue
		}
		all = append(all, o)
	}
	return all, rest
}

// median returns the hunt in the middle, by the number of seeds.
func median(hunts []Hunt) Hunt {
	sorted := slices.SortedFunc(slices.Values(hunts),
		func(a, b Hunt) int { return a.Seeds - b.Seeds })
	return sorted[len(sorted)/2]
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }
