//go:build linux

package e2e

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

// layout is that of the pools in which minters mint. Of a millisecond's sequence
// there are four, so that a minter at full speed soon is as far ahead of its time
// as it may be.
const (
	layout     = "41/10/2"
	origin     = 1288834974657
	nodeShift  = 2
	timeShift  = 12
	nodeIDMask = 1<<10 - 1
)

// timestampOf and nodeOf read an ID of that layout.
func timestampOf(id uint64) int64 { return int64(id>>timeShift) + origin }
func nodeOf(id uint64) uint64     { return id >> nodeShift & nodeIDMask }

// minter is a `cirrus ids -n 0`, and what it has printed.
type minter struct {
	*program
	mu  sync.Mutex
	ids []uint64
	eof chan struct{} // closed when all that it wrote has been read
}

// mint starts a minter, with flags of its own.
func mint(t testing.TB, url, app string, flags ...string) *minter {
	t.Helper()
	m := &minter{eof: make(chan struct{})}
	cmd := command(
		t, append([]string{"ids", "-n", "0", "--addr", url, "--app", app,
			"--wait", timeout.String()}, flags...)...)
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = in
	m.program = start(t, cmd)
	in.Close() // the process has it now, and its end is the pipe's
	go m.read(t, out)
	t.Cleanup(func() {
		m.Kill()
		<-m.eof
		out.Close()
	})
	return m
}

func (m *minter) read(t testing.TB, out io.Reader) {
	defer close(m.eof)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		id, err := strconv.ParseUint(lines.Text(), 10, 63)
		if err != nil {
			t.Errorf("stdout holds IDs alone, but: %q", lines.Text())
			return
		}
		m.mu.Lock()
		m.ids = append(m.ids, id)
		m.mu.Unlock()
	}
}

// count is how many IDs were read.
func (m *minter) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.ids)
}

// newest is the timestamp of the last ID that was read; 0 before there is one.
func (m *minter) newest() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.ids) == 0 {
		return 0
	}
	return timestampOf(m.ids[len(m.ids)-1])
}

// mints waits until n more IDs were read.
func (m *minter) mints(t testing.TB, n int) {
	t.Helper()
	want := m.count() + n
	eventually(t, strconv.Itoa(n)+" more IDs", func() bool { return m.count() >= want })
}

// finish ends the minter with SIGTERM, and returns all that it ever printed,
// which must rise from one to the next.
func (m *minter) finish(t testing.TB) []uint64 {
	t.Helper()
	m.terminate(t)
	<-m.eof
	for i := 1; i < len(m.ids); i++ {
		if m.ids[i] <= m.ids[i-1] {
			t.Fatalf("ID %d follows %d", m.ids[i], m.ids[i-1])
		}
	}
	return m.ids
}

// outside counts the IDs whose timestamps do not pass, and shows the first.
func outside(t testing.TB, ids []uint64, what string, passes func(ts int64) bool) {
	t.Helper()
	var bad []uint64
	for _, id := range ids {
		if !passes(timestampOf(id)) {
			bad = append(bad, id)
		}
	}
	if len(bad) > 0 {
		t.Errorf("%d of %d IDs are %s, the first is %d with timestamp %d", len(bad), len(ids), what,
			bad[0], timestampOf(bad[0]))
	}
}

// wallMs is the machine's wall clock, which a healthy service's time follows.
func wallMs() int64 { return time.Now().UnixMilli() }

// watched is what a Watch has shown.
type watched struct {
	mu     sync.Mutex
	events []*cirrusv1.WatchResponse
}

// watch follows the default pool until the test ends.
func watch(t testing.TB, url string) *watched {
	t.Helper()
	_, admin := dial(url, grpcH2C)
	stream, err := admin.Watch(t.Context(), &cirrusv1.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for stream.Receive() {
			w.mu.Lock()
			w.events = append(w.events, stream.Msg())
			w.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		<-done // the test's context has ended
		stream.Close()
	})
	return w
}

// await waits for the first event of a kind about the n-th epoch that occurs
// here, from 1, and returns the node ID as it was then.
func (w *watched) await(t testing.TB, kind cirrusv1.Event, n int) (lease *cirrusv1.LeaseStatus) {
	t.Helper()
	eventually(t, kind.String()+" of epoch number "+strconv.Itoa(n), func() bool {
		lease = w.find(kind, n)
		return lease != nil
	})
	return lease
}

func (w *watched) find(kind cirrusv1.Event, n int) *cirrusv1.LeaseStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	epoch, epochs := uint64(0), 0
	for _, e := range w.events {
		if l := e.Lease; l != nil && l.Epoch > epoch {
			epoch = l.Epoch
			epochs++
		}
		if epochs == n && e.Event == kind {
			return e.Lease
		}
	}
	return nil
}
