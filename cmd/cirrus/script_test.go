//go:build unix

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cirrus-id/cirrus/internal/etcdtest"
)

// Conditions are checked every pollEvery until they hold. A script fails if one does
// not hold within pollFor.
const (
	pollEvery = 10 * time.Millisecond
	pollFor   = 60 * time.Second
)

// TestMain makes this test binary run as cirrus in scripts. Each command is a process
// of its own.
func TestMain(m *testing.M) {
	testscript.Main(suite{m}, map[string]func(){"cirrus": main})
}

// suite runs the tests with SIGHUP as it is in a terminal. A process that nohup
// starts ignores the signal, and so do its children, and cirrus does not pass on
// what it ignores.
type suite struct{ *testing.M }

// Run implements testscript.TestingM.
func (s suite) Run() int {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	return s.M.Run()
}

func TestScript(t *testing.T) {
	server := sync.OnceValue(func() *etcdtest.Cluster { return etcdtest.Start(t, 1) })
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			ps := &processes{byName: map[string]*process{}}
			env.Values[processesKey{}] = ps
			env.Values[etcdKey{}] = server
			env.Defer(ps.killAll)
			// With the race detector each process would sleep for a second at its end.
			env.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"etcd":    useEtcd,
			"exits":   exits,
			"capture": capture,
			"start":   startProcess,
			"serve":   serveProcess,
			"signal":  signalProcess,
			"join":    joinProcess,
			"await":   await,
			"until":   until,
			"state":   state,
			"silent":  silent,
		},
	})
}

type etcdKey struct{}

// useEtcd is "etcd": it sets ETCD to the endpoint of an etcd server that all scripts
// share.
func useEtcd(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 0, "etcd")
	ts.Setenv("ETCD", ts.Value(etcdKey{}).(func() *etcdtest.Cluster)().Endpoints()[0])
}

type processesKey struct{}

// processes are the processes that a script has started. Their output goes to
// NAME.out and NAME.err in the script's directory.
type processes struct{ byName map[string]*process }

type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

func (ps *processes) killAll() {
	for _, p := range ps.byName {
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

func find(ts *testscript.TestScript, name string) *process {
	p := ts.Value(processesKey{}).(*processes).byName[name]
	if p == nil {
		ts.Fatalf("no process %q was started", name)
	}
	return p
}

func usage(ts *testscript.TestScript, neg, ok bool, text string) {
	if neg || !ok {
		ts.Fatalf("usage: %s", text)
	}
}

// command returns a program to run in the script's directory and environment.
func command(ts *testscript.TestScript, args []string) *exec.Cmd {
	ts.Check(ts.Exec("env", "-0")) // the only way to learn all variables
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = strings.Split(strings.TrimSuffix(ts.ReadFile("stdout"), "\x00"), "\x00")
	return cmd
}

// exits CODE PROG ARG… runs a program that must end with the exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 2, "exits CODE PROG [ARG]...")
	got := "0"
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exitStatus(exit.ProcessState)
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// exitStatus returns a process's exit code as shells show it.
func exitStatus(s *os.ProcessState) string {
	if w := s.Sys().(syscall.WaitStatus); w.Signaled() {
		return strconv.Itoa(128 + int(w.Signal()))
	}
	return strconv.Itoa(s.ExitCode())
}

// capture FILE REGEXP VAR… sets variables to what the groups match; FILE can be
// stdout or stderr.
func capture(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 3, "capture FILE REGEXP VAR...")
	text := ts.ReadFile(args[0])
	if !captured(ts, text, args[1], args[2:]) {
		ts.Fatalf("no match for %#q in\n%s", args[1], text)
	}
}

func captured(ts *testscript.TestScript, text, pattern string, vars []string) bool {
	re, err := regexp.Compile("(?m)" + pattern)
	ts.Check(err)
	if re.NumSubexp() < len(vars) {
		ts.Fatalf("%#q has %d groups for %d variables", pattern, re.NumSubexp(), len(vars))
	}
	match := re.FindStringSubmatch(text)
	if match == nil {
		return false
	}
	for i, name := range vars {
		ts.Setenv(name, match[i+1])
	}
	return true
}

// start NAME PROG ARG… starts a process beside the script.
func startProcess(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 2, "start NAME PROG [ARG]...")
	ps := ts.Value(processesKey{}).(*processes)
	if old := ps.byName[args[0]]; old != nil {
		select {
		case <-old.done:
		default:
			ts.Fatalf("process %q still runs", args[0])
		}
	}
	cmd := command(ts, args[1:])
	stdout, err := os.Create(ts.MkAbs(args[0] + ".out"))
	ts.Check(err)
	defer stdout.Close()
	stderr, err := os.Create(ts.MkAbs(args[0] + ".err"))
	ts.Check(err)
	defer stderr.Close()
	cmd.Stdout, cmd.Stderr = stdout, stderr
	ts.Check(cmd.Start())
	p := &process{cmd, make(chan struct{})}
	go func() {
		_ = cmd.Wait() // join looks at how it ended
		close(p.done)
	}()
	ps.byName[args[0]] = p
}

// serve NAME ARG… starts cirrus serve on free ports, waits until it listens, and
// sets CIRRUS_ADDR.
func serveProcess(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 1, "serve NAME [ARG]...")
	startProcess(ts, false, append([]string{args[0],
		"cirrus", "serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"},
		args[1:]...))
	p := find(ts, args[0])
	poll(ts, "the service to listen", func() bool {
		select {
		case <-p.done:
			ts.Fatalf("the service ended: %s%s", ts.ReadFile(args[0]+".out"),
				ts.ReadFile(args[0]+".err"))
		default:
		}
		return captured(ts, ts.ReadFile(args[0]+".out"), `^cirrus serves (http://\S+)`,
			[]string{"CIRRUS_ADDR"})
	})
}

// silent VAR… sets each variable to an address that takes connections and never
// answers.
func silent(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 1, "silent VAR...")
	for _, name := range args {
		l, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts; the kernel does
		ts.Check(err)
		ts.Defer(func() { l.Close() })
		ts.Setenv(name, l.Addr().String())
	}
}

// poll waits until a condition holds, for pollFor at most.
func poll(ts *testscript.TestScript, what string, holds func() bool) {
	deadline := time.Now().Add(pollFor)
	for !holds() {
		if time.Now().After(deadline) {
			ts.Fatalf("waited for %s, which did not happen within %v", what, pollFor)
		}
		time.Sleep(pollEvery)
	}
}

var signals = map[string]syscall.Signal{
	"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT, "TERM": syscall.SIGTERM,
	"KILL": syscall.SIGKILL, "STOP": syscall.SIGSTOP, "TSTP": syscall.SIGTSTP,
	"CONT": syscall.SIGCONT,
	"USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2,
}

// signal NAME SIG signals a process that was started.
func signalProcess(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2 && signals[args[1]] != 0,
		"signal NAME HUP|INT|QUIT|TERM|KILL|STOP|TSTP|CONT|USR1|USR2")
	ts.Check(find(ts, args[0]).cmd.Process.Signal(signals[args[1]]))
}

// join NAME CODE waits for a process, which must end with the exit code, 128 and
// the signal's number if one ended it.
func joinProcess(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) == 2, "join NAME CODE")
	p := find(ts, args[0])
	select {
	case <-p.done:
	case <-time.After(pollFor):
		ts.Fatalf("%s didn't end in %v", args[0], pollFor)
	}
	if got := exitStatus(p.cmd.ProcessState); got != args[1] {
		ts.Fatalf("exit code %s, want %s\n%s%s", got, args[1], ts.ReadFile(args[0]+".out"),
			ts.ReadFile(args[0]+".err"))
	}
}

// await FILE REGEXP VAR… waits until a file has a match, and sets variables to
// what the groups match.
func await(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 2, "await FILE REGEXP [VAR]...")
	poll(ts, fmt.Sprintf("%#q in %s", args[1], args[0]), func() bool {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && captured(ts, string(text), args[1], args[2:])
	})
}

// until REGEXP PROG ARG… runs a program again and again until its stdout
// matches.
func until(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 2, "until REGEXP PROG [ARG]...")
	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	once := command(ts, args[1:])
	poll(ts, fmt.Sprintf("%#q from %v", args[0], args[1:]), func() bool {
		cmd := *once
		out, _ := cmd.Output()
		return re.Match(out)
	})
}

// state PID STATE… waits until a process is in one of the states: a letter as in
// /proc, or gone. A zombie is gone: nobody may be there to reap it.
func state(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, neg, len(args) >= 2, "state PID STATE...")
	poll(ts, fmt.Sprintf("process %s to be %v", args[0], args[1:]), func() bool {
		now := "gone"
		stat, err := os.ReadFile(filepath.Join("/proc", args[0], "stat"))
		if _, rest, found := bytes.Cut(stat, []byte(") ")); err == nil && found && rest[0] != 'Z' {
			now = string(rest[:1])
		}
		return strings.Contains(strings.Join(args[1:], " "), now)
	})
}
