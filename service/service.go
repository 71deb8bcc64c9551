package service

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"github.com/jonboulle/clockwork"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
	"github.com/cirrus-id/cirrus/store"
)

// Steady reads the steady clock: it never goes back, and counts the time that
// the machine was suspended. It must not be read from a cache: what a server may
// promise is counted from it (S10).
type Steady interface {
	Now() time.Duration
}

// Config is what a service is made of.
type Config struct {
	// Store keeps what must survive, and nobody else serves it. Either it or
	// Cluster is required. The caller closes it, after Close has returned.
	Store store.Store
	// Cluster is a store that this replica shares with others. The caller
	// closes it, after Close has returned.
	Cluster store.Cluster
	// DefaultPool is what is asked of the default pool. It is applied whenever
	// a term begins; with a Cluster what can't be is logged, with a Store it
	// is New's error. A store that the service creates in a Cluster gets the
	// pool so, and the defaults for the rest. Zero: nothing is asked.
	DefaultPool fencing.PoolChange
	// Reach gives the HTTP client by which the replica at an address, a base
	// URL, is reached. Default: one that notices within seconds when the other
	// one has gone.
	Reach func(address string) connect.HTTPClient
	// RoundTrips are a Cluster's, to be shown among the metrics. Default: none.
	RoundTrips *RoundTrips
	// Clock gives the wall clock, which only server time looks at (S8), and
	// timers. Default: the machine's.
	Clock clockwork.Clock
	// Steady measures every duration. Required.
	Steady Steady
	// Stride is how far ahead the mark is written: 100 ms to 1 h, default 10 s.
	// Where the store was served with a longer one before, what rests on that one
	// keeps it until it has passed once.
	Stride time.Duration
	// Browsers says which web pages may ask. Default: none.
	Browsers *Browsers
	// SuspectFor is the least time that pools which are not opened must be served
	// before they grant (S7): 0 to fencing.MaxSuspicion. The store remembers the
	// longest that it was ever served with. Default: 0, so a pool's own longest
	// TTL, quarantine and stride count.
	SuspectFor time.Duration
	// Logger takes what an operator should know. Its handler must not block: what
	// it holds up is no promise, but may be a takeover or the end of the process
	// (S14). Default: slog.Default().
	Logger *slog.Logger
	// DroppedLogLines says how many lines of the log were lost, to be shown
	// among the metrics. Default: they have no such number.
	DroppedLogLines func() uint64
	// DiskSpace gives the free and all bytes of the store's disk, to be shown among
	// the metrics, and false where they are not known. Default: they have no such
	// numbers.
	DiskSpace func() (free, size uint64, known bool)
	// Random is where instance IDs come from that the server makes for those
	// who send none, and the ID of a store that it creates. Default: crypto/rand.
	Random io.Reader
	// Runner is how the service waits and runs things beside itself; for
	// simulators. Default: goroutines.
	Runner Runner
	// Observer is told what no answer shows; for simulators and tests. Default:
	// nobody is told.
	Observer Observer
	// Version is what the service says it is. Default: "devel".
	Version string
}

func (c Config) withDefaults() (Config, error) {
	if (c.Store == nil) == (c.Cluster == nil) || c.Steady == nil {
		return c, errors.New("service: Config needs a Steady clock, and a Store or a Cluster")
	}
	if c.SuspectFor < 0 || c.SuspectFor > fencing.MaxSuspicion {
		return c, fmt.Errorf("suspecting a new store for %v is out of range: give 0 to %v", c.SuspectFor, time.Duration(fencing.MaxSuspicion))
	}
	if c.Clock == nil {
		c.Clock = clockwork.NewRealClock()
	}
	if c.Stride == 0 {
		c.Stride = fencing.DefaultStride
	}
	if c.Browsers == nil {
		c.Browsers = &Browsers{}
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

// Service is a replica for the life of its process: what outlives a term, and
// the way of each request to whoever may answer it. What is known of leases is
// the term's, and goes with it (S9, S10).
type Service struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	// lost is what the log is to tell of lost writes (S12).
	lost lostLog
	// turns are for what keeps a processor busy.
	turns turns

	// role is what this replica is now.
	role atomic.Pointer[role]
	// steps counts those of takeovers.
	steps atomic.Uint64
	// mu guards the change of role, closed, and watches.
	mu sync.Mutex
	// watches are what remote addresses have of Watch's streams.
	watches shares
	// tasks are what Close waits for; once closed, none begins.
	tasks  sync.WaitGroup
	closed bool

	// closing is closed when the service stops taking requests; failed when
	// the only store has failed (S9).
	closing, failed chan struct{}
	closeOnce       sync.Once
	// ctx ends with closing. It is for what waits in the cluster.
	ctx    context.Context
	cancel context.CancelFunc
}

// role is what a replica is at an instant.
type role struct {
	// term is what it leads by, if it leads.
	term *term
	// leader is the replica that leads, if that is known and another one.
	leader *peer
	// since is when, by the steady clock, it began to lead, to follow this leader,
	// or to know of none.
	since time.Duration
	// news is closed when this is no longer the role.
	news chan struct{}
}

// become changes the role.
func (s *Service) become(change func(*role)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.role.Load()
	next := &role{term: before.term, leader: before.leader, since: before.since, news: make(chan struct{})}
	change(next)
	if next.term != before.term || next.leader != before.leader {
		next.since = s.cfg.Steady.Now()
	}
	s.role.Store(next)
	if next.term != before.term {
		s.observeTerm(next.term)
	}
	close(before.news)
}

// New serves a store. With Config.Store it loads it and writes the first mark
// (S10): when it returns, the service may promise. With Config.Cluster it
// returns at once, and the replica leads or follows as the election has it.
//
// An error says in one sentence why the store cannot be served, and what to do.
func New(ctx context.Context, cfg Config) (*Service, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, log: cfg.Logger, turns: newTurns(), watches: shares{most: maxWatchesPerAddress}, closing: make(chan struct{}), failed: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.role.Store(&role{since: cfg.Steady.Now(), news: make(chan struct{})})
	s.metrics = newMetrics(s)
	if cfg.Cluster != nil {
		s.spawn(s.watchLeader)
		s.spawn(s.lead)
		return s, nil
	}
	t := newTerm(s, cfg.Store)
	if err := t.begin(ctx); err != nil {
		return nil, err
	}
	s.failed = t.over
	s.become(func(r *role) { r.term = t })
	return s, nil
}

// spawn runs a task that Close waits for, unless Close was called.
func (s *Service) spawn(f func()) bool {
	if !s.beginTask() {
		return false
	}
	s.cfg.Runner.Go(func() {
		defer s.tasks.Done()
		f()
	})
	return true
}

// beginTask counts a task as under way, unless Close was called: nobody reaches
// for a store that is about to be closed.
func (s *Service) beginTask() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.tasks.Add(1)
	}
	return !s.closed
}

// now reads both clocks.
func (s *Service) now() fencing.Now {
	return fencing.Now{Steady: s.cfg.Steady.Now(), Wall: snowflake.Millis(s.cfg.Clock.Now().UnixMilli())}
}

// Failed is closed when the only store has failed. The process should then exit
// with Err. With a Cluster it never is: another term comes.
func (s *Service) Failed() <-chan struct{} { return s.failed }

// Err is why the store failed, once Failed is closed.
func (s *Service) Err() error {
	if t := s.role.Load().term; t != nil {
		return t.cause()
	}
	return nil
}

// StopRequests ends streams and waits, and refuses new requests: the first
// half of Close. A replica that leads lets another lead at once.
func (s *Service) StopRequests() {
	s.closeOnce.Do(func() {
		close(s.closing)
		s.cancel()
	})
}

// Close stops the service and returns when no commit is under way, and none
// will be.
func (s *Service) Close() {
	s.StopRequests()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.tasks.Wait()
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

// Unopened says which pools grant nothing yet, and in how long they will if
// the service runs on (S7). A replica that doesn't lead knows of none.
func (s *Service) Unopened() map[fencing.PoolName]time.Duration {
	if t := s.role.Load().term; t != nil {
		return t.unopened()
	}
	return nil
}
