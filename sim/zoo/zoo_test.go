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

// Every old text is in the tree exactly once, so every bug can be planted.
func TestCatalogueFitsTheTree(t *testing.T) {
	root, err := Root(".")
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(root); err != nil {
		t.Error(err)
	}
	if n := len(Bugs()); n < 40 {
		t.Errorf("the zoo has %d bugs, and is to have 40 at least", n)
	}
	if n := len(controls); n != 5 {
		t.Errorf("the zoo has %d controls", n)
	}
}

func TestNamesAreUniqueAndWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, b := range slices.Concat(Bugs(), controls, []Bug{canary}) {
		if seen[b.Name] {
			t.Errorf("%s is there twice", b.Name)
		}
		seen[b.Name] = true
		control := slices.ContainsFunc(controls, func(c Bug) bool { return c.Name == b.Name })
		if f := b.Found; f.bySimulator() == (len(f.Promises) == 0) != control || !f.bySimulator() && f.Because == "" {
			t.Errorf("%s does not say who must find it", b.Name)
		}
	}
}

// The tests that are to find bugs exist: one that was renamed would find nothing.
func TestFindersAreThere(t *testing.T) {
	root, err := Root(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range Bugs() {
		if b.Found.bySimulator() {
			continue
		}
		files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(b.Found.Package), "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(files, func(file string) bool {
			text, err := os.ReadFile(file)
			return err == nil && strings.Contains(string(text), "\nfunc "+b.Found.Test+"(t *testing.T) {")
		}) {
			t.Errorf("%s: %s has no %s", b.Name, b.Found.Package, b.Found.Test)
		}
	}
}

// The table in docs/simulation.md has a row for each bug, control and the
// canary, in the order of the zoo's own, and says who finds it.
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
	for _, b := range Bugs() {
		finders := []string{b.Found.Package + " " + b.Found.Test}
		for _, p := range b.Found.Promises {
			finders = append(finders, string(p))
		}
		add(b, false, finders...)
	}
	for _, c := range controls {
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
			t.Errorf("%s: the table says that it is found by %s, the catalogue by one of %q", name, cells[2], finders)
		}
	}
	for _, name := range want {
		if !slices.Contains(got, name) {
			t.Errorf("there is no row of %s: see `cirrus sim zoo --markdown --only …`", name)
		}
	}
	for _, name := range got {
		if by[name] == nil {
			t.Errorf("there is a row of %s, which the catalogue does not have", name)
		}
	}
	if !t.Failed() && !slices.Equal(got, want) {
		t.Errorf("the rows are in another order than the catalogue:\nwant %q\ngot  %q", want, got)
	}
}

// An old text that is not there once is told, with the name of the bug.
func TestOldTextMustBeThereOnce(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "a.go"), []byte("one two two\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, old := range []string{"two", "three"} {
		_, err := apply(root, Bug{Name: "some-bug", Edits: []Edit{{File: "a.go", Old: old, New: "four"}}})
		if !errors.Is(err, errTree) || !strings.Contains(err.Error(), "some-bug") {
			t.Errorf("old text %q: %v", old, err)
		}
	}
	got, err := apply(root, Bug{Edits: []Edit{{"a.go", "one", "three"}, {"a.go", "three", "four"}}})
	if want := "four two two\n"; err != nil || string(got["a.go"]) != want {
		t.Errorf("%q, %v", got["a.go"], err)
	}
}

func TestMedian(t *testing.T) {
	hunts := []Hunt{{Seeds: 900}, {Seeds: 1}, {Seeds: 30}, {Seeds: 2}, {Seeds: 40}}
	if got := median(hunts).Seeds; got != 30 {
		t.Errorf("median %d", got)
	}
}

func TestSampleRotates(t *testing.T) {
	seen := map[string]bool{}
	for start := range uint64(len(Bugs())) {
		some, err := Options{Sample: 3, Start: start}.choose(Bugs())
		if err != nil || len(some) != 3 {
			t.Fatal(some, err)
		}
		for _, b := range some {
			seen[b.Name] = true
		}
	}
	if len(seen) != len(Bugs()) {
		t.Errorf("samples reach %d of %d bugs", len(seen), len(Bugs()))
	}
	if _, err := (Options{Only: []string{"unicorn"}}).choose(Bugs()); err == nil {
		t.Error("a bug that isn't there was planted")
	}
}

// A few bugs are found, as the whole zoo is by `cirrus sim zoo`, and the canary
// is heard. SIM_START, which `make test` takes from the commit, chooses them.
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
		if f.Median.Seeds == 0 && f.Bug.Found.bySimulator() || !strings.Contains(table.String(), f.Bug.Name) {
			t.Errorf("%s was not found: %+v", f.Bug.Name, f.Median)
		}
	}
	if len(r.Bugs) != 3 {
		t.Errorf("%d bugs were planted", len(r.Bugs))
	}
	if r.Canary.Median.Seeds != canarySeed {
		t.Errorf("the canary was heard at seed %d", r.Canary.Median.Seeds)
	}
}

// A control that does harm after all is no control.
func TestHarmfulControl(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles the product with a bug")
	}
	shop, err := newWorkshop(".")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = shop.close() }() // a folder of temporary files
	harmful, _ := find("grant-answered-before-its-write")
	harmful.Name, harmful.Found = controls[0].Name, controls[0].Found
	f := (&visit{Options: Options{}.withDefaults(), shop: shop}).control(t.Context(), harmful, 20)
	if f.Err == nil || !strings.Contains(f.Err.Error(), string(sim.PromiseDurable)) {
		t.Errorf("nobody told: %v", f.Err)
	}
}

// What is not found, or found where there is nothing, is an error.
func TestReportNamesWhatIsWrong(t *testing.T) {
	r := Report{
		Bugs:     []Finding{{Bug: Bug{Name: "missed"}, Err: errMissed}, {Bug: Bug{Name: "found"}}},
		Controls: []Finding{{Bug: Bug{Name: "blamed"}, Control: true, Err: errors.New("it does no harm, and yet")}},
	}
	err := r.Err()
	if want := "missed: not found\nblamed: it does no harm, and yet"; err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	if err := (Report{Bugs: r.Bugs[1:]}).Err(); err != nil {
		t.Error(err)
	}
}
