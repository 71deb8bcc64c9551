//go:build unix

package process

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// timeout is how long a test waits for what should come soon.
const timeout = 30 * time.Second

// parentOf has this test's binary start a program and report its process ID, to
// be killed then.
const parentOf = "PROCESS_TEST_PARENT_OF"

func TestMain(m *testing.M) {
	if program := os.Getenv(parentOf); program != "" {
		p, err := Start(exec.Command("sh", "-c", program))
		if err != nil {
			panic(err)
		}
		println(p.PID()) // on stderr
		select {}
	}
	os.Exit(m.Run())
}

// startShell starts a shell command that ends with the test.
func startShell(t *testing.T, script string) *Process {
	t.Helper()
	p, err := Start(exec.Command("sh", "-c", script))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// awaitLog waits until the process has logged the text.
func awaitLog(t *testing.T, p *Process, text string) {
	t.Helper()
	if err := p.Await(t.Context(), timeout, func() error {
		if !strings.Contains(p.Log(), text) {
			return errors.New("the text is not in the log")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestStop(t *testing.T) {
	p := startShell(t, `trap "exit 7" TERM; echo ready >&2; while :; do sleep 0.01; done`)
	awaitLog(t, p, "ready")
	if !p.Running() || p.State() != nil {
		t.Errorf("Running is %v, State is %v; want a process that is running", p.Running(),
			p.State())
	}
	if err := p.Stop(timeout); err != nil {
		t.Fatal(err)
	}
	if p.Running() || p.State().ExitCode() != 7 {
		t.Errorf("Running is %v, State is %v; want a process that ended with exit code 7",
			p.Running(), p.State())
	}
}

func TestStopKills(t *testing.T) {
	p := startShell(t, `trap "" TERM; echo ready >&2; while :; do sleep 0.01; done`)
	awaitLog(t, p, "ready")
	if err := p.Stop(10 * time.Millisecond); err == nil ||
		!strings.Contains(err.Error(), "has not ended within 10ms") {
		t.Errorf("Stop of a process that ignores SIGTERM returned %v; want that it has not ended",
			err)
	}
	if p.Running() {
		t.Error("a process that ignores SIGTERM is still running after Stop")
	}
}

func TestAwait(t *testing.T) {
	never := errors.New("not ready, ever")
	p := startShell(t, "exec sleep 1000")
	if err := p.Await(t.Context(), 10*time.Millisecond,
		func() error { return never }); !errors.Is(err, never) {
		t.Errorf("Await of a process that is never ready returned %v; want the probe's error", err)
	}
	p = startShell(t, "echo broken >&2; exit 3")
	err := p.Await(t.Context(), timeout, func() error { return never })
	if err == nil || !strings.Contains(err.Error(), "exit status 3") ||
		!strings.Contains(err.Error(), "broken") {
		t.Errorf("Await of a process that ends returned %v; want its exit status and its log", err)
	}
}

func TestNotStarted(t *testing.T) {
	var p *Process
	p.Kill()
	if p.Running() {
		t.Error("a process that was not started is running")
	}
	if _, err := Start(exec.Command("/nonexistent")); err == nil {
		t.Error("Start of a program that does not exist returned no error")
	}
}

func TestLogIsBounded(t *testing.T) {
	var l Log
	line := []byte(strings.Repeat("x", 1<<20))
	for range 10 {
		_, _ = l.Write(line) // never fails
	}
	_, _ = l.Write([]byte("the last line"))
	if n := len(l.String()); n > maxLog {
		t.Errorf("the log has %d bytes, want at most %d", n, maxLog)
	}
	if !strings.HasSuffix(l.String(), "the last line") ||
		!strings.HasPrefix(l.String(), "[older lines dropped]\n") {
		t.Error(
			"the log does not begin with a remark on what was dropped, or does not end with the last line")
	}
}

func TestFreeze(t *testing.T) {
	p := startShell(t, "while :; do echo running >&2; done")
	awaitLog(t, p, "running")
	if err := p.Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := p.Thaw(); err != nil {
		t.Fatal(err)
	}
	seen := len(p.Log())
	if err := p.Await(t.Context(), timeout, func() error {
		if len(p.Log()) == seen {
			return errors.New("nothing more was logged")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// A child dies with its parent even if the parent is killed.
func TestKilledParent(t *testing.T) {
	if !diesWithParent {
		t.Skip("this system cannot kill a child with its parent")
	}
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), parentOf+"=exec sleep 1000")
	out, err := parent.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(child, 0); err != nil {
		t.Fatalf("the child is not running before its parent is killed: %v", err)
	}
	_ = parent.Process.Kill() // Wait reports how it ended
	_ = parent.Wait()
	for deadline := time.Now().Add(timeout); alive(child); time.Sleep(pollEvery) {
		if time.Now().After(deadline) {
			_ = syscall.Kill(child, syscall.SIGKILL)
			t.Fatalf("the child is still running %v after its parent was killed", timeout)
		}
	}
}

// alive reports whether a process is running. One that has ended stays in the
// process table until its parent collects it, as a zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}
