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
	// manySeeds is more than any budget has time for.
	manySeeds = 1_000_000
	// startsApart is how far the starts of two hunts lie apart.
	startsApart = 10_000_000
	// patience is how many times its budget a hunt may take by the wall clock,
	// since others may want the core as well.
	patience = 6
)

// Hunt is one search for a bug, from one start.
type Hunt struct {
	// Start is the first seed, Seeds how many were run up to the find, and
	// Time how much of a core it took.
	Start uint64
	Seeds int
	Time  time.Duration
	// Text is what the simulator said.
	Text string
	// Others are what else it said before, of which no account was taken.
	Others []string
	// Err is why the bug was not found; nil: it was.
	Err error
}

// errMissed says that nobody noticed.
var errMissed = errors.New("not found")

// hunt looks for a bug by running seeds from start on, and looks at the find.
func (s *workshop) hunt(ctx context.Context, b Bug, program string, start uint64, count int) Hunt {
	h := Hunt{Start: start}
	limit := b.Budget
	out, code, took, err := s.run(ctx, patience*limit, ".", program, b.Name, number(start), strconv.Itoa(count))
	h.Time = took
	all, rest := outcomes(out)
	found := outcome{}
	for _, o := range all {
		switch {
		case o.Found || o.Done:
			found = o
		case o.Panic != "":
			h.Others = append(h.Others, fmt.Sprintf("panic at seed %d: %s", o.Seed, firstLine(o.Panic)))
		default:
			h.Others = append(h.Others, fmt.Sprintf("seed %d: %s", o.Seed, firstLine(o.Text)))
		}
	}
	h.Seeds, h.Text = found.Seeds, found.Text
	switch {
	case found.Found && took > limit:
		h.Err = fmt.Errorf("%w within %v: it took %v", errMissed, limit, took.Round(time.Millisecond))
	case found.Found && b.Name != canary.Name:
		h.Err = s.innocent(ctx, b, found.Seed)
	case found.Found:
	case found.Done:
		h.Err = fmt.Errorf("%w in %d seeds", errMissed, found.Seeds)
	case err != nil:
		h.Err = fmt.Errorf("%w: %w", errMissed, err)
	default:
		h.Err = fmt.Errorf("%w: the driver ended with code %d: %s", errMissed, code, firstLine(rest))
	}
	return h
}

// innocent says whether a seed at which a bug was found is green without it:
// only then it was the bug that was found.
func (s *workshop) innocent(ctx context.Context, b Bug, seed uint64) error {
	program, err := s.without(ctx, b.Found)
	if err != nil {
		return err
	}
	out, code, _, err := s.run(ctx, DefaultBudget, ".", program, b.Name, number(seed), "1")
	if err != nil {
		return err
	}
	if all, rest := outcomes(out); code != 0 || len(all) != 1 || !all[0].Done {
		return fmt.Errorf("seed %d is not green without the bug either: %s", seed, firstLine(out+rest))
	}
	return nil
}

// huntByTest lets a test look for a bug.
func (s *workshop) huntByTest(ctx context.Context, b Bug, program string) Hunt {
	out, code, took, err := s.test(ctx, b, program)
	h := Hunt{Time: took}
	switch {
	case err != nil:
		h.Err = fmt.Errorf("%w: %w", errMissed, err)
	case code == 0:
		h.Err = fmt.Errorf("%w: %s passes", errMissed, b.Found.Test)
	case code != 1 || strings.Contains(out, "panic: ") || !strings.Contains(out, "--- FAIL: "+b.Found.Test):
		h.Err = fmt.Errorf("%w: %s neither passes nor fails: %.200s", errMissed, b.Found.Test, out)
	default:
		h.Text = b.Found.Test + " fails"
		h.Err = s.passes(ctx, b)
	}
	return h
}

// passes says whether the test passes without the bug.
func (s *workshop) passes(ctx context.Context, b Bug) error {
	program, err := s.without(ctx, b.Found)
	if err != nil {
		return err
	}
	out, code, _, err := s.test(ctx, b, program)
	if err == nil && (code != 0 || !strings.Contains(out, "--- PASS: "+b.Found.Test)) {
		err = fmt.Errorf("%s does not pass without the bug either: %.200s", b.Found.Test, out)
	}
	return err
}

func (s *workshop) test(ctx context.Context, b Bug, program string) (out string, code int, took time.Duration, err error) {
	return s.run(ctx, patience*b.Budget, b.Found.Package, program, "-test.v", "-test.count=1", "-test.run=^"+b.Found.Test+"$")
}

// outcomes reads what a driver printed; rest is what it didn't print on
// purpose.
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

// median is the hunt in the middle, by the number of seeds.
func median(hunts []Hunt) Hunt {
	sorted := slices.SortedFunc(slices.Values(hunts), func(a, b Hunt) int { return a.Seeds - b.Seeds })
	return sorted[len(sorted)/2]
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }
