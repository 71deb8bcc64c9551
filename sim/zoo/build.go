package zoo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// workshop builds what the zoo runs, in a folder of its own.
type workshop struct {
	root, dir string

	mu    sync.Mutex
	plain map[string]*built // what has no bug in it, by package
}

// built is a program that is built once.
type built struct {
	once sync.Once
	path string
	err  error
}

func newWorkshop(dir string) (*workshop, error) {
	root, err := Root(dir)
	if err != nil {
		return nil, err
	}
	if _, err := exec.LookPath("go"); err != nil {
		return nil, fmt.Errorf("the zoo plants bugs and builds them, which takes the go command: %w", err)
	}
	tmp, err := os.MkdirTemp("", "cirrus-zoo-")
	return &workshop{root: root, dir: tmp, plain: map[string]*built{}}, err
}

func (s *workshop) close() error { return os.RemoveAll(s.dir) }

// build builds the program that finds the bug, with the bug in it.
func (s *workshop) build(ctx context.Context, b Bug) (string, error) {
	dir := filepath.Join(s.dir, b.Name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	overlay, err := plant(s.root, dir, b)
	if err != nil {
		return "", err
	}
	return s.compile(ctx, filepath.Join(dir, "found"), b.Found, "-overlay", overlay)
}

// without builds the same program without the bug, once for all bugs.
func (s *workshop) without(ctx context.Context, f Finder) (string, error) {
	s.mu.Lock()
	p := s.plain[f.Package]
	if p == nil {
		p = &built{path: filepath.Join(s.dir, fmt.Sprintf("plain-%d", len(s.plain)))}
		s.plain[f.Package] = p
	}
	s.mu.Unlock()
	p.once.Do(func() { _, p.err = s.compile(ctx, p.path, f) })
	return p.path, p.err
}

// compile runs the go command. Nobody debugs what it builds here.
func (s *workshop) compile(ctx context.Context, to string, f Finder, flags ...string) (string, error) {
	args := []string{"build"}
	pkg := "./sim/zoo/driver"
	if !f.bySimulator() {
		args, pkg = []string{"test", "-c"}, "./"+f.Package
	}
	args = append(append(args, flags...), "-ldflags=-s -w", "-o", to, pkg)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = s.root
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("it does not compile: %w\n%s", err, out)
	}
	return to, nil
}

// run runs a program for at most limit, and says what it printed and how much
// time of a core it took. An exit code is no error.
func (s *workshop) run(ctx context.Context, limit time.Duration, dir, program string, args ...string) (out string, code int, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = filepath.Join(s.root, filepath.FromSlash(dir))
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GOTRACEBACK=single")
	var buf bytes.Buffer
	cmd.Stdout, cmd.Stderr = &buf, &buf
	err = cmd.Run()
	if p := cmd.ProcessState; p != nil {
		took = p.UserTime() + p.SystemTime()
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return buf.String(), exit.ExitCode(), took, nil
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("it was not done after %v: %w", limit, ctx.Err())
	}
	return buf.String(), 0, took, err
}

// firstLine is what a message begins with.
func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
