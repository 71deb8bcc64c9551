//go:build linux

package e2e

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

// rootly is a program that runs a command as root for whoever calls it, as sudo
// does for those who may. It needs root to be made.
func rootly(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to make a program that runs others as root")
	}
	from, err := os.Open(lookPath(t, "setpriv"))
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	dir, err := os.MkdirTemp("", "cirrus-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "rootly")
	to, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	to.Close()
	for path, mode := range map[string]os.FileMode{dir: 0o755, path: 0o755 | os.ModeSetuid} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// A child that cirrus may not kill is not taken for dead: that is said, and its
// lease is not given back while something of it may live on.
func TestChildOfAnotherUser(t *testing.T) {
	t.Parallel()
	root := rootly(t)
	srv := serve(t, initStore(t, "--ttl", "2s", "--quarantine", "10s"))
	cmd := command(t, "run", "--app", "rootly", "--addr", srv.url(), "--grace", "0s", "--",
		root, "--reuid", "0", "--clear-groups", "sh", "-c",
		`trap "" TERM; echo $$; while :; do sleep 0.1; done`)
	cmd.Dir = "/"
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody,
		Gid: nobody}}
	job := start(t, cmd)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Skipf("no program may run as another user here: %v; it said: %s", err, job.Log())
	}
	child, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-child, syscall.SIGKILL) })

	srv.freeze(t)
	eventually(t, "a word of the child that can't be killed", func() bool {
		return strings.Contains(job.Log(), "the child can't be killed")
	})
	if err := syscall.Kill(child, 0); err != nil || !job.Running() {
		t.Errorf("the child is gone (%v), or cirrus is (%v)", err, !job.Running())
	}
	srv.thaw(t)
	if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if code := job.exit(t, timeout); code != 137 {
		t.Errorf("exit code %d, want 137", code)
	}
}

// What outlives the child and can't be killed keeps the node ID from others: the
// lease is not given back.
func TestSurvivorOfAnotherUser(t *testing.T) {
	t.Parallel()
	root := rootly(t)
	srv := serve(t, initStore(t, "--ttl", "1m"))
	cmd := command(t, "run", "--app", "survivor", "--addr", srv.url(), "--",
		"sh", "-c", `"$0" --reuid 0 --clear-groups sh -c 'echo $$; exec sleep 1000' 2>/dev/null & read go; exit 3`, root)
	cmd.Dir = "/"
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody,
		Gid: nobody}}
	job := start(t, cmd)
	line, _ := bufio.NewReader(out).ReadString('\n')
	survivor, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Skipf("no program may run as another user here: %v; it said: %s", err, job.Log())
	}
	t.Cleanup(func() { _ = syscall.Kill(survivor, syscall.SIGKILL) })
	in.Close() // the child ends
	if code := job.exit(t, timeout); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	if text := job.Log(); !strings.Contains(text, "lives on and may not be killed") {
		t.Errorf("it said %q, want that a process lives on", text)
	}
	_, admin := dial(srv.url(), connectProto)
	rows, err := listing(t.Context(), admin, "default")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if row.AppId == "survivor" && row.State != cirrusv1.LeaseState_LEASE_STATE_HELD {
			t.Errorf("the lease is %v, want it held until it runs out", row.State)
		}
	}
}
