package service

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cirrus-id/cirrus/fencing"
)

// Service is one replica for the life of its process. It holds what outlives a
// term, and routes each request to whoever can answer it. All knowledge of leases
// belongs to a term and is dropped with it (S9, S10).
type Service struct {
	*base
	// state says who answers requests now.
	state atomic.Pointer[replicaState]
	// mu guards the change of state, and watches.
	mu sync.Mutex
	// watches counts the open streams of Watch by remote address.
	watches shares
	// registry holds the metrics. It is made when somebody first reads them.
	registry func() *prometheus.Registry

	// failed is closed when the only store has failed (S9).
	failed   <-chan struct{}
	stopOnce sync.Once
	// ctx ends when closing is closed. It is for waits in the cluster.
	ctx    context.Context
	cancel context.CancelFunc
}

// replicaState says what a replica is at an instant: it leads, follows a leader,
// or knows of none.
type replicaState struct {
	// term answers requests while this replica leads; nil: it does not lead.
	term *term
	// leader is the replica that leads, if it is known and another one.
	leader *peer
	// since is when, by the steady clock, term or leader last changed.
	since time.Duration
	// news is closed when another state follows, or the leader's state is to be
	// looked at again.
	news chan struct{}
}

// change changes the state, and wakes those who wait for news of it.
func (s *Service) change(edit func(*replicaState)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.state.Load()
	next := &replicaState{term: before.term, leader: before.leader, since: before.since,
		news: make(chan struct{})}
	edit(next)
	if next.term != before.term || next.leader != before.leader {
		next.since = s.cfg.Steady.Now()
	}
	s.state.Store(next)
	if next.term != before.term {
		s.observeTerm(next.term)
	}
	close(before.news)
}

// wakeWaiting wakes those who wait for news of the state, without changing it.
func (s *Service) wakeWaiting() { s.change(func(*replicaState) {}) }

// New serves a store. With Config.Store it loads it and writes the first mark
// (S10): when New returns, the service may promise. With Config.Cluster New
// returns at once, and the election decides whether the replica leads or follows.
//
// An error says in one sentence why the store cannot be served, and what to do.
func New(ctx context.Context, cfg Config) (*Service, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Service{base: newBase(cfg), watches: shares{most: maxWatchesPerAddress}}
	s.registry = sync.OnceValue(s.register)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.state.Store(&replicaState{since: cfg.Steady.Now(), news: make(chan struct{})})
	if cfg.Cluster != nil {
		s.spawn(s.followLeader)
		s.spawn(s.lead)
		return s, nil
	}
	t := newTerm(s.base, cfg.Store)
	if err := t.start(ctx); err != nil {
		return nil, err
	}
	s.failed = t.done
	s.change(func(r *replicaState) { r.term = t })
	return s, nil
}

// Failed is closed when the only store has failed. The process should then exit
// with Err. With a Cluster it is never closed: another term follows.
func (s *Service) Failed() <-chan struct{} { return s.failed }

// Err returns why the store failed, once Failed is closed.
func (s *Service) Err() error {
	if t := s.state.Load().term; t != nil {
		return t.cause()
	}
	return nil
}

// StopRequests ends streams and waits, and refuses new requests: the first
// half of Close. A replica that leads resigns, so that another one can lead.
func (s *Service) StopRequests() {
	s.stopOnce.Do(func() {
		close(s.closing)
		s.cancel()
	})
}

// Close stops the service and returns when no commit is in flight, and none
// will be.
func (s *Service) Close() {
	s.StopRequests()
	s.base.mu.Lock()
	s.closed = true
	s.base.mu.Unlock()
	s.tasks.Wait()
}

// Unopened returns which pools grant nothing yet, and how long the service has to
// run on until they do (S7). A replica that doesn't lead knows of none.
func (s *Service) Unopened() map[fencing.PoolName]time.Duration {
	if t := s.state.Load().term; t != nil {
		return t.unopened()
	}
	return nil
}

// observeTerm tells the observer which term answers requests from now on; nil:
// none does.
func (s *Service) observeTerm(t *term) {
	switch told := s.cfg.Observer.Term; {
	case told == nil:
	case t == nil:
		told(nil)
	default:
		told(&ObservedTerm{t.core, &t.mu})
	}
}
