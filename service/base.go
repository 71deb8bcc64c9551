package service

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

// base is what every room of the service uses: the configuration with its clocks,
// the log, the metrics, and the tasks that Close waits for.
type base struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	// lost counts and logs lost writes (S12).
	lost lostLog
	// turns limit what keeps a processor busy (S14).
	turns turns
	// steps counts the steps of takeovers.
	steps atomic.Uint64
	// closing is closed when the service stops taking requests.
	closing chan struct{}

	mu sync.Mutex
	// tasks are what Close waits for. None starts once closed is set.
	tasks  sync.WaitGroup
	closed bool
}

func newBase(cfg Config) *base {
	return &base{cfg: cfg, log: cfg.Logger, metrics: newMetrics(cfg.Cluster != nil),
		turns: newTurns(), closing: make(chan struct{})}
}

// now reads both clocks.
func (s *base) now() fencing.Now {
	return fencing.Now{Steady: s.cfg.Steady.Now(),
		Wall: snowflake.Millis(s.cfg.Clock.Now().UnixMilli())}
}

// stopping reports whether StopRequests was called.
func (s *base) stopping() bool { return isClosed(s.closing) }

// isClosed reports whether a channel on which nothing is sent is closed.
func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// spawn runs a task that Close waits for. It returns false after Close was called:
// the task is not run then.
func (s *base) spawn(f func()) bool {
	if !s.startTask() {
		return false
	}
	s.cfg.Runner.Go(func() {
		defer s.tasks.Done()
		f()
	})
	return true
}

// startTask counts a task as in progress. It returns false after Close was called:
// the caller must not use the store then, since it may be closed at any time.
func (s *base) startTask() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.tasks.Add(1)
	}
	return !s.closed
}

// wait is where requests block: until woken, until the steady time at (0: no
// such time), or until the request or the service ends. After a nil error the
// caller asks the rules again.
func (s *base) wait(ctx context.Context, woken <-chan struct{}, at time.Duration) error {
	var due <-chan time.Time
	if at > 0 {
		timer := s.cfg.Clock.NewTimer(max(at-s.cfg.Steady.Now(), time.Millisecond))
		defer timer.Stop()
		due = timer.Chan()
	}
	s.cfg.Runner.Wait(due, woken, ctx.Done(), s.closing)
	if s.stopping() {
		return errStopping
	}
	return ctx.Err()
}

// pause waits for a time, or until the service stops.
func (s *base) pause(d time.Duration) {
	if d > 0 {
		timer := s.cfg.Clock.NewTimer(d)
		defer timer.Stop()
		s.cfg.Runner.Wait(timer.Chan(), s.closing, nil, nil)
	}
}

// jitter draws a number below n, for pauses alone.
func (s *base) jitter(n uint64) uint64 {
	var random [8]byte
	if _, err := io.ReadFull(s.cfg.Random, random[:]); err != nil || n == 0 {
		return 0
	}
	return binary.BigEndian.Uint64(random[:]) % n
}

// newInstance draws an instance ID of 128 random bits, for a request that has
// none.
func (s *base) newInstance() fencing.InstanceID {
	var bits [16]byte
	if _, err := io.ReadFull(s.cfg.Random, bits[:]); err != nil {
		panic(fmt.Sprintf("no randomness for an instance ID: %v", err))
	}
	return fencing.InstanceID(hex.EncodeToString(bits[:]))
}
