package service

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
	"github.com/cirrus-id/cirrus/store"
)

// Steady reads the steady clock: it never goes back, and counts the time that
// the machine was suspended.
type Steady interface {
	Now() time.Duration
}

// Config is what a service is made of.
type Config struct {
	// Store keeps what must survive. Required. The caller closes it, after
	// Close has returned.
	Store store.Store
	// Clock gives the wall clock, which only server time looks at (S8), and
	// timers. Default: the machine's.
	Clock clockwork.Clock
	// Steady measures every duration. Required.
	Steady Steady
	// Stride is how far ahead the mark is written: 100 ms to 30 days, default
	// 10 s. A longer one that the store was served with before counts on
	// until it has passed once.
	Stride time.Duration
	// Logger takes what an operator should know. Default: slog.Default().
	Logger *slog.Logger
	// Random is where instance IDs come from that the server makes for those
	// who send none. Default: crypto/rand.
	Random io.Reader
	// Runner is how the service waits and runs things beside itself; for
	// simulators. Default: goroutines.
	Runner Runner
	// Version is what the service says it is. Default: "devel".
	Version string
}

func (c Config) withDefaults() (Config, error) {
	if c.Store == nil || c.Steady == nil {
		return c, errors.New("service: Config needs a Store and a Steady clock")
	}
	if c.Clock == nil {
		c.Clock = clockwork.NewRealClock()
	}
	if c.Stride == 0 {
		c.Stride = fencing.DefaultStride
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if c.Runner == nil {
		c.Runner = goroutines{}
	}
	if c.Version == "" {
		c.Version = "devel"
	}
	return c, nil
}

// Service answers for one store. All its state but the core's is about who
// waits for what.
type Service struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics

	mu   sync.Mutex
	core *fencing.Server
	// changed, which is there while somebody waits, is closed when a write is
	// acknowledged or fails:
	// whoever waits for a key or for the mark asks again.
	changed chan struct{}
	// waiting are those who stand in a queue for a free node ID.
	waiting map[fencing.Ticket]*waiter
	// watchers are the streams of Watch.
	watchers map[*watcher]bool

	// kick makes the keeper look at the mark at once.
	kick chan struct{}
	// closing is closed when the service stops taking requests; failed when
	// the store has failed (S9), with failure as the cause.
	closing, failed chan struct{}
	closeOnce       sync.Once
	failure         error
	// writes are the commits under way and the keeper; once closed, none begins.
	writes sync.WaitGroup
	closed bool
}

// New loads the store and writes the first mark (S10): when it returns, the
// service may promise.
//
// An error says in one sentence why the store cannot be served, and what to do.
func New(ctx context.Context, cfg Config) (*Service, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Service{
		cfg: cfg, log: cfg.Logger,
		waiting:  map[fencing.Ticket]*waiter{},
		watchers: map[*watcher]bool{},
		kick:     make(chan struct{}, 1),
		closing:  make(chan struct{}),
		failed:   make(chan struct{}),
	}
	s.metrics = newMetrics(s)
	snap, err := cfg.Store.Load(ctx)
	if err != nil {
		return nil, err
	}
	// S6: the clock is read after loading.
	if s.core, err = fencing.NewServer(snap, cfg.Stride, s.now()); err != nil {
		return nil, err
	}
	first, next := s.core.Tick(s.now())
	if err := s.commit(first); err != nil {
		return nil, fmt.Errorf("the first mark could not be written: %w", err)
	}
	s.writes.Add(1)
	s.cfg.Runner.Go(func() { s.keep(next) })
	return s, nil
}

// now reads both clocks.
func (s *Service) now() fencing.Now {
	return fencing.Now{Steady: s.cfg.Steady.Now(), Wall: snowflake.Millis(s.cfg.Clock.Now().UnixMilli())}
}

// enter takes the core, and leave gives it back after telling the watchers.
// Between them the clocks are read, so no reading is older than the one before.
func (s *Service) enter() fencing.Now {
	s.mu.Lock()
	return s.now()
}

func (s *Service) leave() {
	if len(s.watchers) > 0 {
		s.tellWatchers()
	}
	s.mu.Unlock()
}

// commit makes a write durable and then shows it (S1). It runs to its end
// whatever becomes of the request that wants it (S9): its context is the
// server's. Writes of different keys don't wait for one another.
//
// It errs with what the store says, or with errStopping after Close.
func (s *Service) commit(w *fencing.Write) error {
	if !s.beginWrite() {
		return errStopping
	}
	defer s.writes.Done()
	started := s.cfg.Steady.Now()
	err := s.durable(w.Batch)
	s.metrics.storeWrite.Observe((s.cfg.Steady.Now() - started).Seconds())

	now := s.enter()
	defer s.leave()
	if err == nil && s.failure != nil {
		err = s.failure // S9: durable, but nothing is answered any more
	}
	if err != nil {
		s.fail(err)
	} else {
		s.core.Written(now, w)
	}
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
	s.wakeAfter(w)
	return err
}

// durable hands a batch to the store. One that panics has failed like any
// other: what it wrote is unknown (S9).
func (s *Service) durable(b fencing.Batch) (err error) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler: // somebody ends this very handler
			panic(p)
		default:
			err = fmt.Errorf("the store panicked: %v", p)
		}
	}()
	return s.cfg.Store.Commit(context.Background(), b)
}

// change is what is closed at the next write that is acknowledged or fails.
func (s *Service) change() <-chan struct{} {
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

// beginWrite counts a commit as under way, unless Close was called: nobody
// writes to a store that is about to be closed.
func (s *Service) beginWrite() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.writes.Add(1)
	}
	return !s.closed
}

// fail ends all promises: memory may be ahead of the store (S9). Whoever waits
// in a queue is told.
func (s *Service) fail(cause error) {
	s.core.Fail(cause)
	if s.failure == nil {
		s.failure = cause
		s.log.Error("a write failed; nothing more is promised", "error", cause)
		close(s.failed)
	}
	for _, w := range s.waiting {
		w.signal()
	}
}

// Failed is closed when the store has failed. The process should then exit
// with Err.
func (s *Service) Failed() <-chan struct{} { return s.failed }

// Err is why the store failed, once Failed is closed.
func (s *Service) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// StopRequests ends streams and waits, and refuses new requests: the first
// half of Close.
func (s *Service) StopRequests() { s.closeOnce.Do(func() { close(s.closing) }) }

// Close stops the service and returns when no commit is under way, and none
// will be.
func (s *Service) Close() {
	s.StopRequests()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.writes.Wait()
}

// stopping says whether StopRequests was called.
func (s *Service) stopping() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// keep keeps the mark ahead of server time, notes what ended, and opens
// pools, until the service stops.
func (s *Service) keep(next time.Duration) {
	defer s.writes.Done()
	alarmed := false
	for {
		timer := s.cfg.Clock.NewTimer(max(next-s.cfg.Steady.Now(), 0))
		s.cfg.Runner.Wait(timer.Chan(), s.kick, s.closing, nil)
		timer.Stop()
		if s.stopping() {
			return
		}
		var w *fencing.Write
		now := s.enter()
		w, next = s.core.Tick(now)
		// Any request's reading of the clocks may have been the first to see it.
		alarm := s.core.ClockAlarm()
		if alarm && !alarmed {
			s.log.Error("the wall clock is far ahead of server time, which follows it at 1 % only: check the clock", "offset", s.core.ClockOffset())
		}
		alarmed = alarm
		s.leave()
		if w == nil {
			continue
		}
		if err := s.commit(w); err != nil {
			return
		}
		next = 0 // look again: a pool may open before the next mark is due
	}
}

// keepNow makes the keeper look at the mark now.
func (s *Service) keepNow() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// Unopened says which pools grant nothing yet, and in how long they will if
// the service runs on (S7).
func (s *Service) Unopened() map[fencing.PoolName]time.Duration {
	now := s.enter()
	defer s.leave()
	unopened := map[fencing.PoolName]time.Duration{}
	for _, name := range s.core.PoolNames() {
		if p, in, r := s.core.Pool(now, name); r == nil && !p.Opened {
			unopened[name] = in
		}
	}
	return unopened
}
