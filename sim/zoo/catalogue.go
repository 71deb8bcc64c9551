package zoo

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/cirrus-id/cirrus/sim"
	"github.com/cirrus-id/cirrus/sim/zoo/internal/patch"
)

// bugFiles has a patch for each bug and control, and the series, which names them
// in the order of the table in docs/simulation.md.
//
//go:embed bugs/series bugs/*.patch
var bugFiles embed.FS

const series = "bugs/series"

// catalogue has everything that the zoo plants.
type catalogue struct {
	bugs, controls []Bug
}

// load reads the catalogue from bugFiles.
var load = sync.OnceValues(func() (catalogue, error) { return readCatalogue(bugFiles) })

// Bugs returns all planted bugs, in the order of the series.
func Bugs() ([]Bug, error) {
	c, err := load()
	return slices.Clone(c.bugs), err
}

// readCatalogue reads the series and the patches that it names.
func readCatalogue(files fs.FS) (catalogue, error) {
	text, err := fs.ReadFile(files, series)
	if err != nil {
		return catalogue{}, err
	}
	var c catalogue
	for line := range strings.Lines(string(text)) {
		name := strings.TrimSpace(line)
		if name == "" || strings.HasPrefix(name, "#") {
			continue
		}
		if slices.ContainsFunc(c.all(), func(b Bug) bool { return b.Name == name }) {
			return catalogue{}, fmt.Errorf("%s names %s twice", series, name)
		}
		b, control, err := readBug(files, name)
		if err != nil {
			return catalogue{}, fmt.Errorf("sim/zoo/bugs/%s.patch: %w", name, err)
		}
		if control {
			c.controls = append(c.controls, b)
		} else {
			c.bugs = append(c.bugs, b)
		}
	}
	patches, err := fs.Glob(files, "bugs/*.patch")
	if err != nil {
		return catalogue{}, err
	}
	for _, file := range patches {
		name := strings.TrimSuffix(path.Base(file), ".patch")
		if _, ok := c.find(name); !ok {
			return catalogue{},
				fmt.Errorf("sim/zoo/%s does not name %s: add a line for it", series, name)
		}
	}
	return c, nil
}

// all returns the bugs and the controls.
func (c catalogue) all() []Bug { return slices.Concat(c.bugs, c.controls) }

// find returns the bug or the control of a name.
func (c catalogue) find(name string) (Bug, bool) {
	all := c.all()
	i := slices.IndexFunc(all, func(b Bug) bool { return b.Name == name })
	if i < 0 {
		return Bug{}, false
	}
	return all[i], true
}

// readBug reads the patch of a bug or of a control.
func readBug(files fs.FS, name string) (b Bug, control bool, err error) {
	text, err := fs.ReadFile(files, "bugs/"+name+".patch")
	if err != nil {
		return Bug{}, false, err
	}
	p, err := patch.Parse(text)
	if err != nil {
		return Bug{}, false, err
	}
	h, err := p.Fields()
	if err != nil {
		return Bug{}, false, err
	}
	b = Bug{Name: take(h, "Bug"), Rule: take(h, "Rule"), patch: p}
	if b.Name == "" {
		b.Name, control = take(h, "Control"), true
	}
	if b.Found, err = readFinder(h); err != nil {
		return Bug{}, false, err
	}
	take(h, "Note")
	switch found := !b.Found.bySimulator() || len(b.Found.Promises) > 0; {
	case b.Name != name:
		err = fmt.Errorf("the header has the name %q: give the file's, as Bug or as Control",
			b.Name)
	case b.Rule == "":
		err = errors.New("the header has no Rule")
	case found == control:
		err = errors.New("the header of a bug has Breaks or Fails, that of a control neither")
	case len(h) > 0:
		err = fmt.Errorf("the header has the unknown fields %q", slices.Sorted(maps.Keys(h)))
	}
	return b, control, err
}

// take returns a field of a header and removes it.
func take(header map[string]string, key string) string {
	value := header[key]
	delete(header, key)
	return value
}

// readFinder takes from a header what must find the bug.
func readFinder(header map[string]string) (f Finder, err error) {
	f.Profile = sim.Profile(take(header, "Profile"))
	if f.Profile != "" && !slices.Contains(sim.Profiles(), f.Profile) {
		return f, fmt.Errorf("field Profile: the simulator has no %q", f.Profile)
	}
	if breaks := take(header, "Breaks"); breaks != "" {
		for text := range strings.SplitSeq(breaks, ", ") {
			p := sim.Promise(text)
			if !slices.Contains(sim.Promises(), p) {
				return f, fmt.Errorf("field Breaks: the simulator checks no promise %q", p)
			}
			f.Promises = append(f.Promises, p)
		}
	}
	f.Because = take(header, "Because")
	if fails := take(header, "Fails"); fails != "" {
		f.Package, f.Test, _ = strings.Cut(fails, " ")
		if f.Test == "" || f.Because == "" || len(f.Promises) > 0 || f.Profile != "" {
			return f, errors.New(
				"field Fails: give a package and a test, say why in Because, and give no Breaks and no Profile")
		}
	}
	return f, nil
}
