package interleave

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// module is the path of the module that both packages belong to.
const module = "github.com/cirrus-id/cirrus"

const turns = module + "/sim/explore/interleave/turns"

// Edit replaces Old by New in a file of package snowflake. Old must be in it
// exactly once.
type Edit struct{ File, Old, New string }

// imports returns the edits that make a file import package turns in place of sync
// and sync/atomic.
func imports(file string) []Edit {
	return []Edit{
		{file, "\t\"sync\"\n", "\tsync " + strconv.Quote(turns) + "\n"},
		{file, "\t\"sync/atomic\"\n", "\tatomic " + strconv.Quote(turns) + "\n"},
	}
}

// atomics returns the files of package snowflake that have atomic steps.
func atomics() []string { return []string{"generator.go", "session.go"} }

// Run builds the minters from the module at root, with these edits applied to the
// generator, runs them, and copies their output to out. The error is a *Broken if
// the generator breaks a promise in some order. Any other error says why the search
// did not run.
func Run(ctx context.Context, root string, out io.Writer, edits ...Edit) error {
	tmp, err := os.MkdirTemp("", "interleave-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // a folder of temporary files
	overlay, err := write(root, tmp, edits)
	if err != nil {
		return err
	}
	program := filepath.Join(tmp, "minters")
	build := exec.CommandContext(ctx, "go", "build",
		"-overlay", overlay, "-o", program, "./sim/explore/interleave/minters")
	build.Dir = root
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the minters: %w\n%s", err, output)
	}
	var output strings.Builder
	minters := exec.CommandContext(ctx, program)
	minters.Stdout = io.MultiWriter(out, &output)
	minters.Stderr = minters.Stdout
	err = minters.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		return &Broken{output.String()}
	}
	if err != nil {
		return fmt.Errorf("running the minters: %w\n%s", err, output.String())
	}
	return nil
}

// Broken says which promise the generator breaks in some order.
type Broken struct{ output string }

// Error returns the output of the minters.
func (b *Broken) Error() string { return b.output }

// write writes an overlay for the go command into tmp and returns its path.
func write(root, tmp string, edits []Edit) (string, error) {
	if err := complete(filepath.Join(root, "snowflake")); err != nil {
		return "", err
	}
	texts := map[string]string{}
	for _, file := range atomics() {
		edits = append(edits, imports(file)...)
	}
	for _, e := range edits {
		text, ok := texts[e.File]
		if !ok {
			b, err := os.ReadFile(filepath.Join(root, "snowflake", e.File))
			if err != nil {
				return "", err
			}
			text = string(b)
		}
		if n := strings.Count(text, e.Old); n != 1 {
			return "",
				fmt.Errorf("snowflake/%s has %q %d times, want once: bring the edit up to date",
					e.File, e.Old, n)
		}
		texts[e.File] = strings.Replace(text, e.Old, e.New, 1)
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for file, text := range texts {
		edited := filepath.Join(tmp, file)
		if err := os.WriteFile(edited, []byte(text), 0o600); err != nil {
			return "", err
		}
		overlay.Replace[filepath.Join(root, "snowflake", file)] = edited
	}
	b, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	file := filepath.Join(tmp, "overlay.json")
	return file, os.WriteFile(file, b, 0o600)
}

// complete returns an error if a file other than atomics has atomic steps: the
// search would not see them.
func complete(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return err
	}
	for _, path := range files {
		name := filepath.Base(path)
		if strings.HasSuffix(name, "_test.go") || name == atomics()[0] || name == atomics()[1] {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			if p, _ := strconv.Unquote(spec.Path.Value); p == "sync" || p == "sync/atomic" {
				return fmt.Errorf(
					"snowflake/%s imports %s, and the search would not see its steps: add it to %v",
					name, p, atomics())
			}
		}
	}
	return nil
}
