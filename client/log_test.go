package client_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/client"
)

// stuckLog is a handler that blocks until its gate is closed, like one that
// writes to a pipe which nobody reads.
type stuckLog struct {
	gate chan struct{}
	mu   sync.Mutex
	said []string
}

func (s *stuckLog) Enabled(context.Context, slog.Level) bool { return true }

func (s *stuckLog) Handle(_ context.Context, r slog.Record) error {
	<-s.gate
	s.mu.Lock()
	defer s.mu.Unlock()
	line := r.Message
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "lines" {
			line = fmt.Sprintf("%s %v", line, a.Value)
		}
		return true
	})
	s.said = append(s.said, line)
	return nil
}

func (s *stuckLog) WithAttrs([]slog.Attr) slog.Handler { return s }
func (s *stuckLog) WithGroup(string) slog.Handler      { return s }

func (s *stuckLog) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.said)
}

// TestLogBlocks checks that heartbeats continue while the app's log blocks (S14),
// that Release returns when its context ends, and that all lines are logged in
// order afterwards.
func TestLogBlocks(t *testing.T) {
	inWorld(t, func(w *world) {
		log := &stuckLog{gate: make(chan struct{})}
		var fail atomic.Bool
		w.service.before = func(context.Context, any) error {
			if fail.CompareAndSwap(true, false) {
				return errors.New("one hiccup")
			}
			return nil
		}
		h := w.mustHold(client.WithLogger(slog.New(log)))
		w.pass(time.Second)
		fail.Store(true)
		w.pass(5 * ttl)
		w.mints(h, true)
		if _, beats, _ := w.service.counts(); beats < 10 {
			w.Errorf("%d heartbeats in 5 TTLs while the log blocks, want at least 10", beats)
		}
		ctx, cancel := context.WithTimeout(w.Context(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		err := h.Release(ctx)
		if took := time.Since(start); err != nil || took > 100*time.Millisecond {
			w.Errorf("Release returned %v after %v, want nil within the context's 100ms", err, took)
		}
		if said := log.lines(); len(said) != 0 {
			w.Errorf("the blocked log took %q, want no line", said)
		}
		close(log.gate)
		w.pass(0)
		want := []string{"lease held", "call failed", "lease released"}
		if got := log.lines(); !slices.Equal(got, want) {
			w.Errorf("logged %q, want %q", got, want)
		}
	})
}

// TestReleaseFlushesTheLog checks that the handler has got the last lines when
// Release returns, if it takes them in time.
func TestReleaseFlushesTheLog(t *testing.T) {
	inWorld(t, func(w *world) {
		log := &stuckLog{gate: make(chan struct{})}
		h := w.mustHold(client.WithLogger(slog.New(log)))
		time.AfterFunc(500*time.Millisecond, func() { close(log.gate) })
		if err := h.Release(w.Context()); err != nil {
			w.Fatal(err)
		}
		if got := log.lines(); !slices.Equal(got, []string{"lease held", "lease released"}) {
			w.Errorf("logged %q when Release returned, want the lease held and released", got)
		}
	})
}

// TestLogIsBounded checks that a limited number of lines waits for a handler that
// blocks, and that the last line logged says how many were dropped.
func TestLogIsBounded(t *testing.T) {
	inWorld(t, func(w *world) {
		log := &stuckLog{gate: make(chan struct{})}
		var calls atomic.Int64
		w.service.before = func(_ context.Context, r any) error {
			if calls.Add(1)%2 == 0 { // each failure after a good call is logged
				return errors.New("again and again")
			}
			return nil
		}
		h := w.mustHold(client.WithLogger(slog.New(log)))
		for calls.Load() < 2500 {
			w.pass(time.Hour)
		}
		close(log.gate)
		w.pass(0)
		said := log.lines()
		last := said[len(said)-1]
		if len(said) > 1030 || !strings.HasPrefix(last, "log lines were dropped here") ||
			strings.HasSuffix(last, " 0") {
			w.Errorf("%d lines were kept, the last is %q; want 1024, and how many were dropped",
				len(said), last)
		}
		_ = h.Release(w.Context())
	})
}

// TestReleaseBesideStuckOnChange checks that Release does not wait for an OnChange
// that blocks.
func TestReleaseBesideStuckOnChange(t *testing.T) {
	inWorld(t, func(w *world) {
		gate := make(chan struct{})
		h := w.mustHold(client.OnChange(func(client.Event) { <-gate }))
		ctx, cancel := context.WithTimeout(w.Context(), 100*time.Millisecond)
		defer cancel()
		if err := h.Release(ctx); err != nil {
			w.Error(err)
		}
		close(gate)
	})
}
