package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/cirrus-id/cirrus/sim/kernel"
	"github.com/cirrus-id/cirrus/sim/plan"
)

func TestMain(m *testing.M) {
	debug.SetGCPercent(GCPercent)
	os.Exit(m.Run())
}

// TestCampaign runs worlds; SIM_START and SIM_SEEDS choose which. `make test`
// takes 2,000 that its commit chooses, the long campaigns are `cirrus sim`'s.
func TestCampaign(t *testing.T) {
	start, seeds := number(t, "SIM_START", 1000), number(t, "SIM_SEEDS", 300)
	if testing.Short() {
		seeds = min(seeds, 100)
	}
	report, err := Campaign(t.Context(), Options{Start: start, Seeds: int(seeds), KeepGoing: true})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := report.Write(&b, ""); err != nil {
		t.Fatal(err)
	}
	if !report.OK() {
		t.Error(b.String())
	}
	t.Log(b.String())
}

// briefly leaves a test out of a brief run, which is the race detector's: it is to
// see worlds run side by side, and each takes ten times as long.
func briefly(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip(
			"-short: one world after the other, which tells the race detector nothing that TestCampaign doesn't")
	}
}

// number reads a variable of the environment.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		t.Fatalf("%s=%q: give a number: %v", name, text, err)
	}
	return n
}

// TestKeptSeeds runs the worlds that once broke a promise.
func TestKeptSeeds(t *testing.T) {
	briefly(t)
	data, err := os.ReadFile("testdata/seeds.json")
	if err != nil {
		t.Fatal(err)
	}
	var kept []struct {
		plan.Config
		Why string
	}
	if err := json.Unmarshal(data, &kept); err != nil {
		t.Fatal(err)
	}
	for _, k := range kept {
		if r := Run(k.Config); r.Violation != nil {
			t.Errorf("%s (kept because %s)", r.Failure(""), k.Why)
		}
	}
}

// TestNothingStays: a campaign of any length takes no more memory than a short
// one, whatever its servers died of.
func TestNothingStays(t *testing.T) {
	before := goleak.IgnoreCurrent()
	report, err := Campaign(t.Context(), Options{Start: 1, Seeds: 50, NoFloors: true})
	if err != nil {
		t.Fatal(err)
	}
	if n := report.Situations["the file system failed, and the process ended"]; n == 0 {
		t.Error("no file system failed in these seeds: choose others")
	}
	goleak.VerifyNone(t, before)
}

// TestSameSeedSameRun: one seed has one outcome, whatever the machine does.
func TestSameSeedSameRun(t *testing.T) {
	briefly(t)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for seed := range uint64(12) {
		for _, p := range plan.Profiles() {
			runtime.GOMAXPROCS(1)
			one := Run(plan.Config{Seed: seed, Profile: p})
			runtime.GOMAXPROCS(2)
			two := Run(plan.Config{Seed: seed, Profile: p, Trace: true})
			if one.Hash != two.Hash {
				t.Errorf("seed %d, %s: hashes %x and %x", seed, p, one.Hash, two.Hash)
			}
			if one.Hash == Run(plan.Config{Seed: seed + 1000, Profile: p}).Hash {
				t.Errorf("seeds %d and %d, %s: one hash", seed, seed+1000, p)
			}
		}
	}
}

// TestCanary: what breaks is reported, with how to repeat it, and can be
// minimized.
func TestCanary(t *testing.T) {
	report, err := Campaign(t.Context(), Options{Start: 5, Seeds: 4, Config: plan.Config{Canary: 7},
		NoFloors: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Violations) != 1 || report.Violations[0].Config.Seed != 7 || report.OK() {
		t.Fatalf("violations: %v", report.Violations)
	}
	text := report.Violations[0].Failure("abc")
	for _, want := range []string{"canary is broken", "seed 7", "commit abc", "event ",
		"cirrus sim --seed 7"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in:\n%s", want, text)
		}
	}
	small, runs := Minimize(t.Context(), report.Violations[0].Config)
	if small.Violation == nil || small.Stats.Faults != 0 || small.Stats.Apps != 2 ||
		len(small.Trace) == 0 {
		t.Errorf("minimized in %d runs to %+v, %v", runs, small.Stats, small.Violation)
	}
}

// TestMinimizeEnds: a world in which all that is tried fails, too, is made as
// small as it gets in a few runs.
func TestMinimizeEnds(t *testing.T) {
	for _, p := range plan.Profiles() {
		c := plan.Config{Seed: 4, Profile: p, Canary: 4}
		if small, runs := Minimize(t.Context(), c); runs > 60 || small.Stats.Apps != 2 ||
			small.Stats.Faults != 0 {
			t.Errorf("%s: %d runs to %+v", p, runs, small.Stats)
		}
		if small := Run(plan.Config{Seed: 4, Profile: p, Until: 1}); small.Violation != nil {
			t.Errorf("%s: %s", p, small.Failure(""))
		}
	}
}

// TestTooLittleTime: a campaign runs its first seed, however late it gets to it.
// One of no seeds would pass for one in which nothing was broken.
func TestTooLittleTime(t *testing.T) {
	var elapsed time.Duration
	report, err := Campaign(t.Context(), Options{Start: 1, For: time.Second, Jobs: 2,
		NoFloors: true, Clock: func() time.Duration {
			defer func() { elapsed += time.Minute }()
			return elapsed
		}})
	if err != nil {
		t.Fatal(err)
	}
	if report.Seeds != 1 {
		t.Errorf("%d seeds were run, not 1", report.Seeds)
	}
}

// TestInterrupted: a campaign that is told to end says how far it came, and is
// not taken for a whole one.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	o := Options{Start: 1, Seeds: 1_000_000, Jobs: 1, Progress: func(p Progress) {
		if p.Done == 3 {
			cancel()
		}
	}}
	report, err := Campaign(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := report.Write(&b, ""); err != nil {
		t.Fatal(err)
	}
	if report.OK() || report.Seeds != 3 || !strings.HasPrefix(b.String(),
		"interrupted after 3 seeds of 1000000") {
		t.Errorf("OK is %t after %d seeds:\n%s", report.OK(), report.Seeds, b.String())
	}
	if small, runs := Minimize(ctx, plan.Config{Seed: 7, Canary: 7}); runs > 2 ||
		small.Violation == nil {
		t.Errorf("an interrupted Minimize came to %v in %d runs", small.Violation, runs)
	}
}

// TestPanic: a panic in a run, wherever it is, is told with the seed and how to
// repeat it.
func TestPanic(t *testing.T) {
	for name, plant := range map[string]func(*world){
		"event": func(w *world) { w.after(time.Second, "boom", func() { panic("boom") }) },
		"task": func(w *world) {
			w.after(time.Second, "boom", func() {
				w.servers[0].proc.Start("boom",
					func() { panic("boom") })
			})
		},
	} {
		w := newWorld(plan.Config{Seed: 7, Profile: plan.Calm}, &kernel.Workers{})
		plant(w)
		text := w.live().Failure("")
		for _, want := range []string{"the run panicked: ", "boom", "sim_test.go:",
			"seed 7, commit that this build was not told", "repeat it with: cirrus sim --seed 7 "} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is missing in:\n%s", name, want, text)
			}
		}
	}
}

// TestEveryKindAlone: each kind of fault can happen alone, and be switched off.
func TestEveryKindAlone(t *testing.T) {
	briefly(t)
	for _, kind := range plan.Kinds() {
		var without []plan.Kind
		for _, k := range plan.Kinds() {
			if k != kind {
				without = append(without, k)
			}
		}
		faults := 0
		for seed := uint64(0); seed < 40 && faults == 0; seed++ {
			p := plan.Envelope
			switch {
			case contains(plan.HostileKinds, kind):
				p = plan.Hostile
			case contains(plan.VowKinds, kind):
				p = plan.Vows
			}
			r := Run(plan.Config{Seed: seed, Profile: p, Without: without})
			if faults = r.Stats.Faults; r.Violation != nil {
				t.Errorf("%s: %s", kind, r.Failure(""))
			}
		}
		// Clocks that are wrong from the start are no events.
		if faults == 0 && !contains([]plan.Kind{plan.Offset, plan.Coarse, plan.Twins,
			plan.WildRate}, kind) {
			t.Errorf("%s never happened", kind)
		}
	}
}

func contains(kinds []plan.Kind, k plan.Kind) bool {
	for _, other := range kinds {
		if other == k {
			return true
		}
	}
	return false
}

// rapidChoices lets rapid choose, and shrink.
type rapidChoices struct{ t *rapid.T }

func (c rapidChoices) Stream(purpose string,
	_ int) kernel.Stream {
	return rapidStream{c.t, purpose}
}

type rapidStream struct {
	t       *rapid.T
	purpose string
}

func (s rapidStream) Below(n uint64) uint64 {
	return rapid.Uint64Range(0, n-1).Draw(s.t, s.purpose)
}

// plans are the choices that are few: which world it is, and what goes wrong
// in it and when.
func plans(purpose string) bool {
	return purpose == "plan" || purpose == "clock" || strings.HasPrefix(purpose, "kind:") ||
		strings.HasPrefix(purpose, "amount:") || strings.HasPrefix(purpose, "chaos:")
}

func TestRapid(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64Range(0, 1000).Draw(rt, "seed")
		c := plan.Config{Seed: seed, Choices: Mixed{Chosen: plans, First: rapidChoices{rt},
			Rest: kernel.Seed(seed).Choices()}}
		if r := Run(c); r.Violation != nil {
			rt.Fatal(r.Violation)
		}
	})
}

// FuzzRun lets a fuzzer choose the plan and the faults.
func FuzzRun(f *testing.F) {
	f.Add(uint64(1), []byte("a world that is as good as any other, with enough bytes to plan it"))
	f.Fuzz(func(t *testing.T, seed uint64, choices []byte) {
		c := plan.Config{Seed: seed, Choices: Mixed{Chosen: plans, First: Bytes(choices).Choices(),
			Rest: kernel.Seed(seed).Choices()}}
		if r := Run(c); r.Violation != nil {
			t.Fatal(r.Violation)
		}
	})
}

// TestEnumerator: all choices of a small scope, each once.
func TestEnumerator(t *testing.T) {
	seen := map[[3]uint64]bool{}
	for e := (&Enumerator{Depth: 3, Width: 3}); e.More(); {
		s := e.Choices().Stream("", 0)
		seen[[3]uint64{s.Below(2), s.Below(101), s.Below(3)}] = true
		if s.Below(9) != 0 {
			t.Error("beyond the depth a choice was not the tamest")
		}
	}
	if len(seen) != 2*3*3 || !seen[[3]uint64{1, 50, 2}] || !seen[[3]uint64{0, 100, 0}] {
		t.Errorf("%d choices: %v", len(seen), seen)
	}
	kinds := func(purpose string) bool { return strings.HasPrefix(purpose, "kind:") }
	runs := 0
	for e := (&Enumerator{Depth: 6, Width: 2}); e.More(); runs++ {
		c := plan.Config{Seed: 3, Profile: plan.Envelope, Apps: 2,
			Choices: Mixed{Chosen: kinds, First: e.Choices(), Rest: kernel.Seed(3).Choices()}}
		if r := Run(c); r.Violation != nil {
			t.Error(r.Violation)
		}
	}
	if runs != 64 {
		t.Errorf("%d runs, want 64: six kinds on or off", runs)
	}
}

// TestTrace: a trace can be written for programs.
func TestTrace(t *testing.T) {
	r := Run(plan.Config{Seed: 1, Profile: plan.Envelope, Trace: true})
	var lines bytes.Buffer
	if err := WriteNDJSON(&lines, r.Trace); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(lines.String(), "\n"); n != len(r.Trace) || n < 100 {
		t.Errorf("%d lines for %d records", n, len(r.Trace))
	}
	var rec Record
	if err := json.Unmarshal(lines.Bytes()[:bytes.IndexByte(lines.Bytes(), '\n')],
		&rec); err != nil || rec.Kind == "" {
		t.Errorf("the first line reads as %+v, %v", rec, err)
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []plan.Config{{Profile: "mild"}, {Apps: 1}, {Apps: 13}, {Replicas: -2},
		{Replicas: 4}, {Until: -1}, {Without: []plan.Kind{"rain"}}} {
		if err := c.Validate(); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
	if _, err := Campaign(t.Context(), Options{}); err == nil {
		t.Error("a campaign of nothing is accepted")
	}
	want := "cirrus sim --seed 7 --profile calm --without loss,cut --apps 3 --replicas 2 --faults -1 --until 1m0s"
	if got := (plan.Config{Seed: 7, Profile: plan.Calm, Without: []plan.Kind{plan.Loss, plan.Cut},
		Apps: 3, Replicas: 2, Faults: -1, Until: 60e9}).Command(); got != want {
		t.Errorf("got %s", got)
	}
}
