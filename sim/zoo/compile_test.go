package zoo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cirrus-id/cirrus/sim/zoo/internal/patch"
)

// TestCatalogueCompiles plants each bug and each control. One that no longer
// compiles because the code around it has changed would find nothing.
func TestCatalogueCompiles(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles the product")
	}
	p := listProgram(t)
	for _, b := range loaded(t).all() {
		changed, err := apply(p.root, b)
		if errors.Is(err, patch.ErrStale) {
			continue // TestCatalogueFitsTheTree reports it
		}
		if err == nil {
			err = p.compiles(changed)
		}
		if err != nil {
			t.Errorf("%s does not compile. Bring sim/zoo/bugs/%s.patch up to date:\n%v", b.Name,
				b.Name, err)
		}
	}
}

// TestCompileErrorsAreFound makes errors in a changed file, and in a package that
// imports what the changed one no longer exports.
func TestCompileErrorsAreFound(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles the product")
	}
	p := listProgram(t)
	const shortest = "func ShortestTTL("
	for _, c := range []struct{ file, old, new, want string }{
		{"fencing/pools.go", shortest, "// Unicorn is new.\nfunc Unicorn() {}\n\n" + shortest, ""},
		{"fencing/pools.go", shortest, "func unicorn() int { return nothing }\n\n" + shortest, "undefined: nothing"},
		{"fencing/pools.go", shortest, "func unicorn(\n\n" + shortest, "fencing/pools.go:"},
		{"fencing/pools.go", shortest, "func unicorn(", "undefined: fencing.ShortestTTL"},
		{"fencing/base_test.go", "package ", "package  ", "1 of the changed files"},
	} {
		text, err := os.ReadFile(filepath.Join(p.root, filepath.FromSlash(c.file)))
		if err != nil {
			t.Fatal(err)
		}
		changed := bytes.Replace(text, []byte(c.old), []byte(c.new), 1)
		switch err := p.compiles(map[string][]byte{c.file: changed}); {
		case c.want == "" && err != nil:
			t.Errorf("%s with %q in place of %q: want no error, got %v", c.file, c.new, c.old, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s with %q in place of %q: want an error with %q, got %v",
				c.file, c.new, c.old, c.want, err)
		}
	}
}

// program has the packages that the zoo builds, without a bug.
type program struct {
	root     string
	packages []listed // the module's, dependencies first
	fset     *token.FileSet
	parsed   map[string]*ast.File // the module's files
	imports  types.Importer       // imports packages that the go command has compiled
}

// listed is a package in the output of go list.
type listed struct {
	ImportPath, Dir, Export string
	GoFiles, Deps           []string
	Module                  *struct {
		Main      bool
		GoVersion string
	}
}

// listProgram lists the packages of the zoo's programs. The go command compiles
// those that are not in its cache.
func listProgram(t *testing.T) *program {
	t.Helper()
	root, err := Root(".")
	if err != nil {
		t.Fatal(err)
	}
	args := []string{
		"list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,Deps,Module",
		"./sim/zoo/driver",
	}
	for _, b := range loaded(t).bugs {
		if !b.Found.bySimulator() {
			args = append(args, "./"+b.Found.Package)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir, cmd.Stderr = root, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal("listing the packages: ", err)
	}
	p := &program{root: root, fset: token.NewFileSet(), parsed: map[string]*ast.File{}}
	exports := map[string]string{}
	for in := json.NewDecoder(bytes.NewReader(out)); in.More(); {
		var l listed
		if err := in.Decode(&l); err != nil {
			t.Fatal(err)
		}
		exports[l.ImportPath] = l.Export
		if l.Module != nil && l.Module.Main {
			p.packages = append(p.packages, l)
		}
	}
	p.imports = importer.ForCompiler(p.fset, "gc",
		func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	return p
}

// compiles type-checks the packages of the changed files. If such a package
// exports other things than before, it also type-checks those that depend on it.
func (p *program) compiles(changed map[string][]byte) error {
	others := overlay{p.imports, map[string]*types.Package{}}
	checked := 0
	for i := range p.packages {
		l := &p.packages[i]
		depends := slices.ContainsFunc(l.Deps, others.has)
		if n := p.countIn(l, changed); n == 0 && !depends {
			continue
		} else {
			checked += n
		}
		pkg, err := p.check(l, changed, others)
		if err != nil {
			return err
		}
		if depends || p.exportsChange(l, changed) {
			others.packages[l.ImportPath] = pkg
		}
	}
	if checked != len(changed) {
		return fmt.Errorf("%d of the changed files are in no package that the zoo builds",
			len(changed)-checked)
	}
	return nil
}

// overlay imports packages that were type-checked with a bug, in place of those that
// the go command has compiled.
type overlay struct {
	types.Importer
	packages map[string]*types.Package
}

func (o overlay) has(path string) bool { return o.packages[path] != nil }

func (o overlay) Import(path string) (*types.Package, error) {
	if o.has(path) {
		return o.packages[path], nil
	}
	return o.Importer.Import(path)
}

// check type-checks a package with changed files.
func (p *program) check(
	l *listed, changed map[string][]byte, imports types.Importer,
) (*types.Package, error) {
	var files []*ast.File
	for _, file := range p.files(l) {
		f, err := p.parse(file, changed[file])
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	var errs []error
	c := types.Config{
		Importer: imports, GoVersion: "go" + l.Module.GoVersion,
		Error: func(err error) { errs = append(errs, err) },
	}
	pkg, _ := c.Check(l.ImportPath, p.fset, files, nil) // errs has its error
	return pkg, errors.Join(errs...)
}

// files returns the paths of a package's files from the module's root.
func (p *program) files(l *listed) []string {
	dir := strings.TrimPrefix(strings.TrimPrefix(l.ImportPath, modulePath), "/")
	files := make([]string, len(l.GoFiles))
	for i, name := range l.GoFiles {
		files[i] = path.Join(dir, name)
	}
	return files
}

// countIn counts the changed files of a package.
func (p *program) countIn(l *listed, changed map[string][]byte) (n int) {
	for _, file := range p.files(l) {
		if changed[file] != nil {
			n++
		}
	}
	return n
}

// parse parses a file with this text, or the tree's file if text is nil.
func (p *program) parse(file string, text []byte) (*ast.File, error) {
	if text != nil {
		return parser.ParseFile(p.fset, file, text, parser.SkipObjectResolution)
	}
	f := p.parsed[file]
	if f == nil {
		text, err := os.ReadFile(filepath.Join(p.root, filepath.FromSlash(file)))
		if err != nil {
			return nil, err
		}
		if f, err = p.parse(file, text); err != nil {
			return nil, err
		}
		p.parsed[file] = f
	}
	return f, nil
}

// exportsChange reports whether the changed files of a package export other things
// than before.
func (p *program) exportsChange(l *listed, changed map[string][]byte) bool {
	for _, file := range p.files(l) {
		if text := changed[file]; text != nil {
			old, err := os.ReadFile(filepath.Join(p.root, filepath.FromSlash(file)))
			if err != nil || !bytes.Equal(exported(old), exported(text)) {
				return true
			}
		}
	}
	return false
}

// exported returns what a file declares for importers.
func exported(text []byte) []byte {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "", text, parser.SkipObjectResolution)
	if err != nil {
		return text
	}
	ast.FileExports(f)
	for _, d := range f.Decls {
		if d, ok := d.(*ast.FuncDecl); ok {
			d.Body = nil
		}
	}
	var b bytes.Buffer
	if err := format.Node(&b, fset, f.Decls); err != nil {
		return text
	}
	return b.Bytes()
}
