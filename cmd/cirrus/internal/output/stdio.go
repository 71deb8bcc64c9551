package output

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
)

// File returns the file behind a command's writer: for children, which inherit it,
// and for output that may wait but must not be dropped.
func File(w io.Writer) io.Writer {
	for {
		behind, ok := w.(interface{ Unwrap() io.Writer })
		if !ok {
			return w
		}
		w = behind.Unwrap()
	}
}

// Stdout is a stdout that drops nothing. A write waits for the reader, but not after
// the command was interrupted (S14).
type Stdout struct {
	ctx context.Context
	out io.Writer

	mu    sync.Mutex
	stuck bool // a write has not returned, so no other can start
}

// NewStdout returns a stdout that writes to out until ctx ends.
func NewStdout(ctx context.Context, out io.Writer) *Stdout {
	return &Stdout{ctx: ctx, out: out}
}

// Unwrap returns the file.
func (p *Stdout) Unwrap() io.Writer { return p.out }

// Write implements io.Writer.
func (p *Stdout) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stuck {
		return 0, p.interrupted()
	}
	type outcome struct {
		n   int
		err error
	}
	done := make(chan outcome, 1)
	kept := append([]byte(nil), b...) // the write may outlast this call
	go func() {
		n, err := p.out.Write(kept)
		done <- outcome{n, err}
	}()
	select {
	case o := <-done:
		return o.n, exit.WriteError(o.err)
	case <-p.ctx.Done():
	}
	timer := time.NewTimer(exit.LastWords)
	defer timer.Stop()
	select {
	case o := <-done:
		return o.n, exit.WriteError(o.err)
	case <-timer.C:
		p.stuck = true
		return 0, p.interrupted()
	}
}

func (p *Stdout) interrupted() error {
	return fmt.Errorf("nobody reads what is written to stdout: %w", p.ctx.Err())
}
