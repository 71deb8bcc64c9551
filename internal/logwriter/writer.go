package logwriter

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// DefaultLimit is how many bytes wait for a reader that stands still: some
// 5,000 lines.
const DefaultLimit = 1 << 20

// Writer is an io.Writer that never blocks and never fails: each Write is a
// line, or several that belong together, which is written to another writer
// beside the caller, or dropped if too many wait for that. After a gap a line
// says how many were dropped. Make one with New.
type Writer struct {
	out     io.Writer
	queue   *Queue[[]byte]
	dropped atomic.Uint64
	notice  atomic.Pointer[func(n uint64) []byte]
}

// New returns a writer in front of out, in which up to limit bytes wait.
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

// SetNotice sets how it is said that n lines were dropped. The default is plain
// text.
func (w *Writer) SetNotice(notice func(n uint64) []byte) { w.notice.Store(&notice) }

// Write implements io.Writer. It keeps nothing of p.
func (w *Writer) Write(p []byte) (int, error) {
	if len(p) > 0 && !w.queue.Push(append([]byte(nil), p...)) {
		w.dropped.Add(1)
	}
	return len(p), nil
}

// write is called beside the callers of Write. Lines that can't be written, as
// to a pipe whose reader has gone, are lost like those that are dropped.
func (w *Writer) write(line []byte) {
	if _, err := w.out.Write(line); err != nil {
		w.dropped.Add(1)
	}
}

// Dropped says how many lines were lost so far.
func (w *Writer) Dropped() uint64 { return w.dropped.Load() }

// Unwrap returns the writer behind this one, for what must not be dropped and
// may wait.
func (w *Writer) Unwrap() io.Writer { return w.out }

// Flush waits until everything was written that was given to Write before, but
// not longer than the time given; it says whether it was.
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
