package logwriter

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// DefaultLimit is how many bytes wait for a reader that has stopped reading: about
// 5,000 lines.
const DefaultLimit = 1 << 20

// Writer is an io.Writer that never blocks and never fails. Each Write is a line, or
// several that belong together. A goroutine writes it to another writer; if too many
// bytes wait for that, it is dropped. After a gap, a line says how many lines were
// dropped. New makes a Writer.
type Writer struct {
	out     io.Writer
	queue   *Queue[[]byte]
	dropped atomic.Uint64
	notice  atomic.Pointer[func(n uint64) []byte]
}

// New returns a writer to out, in which at most limit bytes wait.
func New(out io.Writer, limit int) *Writer {
	w := &Writer{out: out}
	w.SetNotice(func(n uint64) []byte {
		return fmt.Appendf(nil, "%d lines were dropped here, since nobody read them in time\n", n)
	})
	w.queue = NewQueue(QueueConfig[[]byte]{
		Limit: limit,
		Weigh: func(line []byte) int { return len(line) },
		Hand:  w.write,
		Lost:  func(n uint64) { w.write((*w.notice.Load())(n)) },
		Go:    func(f func()) { go f() },
	})
	return w
}

// SetNotice sets the line that reports that n lines were dropped. The default is plain
// text.
func (w *Writer) SetNotice(notice func(n uint64) []byte) { w.notice.Store(&notice) }

// Write implements io.Writer. It does not retain p.
func (w *Writer) Write(p []byte) (int, error) {
	if len(p) > 0 && !w.queue.Push(append([]byte(nil), p...)) {
		w.dropped.Add(1)
	}
	return len(p), nil
}

// write writes to out, on the queue's goroutine. It counts lines that cannot be
// written, for example to a closed pipe, like dropped ones.
func (w *Writer) write(line []byte) {
	if _, err := w.out.Write(line); err != nil {
		w.dropped.Add(1)
	}
}

// Dropped returns the number of lines lost so far.
func (w *Writer) Dropped() uint64 { return w.dropped.Load() }

// Unwrap returns the writer that New got, for output that must not be dropped and may
// block.
func (w *Writer) Unwrap() io.Writer { return w.out }

// Flush waits until all earlier writes have reached out, at most for the given time. It
// reports whether they have.
func (w *Writer) Flush(within time.Duration) bool {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-w.queue.Idle():
		return true
	case <-timer.C:
		return false
	}
}
