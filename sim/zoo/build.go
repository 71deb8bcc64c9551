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

// workspace is a temporary folder in which the zoo builds and runs programs.
type workspace struct {
	// root is the source tree, and dir the folder.
	root, dir string

	mu    sync.Mutex
	plain map[string]*built // programs without a bug, by package
}

// built is a program that is built once.
type built struct {
	once sync.Once
	path string
	err  error
}

// newWorkspace makes a folder for the source tree that dir is in.
func newWorkspace(dir string) (*workspace, error) {
	root, err := Root(dir)
	if err != nil {
		return nil, err
	}
	if _, err := exec.LookPath("go"); err != nil {
		return nil, fmt.Errorf("the zoo builds Cirrus with each bug and needs the go command: %w",
			err)
	}
	tmp, err := os.MkdirTemp("", "cirrus-zoo-")
	return &workspace{root: root, dir: tmp, plain: map[string]*built{}}, err
}

// close removes the folder.
func (ws *workspace) close() error { return os.RemoveAll(ws.dir) }

// build builds the program that must find the bug, with the bug in it, and returns
// its path.
func (ws *workspace) build(ctx context.Context, b Bug) (string, error) {
	dir := filepath.Join(ws.dir, b.Name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	overlay, err := plant(ws.root, dir, b)
	if err != nil {
		return "", err
	}
	return ws.compile(ctx, filepath.Join(dir, "found"), b.Found, "-overlay", overlay)
}

// without builds the same program without a bug, once for all bugs, and returns its
// path.
func (ws *workspace) without(ctx context.Context, f Finder) (string, error) {
	ws.mu.Lock()
	p := ws.plain[f.Package]
	if p == nil {
		p = &built{path: filepath.Join(ws.dir, fmt.Sprintf("plain-%d", len(ws.plain)))}
		ws.plain[f.Package] = p
	}
	ws.mu.Unlock()
	p.once.Do(func() { _, p.err = ws.compile(ctx, p.path, f) })
	return p.path, p.err
}

// compile runs the go command. It leaves out what only debuggers need.
func (ws *workspace) compile(
	ctx context.Context, to string, f Finder, flags ...string,
) (string, error) {
	args := []string{"build"}
	pkg := "./sim/zoo/driver"
	if !f.bySimulator() {
		args, pkg = []string{"test", "-c"}, "./"+f.Package
	}
	args = append(append(args, flags...), "-ldflags=-s -w", "-o", to, pkg)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = ws.root
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("the product does not compile with it: %w\n%s", err, out)
	}
	return to, nil
}

// run runs a program in a folder of the source tree for at most limit. It returns
// the program's output, its exit code, which is no error, and how much time of one
// core it took.
func (ws *workspace) run(
	ctx context.Context, limit time.Duration, dir, program string, args ...string,
) (out string, code int, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = filepath.Join(ws.root, filepath.FromSlash(dir))
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
		err = fmt.Errorf("it had not ended after %v: %w", limit, ctx.Err())
	}
	return buf.String(), 0, took, err
}

// firstLine returns the first line of a message.
func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
