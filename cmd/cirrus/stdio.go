package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/internal/logwriter"
)

const (
	// lastWords is how long a process that ends waits for whoever reads its
	// stderr, and a command that was interrupted for whoever reads its stdout.
	lastWords = time.Second
	// exitReaderGone is what shells know a process by that SIGPIPE ended.
	exitReaderGone = 128 + 13
)

// readerGone is the error of writing to a stdout whose reader has ended, as in
// `cirrus ids | head -1`.
type readerGone struct{ error }

// Unwrap gives what the system said.
func (e readerGone) Unwrap() error { return e.error }

// plain is the file behind what a command writes to: for children, which must
// inherit it, and for output that may wait but must not be dropped.
func plain(w io.Writer) io.Writer {
	for {
		behind, ok := w.(interface{ Unwrap() io.Writer })
		if !ok {
			return w
		}
		w = behind.Unwrap()
	}
}

// flushLog waits a moment until what was said on stderr is written. After it the
// process may end.
func flushLog(cmd *cobra.Command) {
	if w, ok := cmd.ErrOrStderr().(*logwriter.Writer); ok {
		w.Flush(lastWords)
	}
}

// patientOutput is a stdout that nothing is dropped from. Whoever writes waits
// for the reader, but not after the command was interrupted (S14).
type patientOutput struct {
	ctx context.Context
	out io.Writer

	mu    sync.Mutex
	stuck bool // a write has not returned, so no other can begin
}

// Unwrap returns the file.
func (p *patientOutput) Unwrap() io.Writer { return p.out }

// Write implements io.Writer.
func (p *patientOutput) Write(b []byte) (int, error) {
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
		return o.n, told(o.err)
	case <-p.ctx.Done():
	}
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	select {
	case o := <-done:
		return o.n, told(o.err)
	case <-timer.C:
		p.stuck = true
		return 0, p.interrupted()
	}
}

func (p *patientOutput) interrupted() error {
	return fmt.Errorf("nobody reads what is written to stdout: %w", p.ctx.Err())
}

func told(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		return readerGone{err}
	}
	return err
}
