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

// timeout is how long a test waits for what should come soon.
const timeout = 30 * time.Second

// pipe is a writer whose reader can stop reading.
type pipe struct {
	taken chan struct{} // receives when a write starts
	gate  chan struct{} // a write waits for a token, or until gate is closed

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
	if !w.Flush(timeout) {
		t.Fatal("Flush timed out")
	}
	if p.String() != want.String() {
		t.Errorf("wrote\n%s\nwant\n%s", p, &want)
	}
	if n := w.Dropped(); n != 0 {
		t.Errorf("%d lines dropped, want none", n)
	}
}

// A reader that has stopped reading blocks no writer. Dropped lines are counted, and
// the count is reported in their place.
func TestReaderStops(t *testing.T) {
	p := newPipe()
	w := logwriter.New(p, 20)
	_, _ = io.WriteString(w, "1234567\n")
	<-p.taken // it waits in Write
	_, _ = io.WriteString(w, "abcdefg\n")
	for range 5 {
		if n, err := io.WriteString(w, "no room\n"); n != 8 || err != nil {
			t.Fatalf("Write returned %d, %v: want 8, nil", n, err)
		}
	}
	if w.Flush(time.Millisecond) {
		t.Error("Flush reports that all was written, but the reader has read nothing")
	}
	if n := w.Dropped(); n != 5 {
		t.Errorf("%d lines dropped, want 5", n)
	}
	p.gate <- struct{}{} // the first line is written, so 8 bytes have room
	<-p.taken
	_, _ = io.WriteString(w, "later..\n")
	close(p.gate)
	if !w.Flush(timeout) {
		t.Fatal("Flush timed out")
	}
	want := "1234567\nabcdefg\n5 lines were dropped here, since nobody read them in time\nlater..\n"
	if p.String() != want {
		t.Errorf("wrote\n%s\nwant\n%s", p, want)
	}
}

// A gap is reported even if no line follows it, and by the line that SetNotice sets.
func TestGapAtTheEnd(t *testing.T) {
	p := newPipe()
	w := logwriter.New(p, 10)
	w.SetNotice(func(n uint64) []byte { return fmt.Appendf(nil, "{%d}\n", n) })
	_, _ = io.WriteString(w, "1234567\n")
	_, _ = io.WriteString(w, "no room\n")
	close(p.gate)
	if !w.Flush(timeout) {
		t.Fatal("Flush timed out")
	}
	if want := "1234567\n{1}\n"; p.String() != want {
		t.Errorf("wrote %q, want %q", p, want)
	}
}

type closedPipe struct{}

func (closedPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// Writing to a closed pipe returns no error.
func TestReaderGone(t *testing.T) {
	w := logwriter.New(closedPipe{}, 100)
	for range 3 {
		if n, err := io.WriteString(w, "line\n"); n != 5 || err != nil {
			t.Fatalf("Write returned %d, %v: want 5, nil", n, err)
		}
	}
	w.Flush(timeout)
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
	if !w.Flush(timeout) {
		t.Fatal("Flush timed out")
	}
	if got := strings.Count(p.String(), "a line of its own\n"); got != 1600 {
		t.Errorf("%d lines written, want 1600", got)
	}
}
