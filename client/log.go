package client

import (
	"context"
	"log/slog"
	"runtime"
	"time"

	"github.com/cirrus-id/cirrus/internal/logwriter"
)

const (
	// maxLines is how many log lines wait for a slow handler.
	maxLines = 1024
	// flushTimeout is how long Release waits for the handler to take them.
	flushTimeout = time.Second
)

// logger passes log lines to the app's handler outside the holder's loop, so
// that a handler that blocks delays no heartbeat (S14). Lines are passed one at a
// time, in order, each with the time at which it was queued.
type logger struct {
	ctx     context.Context // passed to the handler for its values
	handler slog.Handler
	now     func() time.Time
	queue   *logwriter.Queue[slog.Record]
}

// newLogger returns a logger, or nil, which logs nothing, if the app set no log.
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
			r := slog.NewRecord(l.now(), slog.LevelWarn,
				"log lines were dropped here: the log's handler is too slow", 0)
			r.Add("lines", n)
			l.hand(r)
		},
		Go: cfg.runner.Go,
	})
	return l
}

// say queues a line for the handler and does not wait for it.
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

// hand passes a line to the app's handler, which may block.
func (l *logger) hand(r slog.Record) {
	if l.handler.Enabled(l.ctx, r.Level) {
		_ = l.handler.Handle(l.ctx, r) // package slog ignores this error, too
	}
}

// flush waits until the handler has taken all queued lines, for flushTimeout at
// most, and not after ctx ends.
func (l *logger) flush(ctx context.Context, cfg *config) {
	if l == nil {
		return
	}
	timer := cfg.timers.NewTimer(flushTimeout)
	defer timer.Stop()
	cfg.runner.Wait(timer.Chan(), l.queue.Idle(), ctx.Done())
}
