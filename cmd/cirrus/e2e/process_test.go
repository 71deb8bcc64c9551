//go:build linux

package e2e

import (
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

	"github.com/cirrus-id/cirrus/internal/process"
)

// moduleRoot is relative to this folder, where tests run.
const moduleRoot = "../../.."

// timeout is how long a test waits for what should come soon. It decides when to
// give up, never whether something is right.
const timeout = 30 * time.Second

// pollEvery is how often a condition is checked.
const pollEvery = 5 * time.Millisecond

var built struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	flag.Parse()
	// A program that nohup starts ignores SIGHUP, and so do its children. Children
	// of a program that handles SIGHUP do not.
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

// binary returns the path of a cirrus that is built from this module, once for
// all tests, with the race detector if the tests have it. An offclock is beside it.
func binary(t testing.TB) string {
	t.Helper()
	built.once.Do(func() { built.dir, built.err = build() })
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "cirrus")
}

func build() (string, error) {
	if err := statSources(); err != nil {
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

// raceDetector reports whether these tests were built with -race.
func raceDetector() bool {
	info, _ := debug.ReadBuildInfo()
	for _, s := range info.Settings {
		if s.Key == "-race" && s.Value == "true" {
			return true
		}
	}
	return false
}

// statSources reads the state of every source file. `go test` records which files
// a test has looked at, and uses a cached result only while they are unchanged;
// it does not see that build compiles them.
func statSources() error {
	return filepath.WalkDir(moduleRoot, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != moduleRoot && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case filepath.Ext(path) == ".go" && !strings.HasSuffix(path, "_test.go"),
			filepath.Base(path) == "go.mod":
			_, err = os.Stat(path)
		}
		return err
	})
}

// program is a program that the test started.
type program struct{ *process.Process }

// command prepares a cirrus that gets nothing of the test's environment.
func command(t testing.TB, args ...string) *exec.Cmd {
	cmd := exec.Command(binary(t), args...)
	// Without the setting, the race detector takes a second to exit.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(),
		"GORACE=atexit_sleep_ms=0"}
	return cmd
}

// start starts a command, and kills it when the test ends. The test shows what
// the program logged if it fails, and fails if the log has what no log may have.
func start(t testing.TB, cmd *exec.Cmd) *program {
	t.Helper()
	started, err := process.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	p := &program{started}
	t.Cleanup(func() {
		p.Kill()
		p.checkLog(t)
		if t.Failed() {
			t.Logf("%s (%v) logged:\n%s", strings.Join(p.Args()[1:], " "), p.State(), p.Log())
		}
	})
	return p
}

// checkLog fails the test if the program has logged what no program may log.
func (p *program) checkLog(t testing.TB) {
	t.Helper()
	for _, bad := range []string{"DATA RACE", "panic:", "panicked", "fatal error:", "(S12)"} {
		if strings.Contains(p.Log(), bad) {
			t.Errorf("%q on stderr:\n%s", bad, p.Log())
			return
		}
	}
}

// exit waits for the program to end within d, and returns its exit code: -1 if a
// signal killed it.
func (p *program) exit(t testing.TB, d time.Duration) int {
	t.Helper()
	if err := p.Wait(d); err != nil {
		t.Fatal(err)
	}
	return p.State().ExitCode()
}

func (p *program) signal(t testing.TB, sig os.Signal) {
	t.Helper()
	if err := p.Signal(sig); err != nil {
		t.Fatalf("sending %v to %v: %v; its log:\n%s", sig, p.Args()[1:], err, p.Log())
	}
}

// terminate sends SIGTERM, and fails the test unless the program ends with exit
// code 0.
func (p *program) terminate(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t, timeout); code != 0 {
		t.Fatalf("exit code %d after SIGTERM, want 0; the log:\n%s", code, p.Log())
	}
}

// kill ends the program with SIGKILL, and fails the test if it has ended already.
func (p *program) kill(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGKILL)
	p.exit(t, timeout)
}

// freeze stops the program, and returns when every thread has stopped.
func (p *program) freeze(t testing.TB) {
	t.Helper()
	if err := p.Freeze(); err != nil {
		t.Fatalf("freezing %v: %v; its log:\n%s", p.Args()[1:], err, p.Log())
	}
}

// thaw lets a frozen program continue.
func (p *program) thaw(t testing.TB) {
	t.Helper()
	if err := p.Thaw(); err != nil {
		t.Fatalf("thawing %v: %v; its log:\n%s", p.Args()[1:], err, p.Log())
	}
}

// run runs a cirrus to its end.
func run(t testing.TB, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return finish(t, command(t, args...))
}

// finish runs a command to its end.
func finish(t testing.TB, cmd *exec.Cmd) (code int, stdout, stderr string) {
	t.Helper()
	var out process.Log
	cmd.Stdout = &out
	p := start(t, cmd)
	code = p.exit(t, timeout)
	return code, out.String(), p.Log()
}

// initStore creates a store, and returns its directory.
func initStore(t testing.TB, settings ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	initStoreIn(t, dir, settings...)
	return dir
}

func initStoreIn(t testing.TB, dir string, settings ...string) {
	t.Helper()
	if code, _, stderr := run(t,
		append([]string{"init", "--data", dir}, settings...)...); code != 0 {
		t.Fatalf("cirrus init: exit code %d:\n%s", code, stderr)
	}
}

// server is a `cirrus serve` that can be started again in the same place.
type server struct {
	*program
	dir, addr string
	flags     []string
}

// serve starts a server for the store in dir, and waits until it answers.
func serve(t testing.TB, dir string, flags ...string) *server {
	t.Helper()
	s := &server{dir: dir, addr: freeAddr(t), flags: flags}
	s.restart(t)
	return s
}

func (s *server) args() []string {
	return append([]string{"serve", "--data", s.dir, "--listen", s.addr, "--metrics-listen="},
		s.flags...)
}

// restart starts the server again, and waits until it answers.
func (s *server) restart(t testing.TB) {
	t.Helper()
	s.program = start(t, command(t, s.args()...))
	s.awaitListening(t, s.addr)
}

func (s *server) url() string { return "http://" + s.addr }

// awaitListening waits until the program listens at an address.
func (p *program) awaitListening(t testing.TB, addr string) {
	t.Helper()
	if err := p.Await(t.Context(), timeout, func() error { return listens(addr) }); err != nil {
		t.Fatal(err)
	}
}

// listens returns nil if a program listens at the address.
func listens(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	return conn.Close()
}

// freeAddr returns an address at which no program listens, and that no other
// program will use.
func freeAddr(t testing.TB) string {
	t.Helper()
	host := process.OwnHost()
	port, err := process.FreePort(host)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// eventually waits until the condition holds, and fails the test if that takes
// longer than the timeout. want says what the condition is.
func eventually(t testing.TB, want string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(timeout); !cond(); time.Sleep(pollEvery) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain for %s", timeout, want)
		}
	}
}
