//go:build linux

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"

	"github.com/cirrus-id/cirrus/internal/etcdtest"
	"github.com/cirrus-id/cirrus/internal/process"
)

// unread is a pipe that is full and that nobody reads, as a log collector that
// stands still makes it, for as long as the test lasts.
func unread(t *testing.T) *os.File {
	t.Helper()
	var ends [2]int
	if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r := os.NewFile(uintptr(ends[0]), "unread")
	t.Cleanup(func() { r.Close() })
	fill := func(nonblocking bool) {
		if err := syscall.SetNonblock(ends[1], nonblocking); err != nil {
			t.Fatal(err)
		}
	}
	fill(true)
	for {
		if _, err := syscall.Write(ends[1], []byte{'x'}); err == syscall.EAGAIN {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	fill(false)
	w := os.NewFile(uintptr(ends[1]), "unread")
	t.Cleanup(func() { w.Close() })
	return w
}

// startUnread starts a command whose stderr nobody reads, and whose stdout
// nobody reads either unless it has one already.
func startUnread(t *testing.T, cmd *exec.Cmd) *program {
	t.Helper()
	pipe := unread(t)
	if cmd.Stdout == nil {
		cmd.Stdout = pipe
	}
	cmd.Stderr = pipe
	return start(t, cmd)
}

// serveUnread starts a service that nobody listens to, and waits until it
// answers.
func serveUnread(t *testing.T, cmd *exec.Cmd, addr string) *server {
	t.Helper()
	s := &server{addr: addr, program: startUnread(t, cmd)}
	s.awaitListening(t, s.addr)
	return s
}

// A child is killed at the deadline though nobody reads what cirrus says of it.
func TestUnreadRun(t *testing.T) {
	t.Parallel()
	srv := serve(t, initStore(t, "--ttl", "3s", "--quarantine", "10s"))
	cmd := command(t, "run", "--app", "job", "--addr", srv.url(), "--grace", "500ms", "--",
		"sh", "-c", `trap "" TERM; echo ready; while :; do sleep 0.1; done`)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	job := startUnread(t, cmd)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the child said %q, %v", line, err)
	}
	srv.freeze(t)
	if code := job.exit(t, timeout); code != 137 {
		t.Errorf("exit code %d, want 137: the child was killed", code)
	}
	srv.thaw(t)
}

// The same where the reader has gone: the child is asked, and then killed.
func TestReaderGoneRun(t *testing.T) {
	t.Parallel()
	srv := serve(t, initStore(t, "--ttl", "3s", "--quarantine", "10s"))
	cmd := command(t, "run", "--app", "job", "--addr", srv.url(), "--",
		"sh", "-c", `exec 2>/dev/null; trap "echo asked; exit 7" TERM; echo ready; while :; do sleep 0.1; done`)
	reader, stderr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var out process.Log
	cmd.Stdout, cmd.Stderr = &out, stderr
	job := start(t, cmd)
	stderr.Close()
	eventually(t, "the child to be ready", func() bool { return out.String() == "ready\n" })
	reader.Close()
	srv.freeze(t)
	code := job.exit(t, timeout)
	srv.thaw(t)
	if want := "ready\nasked\n"; out.String() != want || code != 7 {
		t.Errorf(
			"the child printed %q, and cirrus ended with %d; want %q, and the child's exit code 7",
			out.String(), code, want)
	}
}

// A service that nobody listens to serves, and ends when it is told to.
func TestUnreadServe(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	srv := serveUnread(t, command(t, "serve", "--data", initStore(t), "--listen", addr,
		"--metrics-listen="), addr)
	acquire(t, srv, 1)
	srv.stop(t)
}

// A service whose log's reader has gone goes on, and counts what is lost.
func TestReaderGoneServe(t *testing.T) {
	t.Parallel()
	addr, metrics := freeAddr(t), freeAddr(t)
	cmd := command(t, "serve", "--data", initStore(t), "--listen", addr,
		"--metrics-listen", metrics)
	reader, stderr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = stderr, stderr
	reader.Close()
	srv := &server{addr: addr, program: start(t, cmd)}
	stderr.Close()
	srv.awaitListening(t, srv.addr)
	acquire(t, srv, 1)
	eventually(t, "lost lines that are counted", func() bool {
		text := get(t, "http://"+metrics+"/metrics")
		return strings.Contains(text, "cirrus_log_lines_dropped_total ") &&
			!strings.Contains(text, "cirrus_log_lines_dropped_total 0\n")
	})
	srv.stop(t)
}

// A store that fails ends the process (S9), whoever reads about it.
func TestUnreadStoreFailure(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	cmd := command(t, "serve", "--data", initStore(t, "--node-ids", "0-99"), "--listen", addr,
		"--metrics-listen=")
	cmd.Args = append([]string{"sh", "-c", "exec prlimit --fsize=300000 -- \"$0\" \"$@\"",
		cmd.Path}, cmd.Args[1:]...)
	cmd.Path = lookPath(t, "sh")
	lookPath(t, "prlimit")
	srv := serveUnread(t, cmd, addr)
	leases, _ := dial(srv.url(), connectProto)
	app := strings.Repeat("x", 250)
	eventually(t, "the end of a process that can't write", func() bool {
		resp, err := leases.Acquire(t.Context(), &cirrusv1.AcquireRequest{AppId: app})
		if err == nil {
			l := resp.Lease
			last := l.FloorMs - 1
			_, _ = leases.Release(t.Context(),
				&cirrusv1.ReleaseRequest{NodeId: l.NodeId, Epoch: l.Epoch, InstanceId: l.InstanceId,
					LastTimestampMs: &last})
		}
		return !srv.Running()
	})
	if code := srv.State().ExitCode(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
}

// A replica that nobody listens to leads when it is its turn, and ends when it
// is told to.
func TestUnreadReplica(t *testing.T) {
	t.Parallel()
	member := etcdtest.Start(t, 1).Endpoints()[0]
	replica := func() (cmd *exec.Cmd, addr, metrics string) {
		addr, metrics = freeAddr(t), freeAddr(t)
		return command(t, "serve", "--store", "etcd", "--etcd-endpoints", member,
				"--etcd-session-ttl", "2s",
				"--advertise", "http://"+addr, "--listen", addr, "--metrics-listen", metrics), addr,
			metrics
	}
	if code, _, stderr := run(t, "init", "--store", "etcd", "--etcd-endpoints", member); code != 0 {
		t.Fatalf("cirrus init: exit code %d:\n%s", code, stderr)
	}
	state := func(metrics string) string {
		resp, err := http.Get("http://" + metrics + "/readyz")
		if err != nil {
			return ""
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body) // what came of it
		return strings.TrimSpace(string(text))
	}
	cmd, addr, metrics := replica()
	first := &server{addr: addr, program: start(t, cmd)}
	first.awaitListening(t, first.addr)
	eventually(t, "a replica that leads", func() bool { return state(metrics) == "leading" })

	cmd, addr, metrics = replica()
	second := serveUnread(t, cmd, addr)
	eventually(t, "a replica that follows",
		func() bool { return state(metrics) == fmt.Sprintf("following http://%s", first.addr) })
	first.stop(t)
	eventually(t, "a replica that leads in turn",
		func() bool { return state(metrics) == "leading" })
	acquire(t, second, 1)
	second.stop(t)
}

// Who mints for nobody gives its lease back when it is interrupted, in whatever
// way: while its reader stands still, and when its reader has gone.
func TestUnreadIDs(t *testing.T) {
	t.Parallel()
	srv := serve(t, initStore(t))
	_, admin := dial(srv.url(), connectProto)
	state := func(app string) cirrusv1.LeaseState {
		rows, err := listing(t.Context(), admin, "default")
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			if row.AppId == app {
				return row.State
			}
		}
		return cirrusv1.LeaseState_LEASE_STATE_UNSPECIFIED
	}
	held := func(app string) bool { return state(app) == cirrusv1.LeaseState_LEASE_STATE_HELD }

	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		app := sig.String()
		cmd := command(t, "ids", "-n", "0", "--addr", srv.url(), "--app", app)
		out, stdout, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close() // nobody reads from it
		cmd.Stdout = stdout
		p := start(t, cmd)
		stdout.Close()
		eventually(t, "more IDs than a pipe can hold", func() bool {
			waiting, err := unix.IoctlGetInt(int(out.Fd()), unix.TIOCINQ)
			return err == nil && waiting > 60_000
		})
		if !held(app) {
			t.Errorf("app %s mints without a lease", app)
		}
		p.signal(t, sig)
		p.exit(t, timeout)
		if held(app) {
			t.Errorf("after %v the lease is still held", sig)
		}
	}

	cmd := command(t, "ids", "-n", "0", "--addr", srv.url(), "--app", "gone")
	out, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = stdout
	p := start(t, cmd)
	stdout.Close()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	out.Close()
	p.exit(t, timeout)
	if held("gone") {
		t.Error("after the end of its reader the lease is still held")
	}
	if text := p.Log(); text != "" {
		t.Errorf("it said %q, want nothing", text)
	}
}
