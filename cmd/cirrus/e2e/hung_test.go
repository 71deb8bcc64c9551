//go:build linux

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

// frozenDisk mounts a file system of its own, and returns where, and what
// freezes and thaws it: while it is frozen every write to it stands still. Where
// that can't be had the test is left out, and says why; TestSlowWrites and its
// neighbours in service look at a store that hangs wherever they run.
func frozenDisk(t *testing.T) (dir string, freeze, thaw func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to mount a file system and freeze it")
	}
	for _, tool := range []string{"mkfs.ext4", "mount", "umount", "fsfreeze"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s, to make a file system that can be frozen", tool)
		}
	}
	image := filepath.Join(t.TempDir(), "disk")
	dir = t.TempDir()
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 64<<20); err != nil {
		t.Fatal(err)
	}
	tool := func(args ...string) error {
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if err != nil {
			t.Logf("%v: %v: %s", args, err, out)
		}
		return err
	}
	if tool("mkfs.ext4", "-q", image) != nil || tool("mount", "-o", "loop", image, dir) != nil {
		t.Skip("needs loop devices, to mount a file system: see the log above for what mount said")
	}
	t.Cleanup(func() { _ = tool("umount", "-l", dir) })
	frozen := false
	thaw = func() {
		if frozen {
			frozen = false
			_ = tool("fsfreeze", "-u", dir)
		}
	}
	t.Cleanup(thaw) // before it is unmounted
	return dir, func() {
		if tool("fsfreeze", "-f", dir) != nil {
			t.Skip(
				"needs a kernel that freezes file systems: see the log above for what fsfreeze said")
		}
		frozen = true
	}, thaw
}

// A disk that stands still: requests are told so, the service is not ready once
// its mark has run out, and SIGTERM ends the process all the same. When the disk
// works again, all goes on, in the same process and in the next (S9).
func TestHungDisk(t *testing.T) {
	dir, freeze, thaw := frozenDisk(t)
	data, addr, metrics := filepath.Join(dir, "store"), freeAddr(t), freeAddr(t)
	if code, _, stderr := run(t, "init", "--data", data, "--stride", "1s"); code != 0 {
		t.Fatalf("cirrus init: exit code %d:\n%s", code, stderr)
	}
	serve := func() *exec.Cmd {
		return command(t, "serve", "--data", data, "--stride", "1s", "--listen", addr,
			"--metrics-listen", metrics)
	}
	readyz := func() string {
		resp, err := http.Get("http://" + metrics + "/readyz")
		if err != nil {
			return ""
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.Status + " " + string(text)
	}
	srv := start(t, serve())
	t.Cleanup(thaw) // before it is waited for
	eventually(t, "the service to be ready",
		func() bool { return strings.HasPrefix(readyz(), "200") })
	leases, _ := dial("http://"+addr, connectProto)
	held, err := leases.Acquire(t.Context(), &cirrusv1.AcquireRequest{AppId: "before"})
	if err != nil {
		t.Fatal(err)
	}
	kept := func() bool {
		_, err := leases.Heartbeat(t.Context(),
			&cirrusv1.HeartbeatRequest{NodeId: held.Lease.NodeId, Epoch: held.Lease.Epoch,
				InstanceId: held.Lease.InstanceId})
		return err == nil
	}
	late := &cirrusv1.AcquireRequest{AppId: "late", InstanceId: "0123456789abcdef"}
	freeze()
	wantSlow(t, "a grant", func() error {
		_, err := leases.Acquire(t.Context(), late)
		return err
	})
	thaw()
	eventually(t, "a grant after the disk works again", func() bool {
		_, err := leases.Acquire(t.Context(), late)
		return err == nil && kept()
	})
	freeze()
	wantSlow(t, "a grant, the disk having stood still before", func() error {
		_, err := leases.Acquire(t.Context(), &cirrusv1.AcquireRequest{AppId: "later"})
		return err
	})
	eventually(t, "the service not to be ready", func() bool {
		said := readyz()
		return strings.HasPrefix(said, "503") && strings.Contains(said, "mark")
	})
	wantGivenUp(t, srv, thaw)
	start(t, serve())
	eventually(t, "a grant, and the leases from before", func() bool {
		_, err := leases.Acquire(t.Context(), &cirrusv1.AcquireRequest{AppId: "app"})
		return err == nil && kept()
	})
}

// A disk that stands still before the store is open, or when nothing is left to
// do but to close it: SIGTERM ends the process then, too (S9).
func TestHungDiskAtStartAndClose(t *testing.T) {
	dir, freeze, thaw := frozenDisk(t)
	data, addr := filepath.Join(dir, "store"), freeAddr(t)
	// The mark lasts for so long that no write of it is under way.
	if code, _, stderr := run(t, "init", "--data", data, "--stride", "1m", "--quarantine",
		"5m"); code != 0 {
		t.Fatalf("cirrus init: exit code %d:\n%s", code, stderr)
	}
	serve := func() *program {
		srv := start(t, command(t, "serve", "--data", data, "--stride", "1m", "--listen", addr,
			"--metrics-listen", ""))
		t.Cleanup(thaw) // before it is waited for
		return srv
	}
	srv := serve()
	leases, _ := dial("http://"+addr, connectProto)
	eventually(t, "a grant", func() bool {
		_, err := leases.Acquire(t.Context(), &cirrusv1.AcquireRequest{AppId: "app"})
		return err == nil
	})
	freeze()
	wantGivenUp(t, srv, thaw)
	freeze()
	srv = serve()
	eventually(t, "the process to wait for the disk", func() bool { return standsStill(srv.PID()) })
	wantGivenUp(t, srv, thaw)
	freeze()
	creating := start(t, command(t, "init", "--data", filepath.Join(dir, "other")))
	t.Cleanup(thaw) // before it is waited for
	eventually(t, "init to wait for the disk", func() bool { return standsStill(creating.PID()) })
	wantGivenUp(t, creating, thaw)
}

// standsStill reports whether one of a process's threads is in the hands of a
// disk.
func standsStill(pid int) bool {
	stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	return slices.ContainsFunc(stats, func(path string) bool {
		stat, _ := os.ReadFile(path) // the thread may have ended
		_, rest, _ := strings.Cut(string(stat), ") ")
		return strings.HasPrefix(rest, "D")
	})
}

// wantGivenUp wants SIGTERM to end a process within 5 s, and what a busy machine
// adds, without an answer of its store.
func wantGivenUp(t *testing.T, srv *program, thaw func()) {
	t.Helper()
	wantFreeMainThread(t, srv)
	told := time.Now()
	if err := srv.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// Its threads that are in the disk's hands can't end before the disk lets them.
	eventually(t, "the process to go without the store's answer", func() bool {
		return !srv.Running() || strings.Contains(srv.Log(), "ends without its answer")
	})
	if took := time.Since(told); took > 6*time.Second {
		t.Errorf("it gave the store up %v after SIGTERM, want within 5 s",
			took.Round(time.Millisecond))
	}
	thaw()
	if code := srv.exit(t, timeout); code != 1 {
		t.Errorf("exit code %d, want 1: the store has not answered", code)
	}
}

// wantSlow wants a request to be told within 2 s, and what a busy machine adds,
// that the store doesn't answer.
func wantSlow(t *testing.T, what string, ask func() error) {
	t.Helper()
	asked := time.Now()
	err := ask()
	if got := time.Since(asked); reason(err) != "STORE_SLOW" || got > 3*time.Second {
		t.Errorf("%s was answered after %v: %v; want STORE_SLOW within 2 s", what,
			got.Round(time.Millisecond), err)
	}
}

// wantFreeMainThread fails the test if the program's main thread, which takes its
// signals, waits for the disk.
func wantFreeMainThread(t *testing.T, p *program) {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/stat", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	_, state, _ := strings.Cut(string(stat), ") ") // after the name, which may have blanks
	if strings.HasPrefix(state, "D") {
		t.Errorf("the main thread is in state %.1s, waiting for the disk: no signal reaches the process", state)
	}
}
