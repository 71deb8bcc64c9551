package client

import (
	"context"
	"log/slog"
	"runtime"
	"time"

	"github.com/cirrus-id/cirrus/internal/logwriter"
)

const (
	// maxLines is how many log lines wait for a handler that is slow.
	maxLines = 1024
	// lastLines is how long Release waits for the handler to take them.
	lastLines = time.Second
)

// logger hands log lines to the app's handler beside the holder's loop, so that
// a handler that blocks costs no heartbeat (S14): one after the other and in
// their order, with the time at which they were said.
type logger struct {
	ctx     context.Context // its values go along
	handler slog.Handler
	now     func() time.Time
	queue   *logwriter.Queue[slog.Record]
}

// newLogger returns nil, which says nothing, where nobody wants to hear.
func newLogger(ctx context.Context, cfg *config) *logger {
	handler := cfg.log.Handler()
	if handler == slog.DiscardHandler {
		return nil
	}
	l := &logger{ctx: ctx, handler: handler, now: cfg.timers.Now}
	l.queue = logwriter.NewQueue(logwriter.QueueConfig[slog.Record]{
		Limit: maxLines,
		Weigh: func(slog.Record) int { return 1 },
		Hand:  l.hand,
		Lost: func(n uint64) {
			r := slog.NewRecord(l.now(), slog.LevelWarn, "log lines were dropped here: the log's handler is too slow", 0)
			r.Add("lines", n)
			l.hand(r)
		},
		Go: cfg.runner.Go,
	})
	return l
}

// say queues a line. It never waits for the handler.
func (l *logger) say(level slog.Level, msg string, args ...any) {
	if l == nil {
		return
	}
	var caller [1]uintptr
	runtime.Callers(2, caller[:])
	r := slog.NewRecord(l.now(), level, msg, caller[0])
	r.Add(args...)
	l.queue.Push(r)
}

// hand is where the app's handler may take as long as it likes.
func (l *logger) hand(r slog.Record) {
	if l.handler.Enabled(l.ctx, r.Level) {
		_ = l.handler.Handle(l.ctx, r) // as package slog has it
	}
}

// flush waits until what was said has been handed over, but not for long, and
// not after a context ends.
func (l *logger) flush(ctx context.Context, cfg *config) {
	if l == nil {
		return
	}
	timer := cfg.timers.NewTimer(lastLines)
	defer timer.Stop()
	cfg.runner.Wait(timer.Chan(), l.queue.Idle(), ctx.Done())
}
