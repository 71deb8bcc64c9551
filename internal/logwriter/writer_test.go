package logwriter_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cirrus-id/cirrus/internal/logwriter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// long is how long a test waits for what should come soon.
const long = 30 * time.Second

// pipe is a writer whose reader can stand still.
type pipe struct {
	taken chan struct{} // gets a token as each write begins
	gate  chan struct{} // a write ends when it is closed, or by a token

	mu   sync.Mutex
	text strings.Builder
}

func newPipe() *pipe {
	return &pipe{taken: make(chan struct{}, 10_000), gate: make(chan struct{})}
}

func (p *pipe) Write(b []byte) (int, error) {
	p.taken <- struct{}{}
	<-p.gate
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *pipe) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

func TestLinesKeepTheirOrder(t *testing.T) {
	p := newPipe()
	close(p.gate)
	w := logwriter.New(p, 1<<20)
	var want strings.Builder
	for i := range 1000 {
		fmt.Fprintf(w, "line %d\n", i)
		fmt.Fprintf(&want, "line %d\n", i)
	}
	if !w.Flush(long) {
		t.Fatal("Flush gave up")
	}
	if p.String() != want.String() {
		t.Errorf("wrote\n%s\nwant\n%s", p, &want)
	}
	if n := w.Dropped(); n != 0 {
		t.Errorf("%d lines dropped, want none", n)
	}
}

// A reader that stands still stops nobody; what finds no room is counted, and
// the count stands where the lines would have been.
func TestReaderStandsStill(t *testing.T) {
	p := newPipe()
	w := logwriter.New(p, 20)
	_, _ = io.WriteString(w, "1234567\n")
	<-p.taken // and waits in Write
	_, _ = io.WriteString(w, "abcdefg\n")
	for range 5 {
		if n, err := io.WriteString(w, "no room\n"); n != 8 || err != nil {
			t.Fatalf("Write returned %d, %v: want 8, nil", n, err)
		}
	}
	if w.Flush(time.Millisecond) {
		t.Error("Flush says that all was written, which nobody read")
	}
	if n := w.Dropped(); n != 5 {
		t.Errorf("%d lines dropped, want 5", n)
	}
	p.gate <- struct{}{} // the first line is out: there is room for one of 8 bytes
	<-p.taken
	_, _ = io.WriteString(w, "later..\n")
	close(p.gate)
	if !w.Flush(long) {
		t.Fatal("Flush gave up")
	}
	want := "1234567\nabcdefg\n5 lines were dropped here, since nobody read them in time\nlater..\n"
	if p.String() != want {
		t.Errorf("wrote\n%s\nwant\n%s", p, want)
	}
}

// The gap is told even if nothing is logged after it, and as the format has it.
func TestGapAtTheEnd(t *testing.T) {
	p := newPipe()
	w := logwriter.New(p, 10)
	w.SetNotice(func(n uint64) []byte { return fmt.Appendf(nil, "{%d}\n", n) })
	_, _ = io.WriteString(w, "1234567\n")
	_, _ = io.WriteString(w, "no room\n")
	close(p.gate)
	if !w.Flush(long) {
		t.Fatal("Flush gave up")
	}
	if want := "1234567\n{1}\n"; p.String() != want {
		t.Errorf("wrote %q, want %q", p, want)
	}
}

type gone struct{}

func (gone) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// A reader that has gone is no error to whoever logs.
func TestReaderGone(t *testing.T) {
	w := logwriter.New(gone{}, 100)
	for range 3 {
		if n, err := io.WriteString(w, "line\n"); n != 5 || err != nil {
			t.Fatalf("Write returned %d, %v: want 5, nil", n, err)
		}
	}
	w.Flush(long)
	if n := w.Dropped(); n != 3 {
		t.Errorf("%d lines dropped, want 3", n)
	}
}

func TestManyWriters(t *testing.T) {
	p := newPipe()
	close(p.gate)
	w := logwriter.New(p, 1<<20)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				_, _ = io.WriteString(w, "a line of its own\n")
			}
		})
	}
	all.Wait()
	if !w.Flush(long) {
		t.Fatal("Flush gave up")
	}
	if got := strings.Count(p.String(), "a line of its own\n"); got != 1600 {
		t.Errorf("%d lines written, want 1600", got)
	}
}
