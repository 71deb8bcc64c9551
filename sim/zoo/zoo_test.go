package zoo

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cirrus-id/cirrus/sim"
)

// loaded returns the catalogue.
func loaded(t *testing.T) catalogue {
	t.Helper()
	c, err := load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCatalogueFitsTheTree applies each patch to the tree that the test runs in.
func TestCatalogueFitsTheTree(t *testing.T) {
	root, err := Root(".")
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(root); err != nil {
		t.Error(err)
	}
	if n := len(loaded(t).bugs); n < 40 {
		t.Errorf("the zoo has %d bugs, want at least 40", n)
	}
	if n := len(loaded(t).controls); n != 5 {
		t.Errorf("the zoo has %d controls, want 5", n)
	}
}

// TestCatalogueBreaksRulesOfTheProduct looks up each bug's rule. Bugs are planted into the
// product only: not into tests, and not into what finds them.
func TestCatalogueBreaksRulesOfTheProduct(t *testing.T) {
	design, err := os.ReadFile(filepath.Join("..", "..", "docs", "design.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range loaded(t).all() {
		if !strings.Contains(string(design), "\n### "+b.Rule+" ") {
			t.Errorf("%s breaks rule %q, for which docs/design.md has no heading", b.Name, b.Rule)
		}
		for _, f := range b.patch.Files {
			if strings.HasPrefix(f.Path, "sim/") || !strings.HasSuffix(f.Path, ".go") ||
				strings.HasSuffix(f.Path, "_test.go") {
				t.Errorf("%s changes %s, want a Go file of the product", b.Name, f.Path)
			}
		}
	}
}

// TestFindersAreThere looks for the tests that must find bugs. A test that was
// renamed would find nothing.
func TestFindersAreThere(t *testing.T) {
	root, err := Root(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range loaded(t).bugs {
		if b.Found.bySimulator() {
			continue
		}
		files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(b.Found.Package),
			"*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(files, func(file string) bool {
			text, err := os.ReadFile(file)
			return err == nil &&
				strings.Contains(string(text), "\nfunc "+b.Found.Test+"(t *testing.T) {")
		}) {
			t.Errorf("%s: %s has no %s", b.Name, b.Found.Package, b.Found.Test)
		}
	}
}

// TestDocumentedTable expects a row in docs/simulation.md for each bug, each control
// and the canary, in the order of the series, that says what finds it.
func TestDocumentedTable(t *testing.T) {
	root, err := Root(".")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "simulation.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "<!-- ZOO TABLE: BEGIN")
	table, _, _ = strings.Cut(table, "<!-- ZOO TABLE: END")
	var want, got []string
	by := map[string][]string{}
	add := func(b Bug, control bool, finders ...string) {
		name := strings.Join(Finding{Bug: b, Control: control}.Row()[:2], " | ")
		want = append(want, name)
		by[name] = finders
	}
	for _, b := range loaded(t).bugs {
		finders := []string{b.Found.Package + " " + b.Found.Test}
		for _, p := range b.Found.Promises {
			finders = append(finders, string(p))
		}
		add(b, false, finders...)
	}
	for _, c := range loaded(t).controls {
		add(c, true, "nobody")
	}
	add(canary, false, string(sim.PromiseCanary))
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(line, "| \n"), " | ")
		if len(cells) != 5 || cells[0] == "bug" {
			continue
		}
		name := cells[0] + " | " + cells[1]
		got = append(got, name)
		if finders, ok := by[name]; ok && !slices.Contains(finders, cells[2]) {
			t.Errorf("%s: docs/simulation.md says that %s finds it, want one of %q", name, cells[2],
				finders)
		}
	}
	for _, name := range want {
		if !slices.Contains(got, name) {
			t.Errorf(
				"docs/simulation.md has no row of %s: `cirrus sim zoo --markdown --only …` prints it",
				name)
		}
	}
	for _, name := range got {
		if by[name] == nil {
			t.Errorf("docs/simulation.md has a row of %s, which the catalogue does not have", name)
		}
	}
	if !t.Failed() && !slices.Equal(got, want) {
		t.Errorf("the rows are not in the order of the series:\nwant %q\ngot  %q", want, got)
	}
}

func TestMedian(t *testing.T) {
	hunts := []Hunt{{Seeds: 900}, {Seeds: 1}, {Seeds: 30}, {Seeds: 2}, {Seeds: 40}}
	if got := median(hunts).Seeds; got != 30 {
		t.Errorf("the median hunt took %d seeds, want 30", got)
	}
}

func TestSampleRotates(t *testing.T) {
	seen := map[string]bool{}
	for start := range uint64(len(loaded(t).bugs)) {
		some, err := Options{Sample: 3, Start: start}.choose(loaded(t).bugs)
		if err != nil || len(some) != 3 {
			t.Fatal(some, err)
		}
		for _, b := range some {
			seen[b.Name] = true
		}
	}
	if len(seen) != len(loaded(t).bugs) {
		t.Errorf("the samples of all starts have %d bugs, want all %d", len(seen),
			len(loaded(t).bugs))
	}
	if _, err := (Options{Only: []string{"unicorn"}}).choose(loaded(t).bugs); err == nil {
		t.Error("a bug that does not exist was chosen, want an error")
	}
}

// TestSample hunts for three bugs as `cirrus sim zoo` does for all, and for the
// canary. SIM_START, which `make test` takes from the commit, chooses them.
func TestSample(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles the product with each bug")
	}
	start := uint64(1000)
	if text := os.Getenv("SIM_START"); text != "" {
		var err error
		if start, err = strconv.ParseUint(text, 10, 63); err != nil {
			t.Fatalf("SIM_START=%q: give a number: %v", text, err)
		}
	}
	r, err := Run(t.Context(), Options{Sample: 3, Start: start, Starts: 1, NoControls: true})
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	if err := r.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + table.String())
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	for _, f := range r.Bugs {
		if f.Median.Seeds == 0 && f.Bug.Found.bySimulator() ||
			!strings.Contains(table.String(), f.Bug.Name) {
			t.Errorf("%s was not found: %+v", f.Bug.Name, f.Median)
		}
	}
	if len(r.Bugs) != 3 {
		t.Errorf("%d bugs were planted, want 3", len(r.Bugs))
	}
	if r.Canary.Median.Seeds != canarySeed {
		t.Errorf("the canary was found at seed %d, want %d", r.Canary.Median.Seeds, canarySeed)
	}
}

// TestHarmfulControl plants a bug as a control. The finding must be an error.
func TestHarmfulControl(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles the product with a bug")
	}
	ws, err := newWorkspace(".")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.close() }() // a folder of temporary files
	harmful, ok := loaded(t).find("grant-answered-before-its-write")
	if !ok {
		t.Fatal("the bug that the test plants is gone")
	}
	control := loaded(t).controls[0] // whose name the driver knows
	harmful.Name, harmful.Found = control.Name, control.Found
	f := (&session{Options: Options{}.withDefaults(), workspace: ws}).control(t.Context(), harmful,
		20)
	if f.Err == nil || !strings.Contains(f.Err.Error(), string(sim.PromiseDurable)) {
		t.Errorf("got error %v, want one that names %q", f.Err, sim.PromiseDurable)
	}
}

// TestReportNamesWhatIsWrong expects an error for a bug that was not found, and for a
// control that was.
func TestReportNamesWhatIsWrong(t *testing.T) {
	r := Report{
		Bugs:     []Finding{{Bug: Bug{Name: "missed"}, Err: errMissed}, {Bug: Bug{Name: "found"}}},
		Controls: []Finding{{Bug: Bug{Name: "blamed"}, Control: true, Err: errors.New("found")}},
	}
	err := r.Err()
	if want := "missed: not found\nblamed: found"; err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	if err := (Report{Bugs: r.Bugs[1:]}).Err(); err != nil {
		t.Error(err)
	}
}
