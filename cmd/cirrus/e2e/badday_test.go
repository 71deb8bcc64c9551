//go:build linux

package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

// nobody is a user that owns no file.
const nobody = 65534

// complains fails the test unless the process failed, and said why and what to
// do in one sentence. The log may tell of it, too: what is under way when the
// store fails hears of that before the process has ended.
func complains(t *testing.T, code int, stderr string, want ...string) {
	t.Helper()
	var sentences []string
	for line := range strings.Lines(stderr) {
		if !strings.Contains(line, " level=") {
			sentences = append(sentences, line)
		}
	}
	if code != 1 || len(sentences) != 1 {
		t.Errorf("exit code %d and %d sentences on stderr, want exit code 1 and one sentence:\n%s",
			code, len(sentences), stderr)
	}
	for _, w := range want {
		if !strings.Contains(strings.Join(sentences, ""), w) {
			t.Errorf("stderr does not mention %q:\n%s", w, stderr)
		}
	}
}

// refuses runs a command that must fail before it serves.
func refuses(t *testing.T, args []string, want ...string) {
	t.Helper()
	code, stdout, stderr := run(t, args...)
	complains(t, code, stderr, want...)
	if strings.Contains(stdout, "serves") {
		t.Errorf("stdout reports that it serves:\n%s", stdout)
	}
}

func serveArgs(dir, addr string, more ...string) []string {
	return append([]string{"serve", "--data", dir, "--listen", addr, "--metrics-listen="}, more...)
}

func TestPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr := taken.Addr().String()
	srv := serve(t, initStore(t))
	held := acquire(t, srv, 3)
	srv.terminate(t)

	refuses(t, serveArgs(srv.dir, addr), addr, "address already in use", "--listen")
	refuses(t, serveArgs(srv.dir, srv.addr, "--metrics-listen", addr), addr,
		"address already in use", "--metrics-listen")
	srv.restart(t)
	heartbeat(t, srv, held)
}

// TestStoreLocked tries to use a store that is being served.
func TestStoreLocked(t *testing.T) {
	srv := serve(t, initStore(t))
	held := acquire(t, srv, 3)
	const locked = "in use by another process"
	refuses(t, serveArgs(srv.dir, freeAddr(t)), srv.dir, locked, "stop")
	refuses(t, []string{"recover", "--yes", "--data", srv.dir}, srv.dir, locked, "stop")
	refuses(t, []string{"init", "--data", srv.dir}, srv.dir, "a Cirrus store already",
		"name another directory")
	heartbeat(t, srv, held)
	srv.kill(t)
	srv.restart(t)
	heartbeat(t, srv, held)
}

// TestNoDirectory names places where no store can be.
func TestNoDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	addr := freeAddr(t)
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		refuses(t, serveArgs(dir, addr), dir, "not a directory", "name a directory")
		refuses(t, []string{"init", "--data", dir}, dir, "not a directory", "name a directory")
	}
	refuses(t, serveArgs("/proc/cirrus", addr), "/proc/cirrus")
	foreign := filepath.Dir(file)
	refuses(t, serveArgs(foreign, addr), foreign, `"file"`, "name an empty directory")
	if text, err := os.ReadFile(file); err != nil || string(text) != "mine" {
		t.Errorf("the file holds %q, %v", text, err)
	}
}

// TestNotWritable runs as a user who may not write where the store is, or is to
// be. For root, who may, it runs as nobody.
func TestNotWritable(t *testing.T) {
	parent, err := os.MkdirTemp("", "cirrus-e2e-ro-") // one that nobody can reach
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(parent, "data")
	t.Cleanup(func() { access(t, parent, 0o750); remove(t, parent) })
	initStoreIn(t, dir)
	access(t, parent, 0o555)

	addr := freeAddr(t)
	for _, args := range [][]string{
		serveArgs(dir, addr),
		serveArgs(filepath.Join(parent, "new"), addr),
		{"init", "--data", filepath.Join(parent, "new")},
		{"recover", "--yes", "--data", dir},
	} {
		cmd := command(t, args...)
		if os.Getuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody,
				Gid: nobody}}
		}
		code, _, stderr := finish(t, cmd)
		complains(t, code, stderr, parent, "can't be written", "give the user of this process")
	}
	access(t, parent, 0o750)
	srv := serve(t, dir)
	acquire(t, srv, 1)
	srv.terminate(t)
}

// access sets the mode of the directories below root, and makes all that is
// there the property of the one who is to use it.
func access(t *testing.T, root string, mode os.FileMode) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if os.Getuid() == 0 {
			if err := os.Chown(path, nobody, nobody); err != nil {
				return err
			}
		}
		if !d.IsDir() {
			return nil
		}
		return os.Chmod(path, mode)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}

// TestOriginAhead makes a store whose layout begins after now.
func TestOriginAhead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	ahead := strconv.FormatInt(time.Now().Add(time.Hour).UnixMilli(), 10)
	refuses(t, []string{"init", "--data", dir, "--origin", ahead}, "origin", ahead)
	refuses(t, serveArgs(dir, freeAddr(t), "--origin", ahead), "origin", ahead)
	initStoreIn(t, dir) // what was refused is no store
}

// TestFileTooLarge lets writes fail in mid-service: no file may grow beyond a
// limit, as with `ulimit -f`. It needs no rights.
func TestFileTooLarge(t *testing.T) {
	dir := initStore(t, "--node-ids", "0-99")
	srv := &server{dir: dir, addr: freeAddr(t)}
	const limit = "exec prlimit --fsize=300000 -- \"$0\" \"$@\""
	cmd := command(t, srv.args()...)
	cmd.Args = append([]string{"sh", "-c", limit, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = lookPath(t, "sh")
	lookPath(t, "prlimit")
	srv.program = start(t, cmd)
	srv.awaitListening(t, srv.addr)
	fillUntilItFails(t, srv, "nothing that was acknowledged is lost")
}

// TestDiskFull fills the disk that the store is on.
func TestDiskFull(t *testing.T) {
	disk := smallDisk(t)
	ballast := filepath.Join(disk, "ballast")
	dir := filepath.Join(disk, "data")
	occupy(t, ballast)
	refuses(t, []string{"init", "--data", dir}, dir, "is full", "free some space")
	refuses(t, serveArgs(dir, freeAddr(t)), dir, "is full", "free some space")
	free(t, ballast)
	initStoreIn(t, dir, "--node-ids", "0-99")

	srv := serve(t, dir)
	held := acquire(t, srv, 3)
	srv.terminate(t)
	occupy(t, ballast)
	refuses(t, srv.args(), dir, "is full", "free some space")
	free(t, ballast)

	srv.restart(t)
	heartbeat(t, srv, held)
	occupy(t, ballast)
	fillUntilItFails(t, srv, "is full", "free some space", "nothing that was acknowledged is lost")
	heartbeat(t, srv, held)
}

func lookPath(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("needs %s: %v", name, err)
	}
	return path
}

// smallDisk is a file system of its own, for as long as the test lasts. It
// needs root.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); err != nil {
		t.Skipf(
			"a small file system can't be mounted here (%v); TestFileTooLarge covers writes that fail", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// occupy fills the disk, and free makes room again.
func occupy(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}

func free(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// fillUntilItFails grants and releases until the service fails, and looks at how
// it ends and, where it is mended, whether all that it acknowledged is there.
func fillUntilItFails(t *testing.T, srv *server, want ...string) {
	t.Helper()
	var highest [100]atomic.Uint64 // acknowledged epoch of each node ID
	var fillers sync.WaitGroup
	for i := range 8 {
		fillers.Go(func() { fill(t, srv, i, highest[:]) })
	}
	fillers.Wait()
	complains(t, srv.exit(t, timeout), srv.Log(), want...)
	grants := 0

	if info, err := os.Stat(filepath.Join(filepath.Dir(srv.dir), "ballast")); err == nil &&
		!info.IsDir() {
		free(t, filepath.Join(filepath.Dir(srv.dir), "ballast"))
	}
	srv.restart(t)
	_, admin := dial(srv.url(), connectProto)
	rows, err := listing(t.Context(), admin, "default")
	if err != nil {
		t.Fatal(err)
	}
	for node := range highest {
		epoch := highest[node].Load()
		if epoch == 0 {
			continue
		}
		grants++
		if row := rows[uint32(node)]; row == nil || row.Epoch < epoch {
			t.Errorf("node ID %d was granted under epoch %d, the listing shows %v", node, epoch,
				row)
		}
	}
	if grants == 0 {
		t.Error("nothing was granted before it failed")
	}
}

// fill grants and releases until the service is gone.
func fill(t *testing.T, srv *server, i int, highest []atomic.Uint64) {
	leases, _ := dial(srv.url(), i)
	app := fmt.Sprintf("%d-%s", i, strings.Repeat("x", 240))
	for began := time.Now(); time.Since(began) < 3*timeout; {
		resp, err := leases.Acquire(t.Context(), &cirrusv1.AcquireRequest{AppId: app})
		if err != nil {
			return
		}
		l := resp.Lease
		for old := highest[l.NodeId].Load(); old < l.Epoch &&
			!highest[l.NodeId].CompareAndSwap(old, l.Epoch); {
			old = highest[l.NodeId].Load()
		}
		last := l.FloorMs - 1
		_, err = leases.Release(t.Context(),
			&cirrusv1.ReleaseRequest{NodeId: l.NodeId, Epoch: l.Epoch, InstanceId: l.InstanceId,
				LastTimestampMs: &last})
		if err != nil {
			return
		}
	}
	t.Errorf("the service still accepts writes after %v", 3*timeout)
}
