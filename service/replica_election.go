package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store"
)

const (
	// termPause is how long a replica that is elected waits after a term that failed,
	// or did not start, before the next. The pause doubles each time, up to
	// termPauseMax.
	termPause    = 50 * time.Millisecond
	termPauseMax = time.Second
	// termTries is how many terms may fail in a row before it lets others lead.
	termTries = 4
	// campaignPause is how long it then does not stand for election, and
	// refusedPause how long if the rules refuse the store as this replica sees it.
	campaignPause = time.Second
	refusedPause  = 5 * time.Second
	// stopGrace is how long requests in flight may take to end when the service
	// stops, and resignTime how long resigning may take.
	stopGrace  = 100 * time.Millisecond
	resignTime = 2 * time.Second
	// idleTimeout is how long a replica that was elected may make no progress before
	// it resigns: longer than any single step takes.
	idleTimeout = 30 * time.Second
)

// Why a term ended, if no write failed.
var (
	errStopped    = errors.New("the service stops")
	errNotElected = errors.New("the election may have chosen another replica")
)

// lead stands for election and leads while it is elected, until the service stops.
// The election only decides who tries to lead: that no two replicas promise at once
// rests on the term record and the mark alone (S10).
func (s *Service) lead() {
	for !s.stopping() {
		leadership, err := s.cfg.Cluster.Campaign(s.ctx)
		if err != nil {
			s.warnUnlessStopping(
				"this replica can't stand for election: look at the connection to the store", err)
			s.pause(campaignPause)
			continue
		}
		pause := s.serve(leadership)
		s.resign(leadership)
		s.pause(pause)
	}
}

func (s *Service) warnUnlessStopping(msg string, err error) {
	if !s.stopping() {
		s.log.Warn(msg, "error", err)
	}
}

// serve leads by one term after the other while this replica is elected. It returns
// for how long not to stand for election again.
func (s *Service) serve(l store.Leadership) (pause time.Duration) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	s.whileElected(ctx, l, cancel)
	won := s.cfg.Steady.Now()
	for tries := 0; elected(l) && !s.stopping(); {
		s.steps.Add(1)
		t, err := s.takeOver(ctx, l)
		if err == nil {
			s.metrics.took.Observe((s.cfg.Steady.Now() - won).Seconds())
			started := s.cfg.Steady.Now()
			err = s.leadBy(t, l)
			won = s.cfg.Steady.Now()
			if won-started > termPauseMax {
				tries = 0
			}
		}
		var refused *refusedStart
		switch {
		case errors.Is(err, errStopped), errors.Is(err, errNotElected):
		case errors.Is(err, store.ErrDeposed):
			s.log.Warn("another replica's term has started, so this replica does not lead any more")
			return 0
		case errors.As(err, &refused):
			s.log.Error("this replica can't lead, and lets others try", "error", err,
				"again_in", refusedPause)
			return refusedPause
		default:
			s.warnUnlessStopping(
				"a term has ended or could not start; what it knew is dropped, and another term is tried", err)
			if tries++; tries >= termTries {
				return campaignPause
			}
			s.pause(min(termPause<<(tries-1), termPauseMax))
		}
	}
	return 0
}

// whileElected ends a context when this replica is no longer elected. It resigns if
// the replica makes no progress.
func (s *Service) whileElected(ctx context.Context, l store.Leadership, cancel context.CancelFunc) {
	s.spawn(func() {
		idle := s.untilIdle(ctx, l)
		cancel()
		if idle {
			s.resign(l)
			s.log.Error(
				"this replica was elected and made no progress, so it lets others lead: find out what holds it up, and restart it",
				"for", idleTimeout)
		}
	})
}

// untilIdle waits for the end of a leadership, or of a context. It returns true if for
// idleTimeout this replica neither led nor made progress with a takeover: what holds
// it up would keep all others from leading, too, as long as its session is kept alive.
func (s *Service) untilIdle(ctx context.Context, l store.Leadership) bool {
	since, seen := s.cfg.Steady.Now(), s.progress()
	for elected(l) && ctx.Err() == nil {
		r := s.state.Load()
		if r.term != nil {
			s.cfg.Runner.Wait(nil, l.Lost(), ctx.Done(), r.news)
			since = s.cfg.Steady.Now()
			continue
		}
		timer := s.cfg.Clock.NewTimer(idleTimeout)
		s.cfg.Runner.Wait(timer.Chan(), l.Lost(), ctx.Done(), r.news)
		timer.Stop()
		switch now, p := s.cfg.Steady.Now(), s.progress(); {
		case p != seen:
			since, seen = now, p
		case now-since >= idleTimeout && elected(l) && ctx.Err() == nil &&
			s.state.Load().term == nil:
			return true
		}
	}
	return false
}

// progress rises with each step of a takeover.
func (s *Service) progress() uint64 {
	steps := s.steps.Load()
	if s.cfg.RoundTrips != nil {
		steps += s.cfg.RoundTrips.good.Load()
	}
	return steps
}

// elected reports whether a leadership is not lost.
func elected(l store.Leadership) bool { return !isClosed(l.Lost()) }

// takeOver starts a term. It creates the store if there is none.
func (s *Service) takeOver(ctx context.Context, l store.Leadership) (*term, error) {
	st, err := l.TakeOver(ctx)
	if err != nil {
		return nil, unlessServable(fmt.Errorf("taking over: %w", err))
	}
	s.steps.Add(1)
	t := newTerm(s.base, st)
	err = t.start(ctx)
	if errors.Is(err, store.ErrNoStore) {
		if err = s.create(ctx, st); err == nil {
			err = t.start(ctx)
		}
	}
	if err != nil {
		t.stop()
		return nil, unlessServable(err)
	}
	s.metrics.takeovers.Inc()
	return t, nil
}

// unlessServable marks the errors of a store that must not be served, as opposed to
// one that can't be served now.
func unlessServable(err error) error {
	for _, not := range []error{store.ErrDamaged, store.ErrNewerFormat, store.ErrUnfinished,
		store.ErrNotEmpty} {
		if errors.Is(err, not) {
			return &refusedStart{err}
		}
	}
	if errors.As(err, new(*store.MovedError)) {
		return &refusedStart{err}
	}
	return err
}

// create creates the store: a suspicious one, since nobody knows whether there was
// one before (S7).
func (s *Service) create(ctx context.Context, st store.Term) error {
	p := s.cfg.DefaultPool.New(fencing.DefaultPool)
	if r := p.ValidTTL(fencing.ShortestTTL(s.cfg.Cluster.SessionTTL())); r != nil {
		return &refusedStart{r}
	}
	if r := s.cfg.DefaultPool.Confirmed.ValidNew(p); r != nil {
		return &refusedStart{r}
	}
	batch, err := fencing.NewStore(s.now().Wall, s.cfg.Stride, false, p)
	if err != nil {
		return &refusedStart{err}
	}
	if _, err := io.ReadFull(s.cfg.Random, batch.Meta.ID[:]); err != nil {
		return fmt.Errorf("the store can't be given an ID without random bits: %w", err)
	}
	if err := st.Create(ctx, batch); err != nil && !errors.Is(err, store.ErrExists) {
		return fmt.Errorf("creating the store: %w", err)
	}
	s.log.Warn(
		"there was no store, so one was created: its pools grant nothing until everyone who could hold a node ID from an earlier one has lost it (S7)")
	return nil
}

// leadBy answers requests by a term until the term ends, this replica is no longer
// elected, or the service stops. It returns why.
func (s *Service) leadBy(t *term, l store.Leadership) error {
	s.change(func(r *replicaState) { r.term = t })
	s.log.Info("this replica leads") // S14: it already does, however long the log takes
	t.logUnopened()
	s.cfg.Runner.Wait(nil, t.done, l.Lost(), s.closing)
	if s.stopping() {
		// Requests in flight may end; no more arrive. After that the term promises
		// nothing, whoever is elected next, and when.
		timer := s.cfg.Clock.NewTimer(stopGrace)
		s.cfg.Runner.Wait(timer.Chan(), t.work.drained(), t.done, nil)
		timer.Stop()
		t.end(errStopped)
	} else {
		t.end(errNotElected) // it may have ended already
	}
	s.change(func(r *replicaState) { r.term = nil })
	return t.cause()
}

// resign lets others lead. It gives up after resignTime: a replica that can't reach the
// cluster can't resign, and need not.
func (s *Service) resign(l store.Leadership) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan struct{})
	s.cfg.Runner.Go(func() {
		defer close(done)
		if err := l.Resign(ctx); err != nil {
			s.log.Warn("this replica could not resign; the others wait for its session to expire",
				"error", err)
		}
	})
	timer := s.cfg.Clock.NewTimer(resignTime)
	defer timer.Stop()
	s.cfg.Runner.Wait(timer.Chan(), done, nil, nil)
	cancel()
	s.cfg.Runner.Wait(nil, done, nil, nil)
}

// followLeader follows whoever leads, until the service stops.
func (s *Service) followLeader() {
	for !s.stopping() {
		m, news := s.cfg.Cluster.Leader()
		s.follow(m)
		s.cfg.Runner.Wait(nil, news, s.closing, nil)
	}
	s.unfollow()
}

// follow makes a member the replica that requests are forwarded to.
func (s *Service) follow(m store.Member) {
	old := s.state.Load().leader
	if old != nil && old.member == m {
		return
	}
	var p *peer
	switch self := s.cfg.Cluster.Self(); {
	case m == (store.Member{}), m.ID == self.ID:
	case sameAddress(m.Address, self.Address):
		// After a crash this is the replica's own previous process, until its session
		// has ended.
		s.log.Warn(
			"the replica that leads advertises the same address as this one, so requests can't be forwarded to it: if this lasts for longer than a session after a restart, give each replica an address of its own to advertise",
			"address", m.Address, "leader", m.ID, "this", self.ID)
	default:
		p = newPeer(s.base, m, s.wakeWaiting)
		s.log.Info("this replica follows", "leader", m.Address)
	}
	s.change(func(r *replicaState) { r.leader = p })
	if old != nil {
		old.close()
	}
}

// unfollow gives the calls in flight stopGrace to end.
func (s *Service) unfollow() {
	p := s.state.Load().leader
	if p == nil {
		return
	}
	timer := s.cfg.Clock.NewTimer(stopGrace)
	defer timer.Stop()
	s.cfg.Runner.Wait(timer.Chan(), p.work.drained(), nil, nil)
	s.change(func(r *replicaState) { r.leader = nil })
	p.close()
}
