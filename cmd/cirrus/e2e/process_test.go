//go:build linux

package e2e

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/internal/etcdtest"
)

// moduleRoot is seen from this folder, where tests run.
const moduleRoot = "../../.."

// patience is how long a test waits for what should come soon. It decides when
// to give up, never whether something is right.
const patience = 30 * time.Second

// look is how often a condition is looked at.
const look = 5 * time.Millisecond

var built struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	flag.Parse()
	// Who is started by nohup, or the like, ignores SIGHUP, and so does all that
	// he starts.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	code := m.Run()
	if built.dir != "" {
		if err := os.RemoveAll(built.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// binary is the path of a cirrus built from this module, once for all tests,
// with the race detector if the tests have it. An offclock lies beside it.
func binary(t testing.TB) string {
	t.Helper()
	built.once.Do(func() { built.dir, built.err = build() })
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "cirrus")
}

func build() (string, error) {
	if err := seeSources(); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "cirrus-e2e-")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // one test runs it as another user
		return dir, err
	}
	args := []string{"build", "-o", dir}
	if raceDetector() {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./cmd/cirrus", "./cmd/cirrus/e2e/offclock")...)
	cmd.Dir = moduleRoot
	if out, err := cmd.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
	}
	return dir, nil
}

// raceDetector says whether these tests were built with -race.
func raceDetector() bool {
	info, _ := debug.ReadBuildInfo()
	for _, s := range info.Settings {
		if s.Key == "-race" && s.Value == "true" {
			return true
		}
	}
	return false
}

// seeSources looks at every source file, so that `go test` knows what a cached
// result depends on: it can't see what is built here.
func seeSources() error {
	return filepath.WalkDir(moduleRoot, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != moduleRoot && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case filepath.Ext(path) == ".go" && !strings.HasSuffix(path, "_test.go"), filepath.Base(path) == "go.mod":
			_, err = os.Stat(path)
		}
		return err
	})
}

// process is a cirrus at work.
type process struct {
	*exec.Cmd
	stderr *buffer
	gone   chan struct{} // closed when it has ended
}

// buffer collects what a process writes, for many to read.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// command prepares a cirrus that knows nothing of the test's environment.
func command(t testing.TB, args ...string) *exec.Cmd {
	cmd := exec.Command(binary(t), args...)
	// Without the setting, the race detector takes a second to exit.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "GORACE=atexit_sleep_ms=0"}
	return cmd
}

// start starts a command that lives no longer than the test, even if that is
// killed. What it says on
// stderr is shown if the test fails.
func start(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{Cmd: cmd, stderr: &buffer{}, gone: make(chan struct{})}
	cmd.Stderr = p.stderr
	if err := etcdtest.StartForLife(cmd); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait() // ProcessState says the same
		close(p.gone)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may be gone already
		<-p.gone
		p.look(t)
		if t.Failed() {
			t.Logf("%s (%v) said:\n%s", strings.Join(cmd.Args[1:], " "), cmd.ProcessState, p.stderr)
		}
	})
	return p
}

// look fails the test if the process has said what no process may say.
func (p *process) look(t testing.TB) {
	t.Helper()
	for _, bad := range []string{"DATA RACE", "panic:", "panicked", "fatal error:", "(S12)"} {
		if strings.Contains(p.stderr.String(), bad) {
			t.Errorf("%q on stderr:\n%s", bad, p.stderr)
			return
		}
	}
}

// ended says whether the process has ended.
func (p *process) ended() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

// end waits for the process to end within d, and returns its exit code: -1 if
// a signal killed it.
func (p *process) end(t testing.TB, d time.Duration) int {
	t.Helper()
	select {
	case <-p.gone:
	case <-time.After(d):
		t.Fatalf("%v has not ended within %v; it said:\n%s", p.Args[1:], d, p.stderr)
	}
	return p.ProcessState.ExitCode()
}

func (p *process) signal(t testing.TB, sig os.Signal) {
	t.Helper()
	if err := p.Process.Signal(sig); err != nil {
		t.Fatalf("%v to %v: %v; it said:\n%s", sig, p.Args[1:], err, p.stderr)
	}
}

// terminate asks the process to end, and fails the test unless it does so as
// a process should.
func (p *process) terminate(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	if code := p.end(t, patience); code != 0 {
		t.Fatalf("exit code %d after SIGTERM; it said:\n%s", code, p.stderr)
	}
}

// kill ends the process with SIGKILL and waits until it is gone.
func (p *process) kill(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGKILL)
	p.end(t, patience)
}

// freeze stops the process and returns when none of its threads runs any more.
func (p *process) freeze(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGSTOP)
	if err := etcdtest.AwaitStop(p.Process.Pid); err != nil {
		t.Fatalf("waiting for the process to stop: %v", err)
	}
}

// thaw lets a stopped process go on.
func (p *process) thaw(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGCONT)
}

// run runs a cirrus to its end.
func run(t testing.TB, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return finish(t, command(t, args...))
}

// finish runs a command to its end.
func finish(t testing.TB, cmd *exec.Cmd) (code int, stdout, stderr string) {
	t.Helper()
	var out buffer
	cmd.Stdout = &out
	p := start(t, cmd)
	code = p.end(t, patience)
	return code, out.String(), p.stderr.String()
}

// initStore makes a store that grants at once, and returns its directory.
func initStore(t testing.TB, settings ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	initStoreIn(t, dir, settings...)
	return dir
}

func initStoreIn(t testing.TB, dir string, settings ...string) {
	t.Helper()
	if code, _, stderr := run(t, append([]string{"init", "--data", dir}, settings...)...); code != 0 {
		t.Fatalf("cirrus init: exit code %d:\n%s", code, stderr)
	}
}

// server is a `cirrus serve`, and how to start it again in the same place.
type server struct {
	*process
	dir, addr string
	flags     []string
}

// serve starts a service for the store in dir and waits until it answers.
func serve(t testing.TB, dir string, flags ...string) *server {
	t.Helper()
	s := &server{dir: dir, addr: freeAddr(t), flags: flags}
	s.restart(t)
	return s
}

func (s *server) args() []string {
	return append([]string{"serve", "--data", s.dir, "--listen", s.addr, "--metrics-listen="}, s.flags...)
}

// restart starts the service once more and waits until it answers.
func (s *server) restart(t testing.TB) {
	t.Helper()
	s.process = start(t, command(t, s.args()...))
	s.awaitAnswer(t)
}

func (s *server) awaitAnswer(t testing.TB) {
	t.Helper()
	eventually(t, "an answer of "+s.addr, func() bool {
		if s.ended() {
			t.Fatalf("cirrus serve has ended (%v):\n%s", s.ProcessState, s.stderr)
		}
		return answers(s.addr)
	})
}

func (s *server) url() string { return "http://" + s.addr }

// answers says whether somebody listens.
func answers(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// freeAddr is an address at which nobody listens, and nobody else will.
func freeAddr(t testing.TB) string {
	t.Helper()
	host := etcdtest.OwnHost()
	port, err := etcdtest.FreePort(host)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(look) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain for %v: %s", patience, what)
		}
	}
}
