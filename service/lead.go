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
	// termPause is how long a replica that holds the office waits after a term
	// that failed, or did not begin, before the next; twice as long each time,
	// up to termPauseMax.
	termPause    = 50 * time.Millisecond
	termPauseMax = time.Second
	// termTries is how often it tries in a row before it lets others try.
	termTries = 4
	// campaignPause is how long it then lets them, and refusedPause how long
	// where the rules refuse the store as this replica sees it.
	campaignPause = time.Second
	refusedPause  = 5 * time.Second
	// stopGrace is how long requests under way may take to end when the
	// service stops, and resignTime how long resigning may.
	stopGrace  = 100 * time.Millisecond
	resignTime = 2 * time.Second
	// officePatience is how long a replica that was chosen to lead may get no
	// further before it resigns: longer than any single step takes.
	officePatience = 30 * time.Second
)

// Why a term ends that no write ended.
var (
	errStopped    = errors.New("the service stops")
	errOfficeLost = errors.New("the election may have chosen another replica")
)

// lead campaigns and leads, until the service stops. The election decides who
// tries; that no two replicas promise at once rests on the term record and the
// mark alone (S10).
func (s *Service) lead() {
	for !s.stopping() {
		office, err := s.cfg.Cluster.Campaign(s.ctx)
		if err != nil {
			s.unlessStopping("this replica can't stand for election: look at the connection to the store", err)
			s.pause(campaignPause)
			continue
		}
		pause := s.serve(office)
		s.resign(office)
		s.pause(pause)
	}
}

// pause waits, but not longer than the service goes on.
func (s *Service) pause(d time.Duration) {
	if d > 0 {
		timer := s.cfg.Clock.NewTimer(d)
		defer timer.Stop()
		s.cfg.Runner.Wait(timer.Chan(), s.closing, nil, nil)
	}
}

func (s *Service) unlessStopping(msg string, err error) {
	if !s.stopping() {
		s.log.Warn(msg, "error", err)
	}
}

// serve holds an office: one term after the other, as long as it may. It says
// for how long to let others try.
func (s *Service) serve(o store.Leadership) (pause time.Duration) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	s.whileHeld(ctx, o, cancel)
	won := s.cfg.Steady.Now()
	for tries := 0; held(o) && !s.stopping(); {
		s.steps.Add(1)
		t, err := s.takeOver(ctx, o)
		if err == nil {
			s.metrics.took.Observe((s.cfg.Steady.Now() - won).Seconds())
			begun := s.cfg.Steady.Now()
			err = s.reign(t, o)
			won = s.cfg.Steady.Now()
			if won-begun > termPauseMax {
				tries = 0
			}
		}
		var refused *refusedStart
		switch {
		case errors.Is(err, errStopped), errors.Is(err, errOfficeLost):
		case errors.Is(err, store.ErrDeposed):
			s.log.Warn("another replica's term has begun, so this one leads no more")
			return 0
		case errors.As(err, &refused):
			s.log.Error("this replica won't lead, and lets others try", "error", err, "again_in", refusedPause)
			return refusedPause
		default:
			s.unlessStopping("a term has ended or not begun; what it knew is dropped, and another one is tried", err)
			if tries++; tries >= termTries {
				return campaignPause
			}
			s.pause(min(termPause<<(tries-1), termPauseMax))
		}
	}
	return 0
}

// whileHeld ends a context when the office is lost, or was resigned because
// nothing came of it.
func (s *Service) whileHeld(ctx context.Context, o store.Leadership, cancel context.CancelFunc) {
	s.spawn(func() {
		idle := s.untilIdle(ctx, o)
		cancel()
		if idle {
			s.resign(o)
			s.log.Error("this replica was chosen to lead and did nothing about it, so it lets others: look at what holds it up, and restart it",
				"for", officePatience)
		}
	})
}

// untilIdle waits for the end of an office, or of a context. It says whether the
// office ought to end, since for officePatience this replica neither led nor got
// any further with a takeover: what holds it up would keep all others from
// leading, too, for as long as its session is kept alive.
func (s *Service) untilIdle(ctx context.Context, o store.Leadership) bool {
	since, seen := s.cfg.Steady.Now(), s.progress()
	for held(o) && ctx.Err() == nil {
		r := s.role.Load()
		if r.term != nil {
			s.cfg.Runner.Wait(nil, o.Lost(), ctx.Done(), r.news)
			since = s.cfg.Steady.Now()
			continue
		}
		timer := s.cfg.Clock.NewTimer(officePatience)
		s.cfg.Runner.Wait(timer.Chan(), o.Lost(), ctx.Done(), r.news)
		timer.Stop()
		switch now, p := s.cfg.Steady.Now(), s.progress(); {
		case p != seen:
			since, seen = now, p
		case now-since >= officePatience && held(o) && ctx.Err() == nil && s.role.Load().term == nil:
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

func held(o store.Leadership) bool {
	select {
	case <-o.Lost():
		return false
	default:
		return true
	}
}

// takeOver begins a term, with a store if there is none yet.
func (s *Service) takeOver(ctx context.Context, o store.Leadership) (*term, error) {
	st, err := o.TakeOver(ctx)
	if err != nil {
		return nil, unlessServable(fmt.Errorf("taking over: %w", err))
	}
	s.steps.Add(1)
	t := newTerm(s, st)
	err = t.begin(ctx)
	if errors.Is(err, store.ErrNoStore) {
		if err = s.create(ctx, st); err == nil {
			err = t.begin(ctx)
		}
	}
	if err != nil {
		t.stop()
		return nil, unlessServable(err)
	}
	s.metrics.takeovers.Inc()
	return t, nil
}

// unlessServable tells a store that is not to be served from one that can't be
// just now.
func unlessServable(err error) error {
	for _, not := range []error{store.ErrDamaged, store.ErrNewerFormat, store.ErrUnfinished, store.ErrNotEmpty} {
		if errors.Is(err, not) {
			return &refusedStart{err}
		}
	}
	if errors.As(err, new(*store.MovedError)) {
		return &refusedStart{err}
	}
	return err
}

// create makes the store that is not there: a suspicious one, since nobody
// knows whether there was one before (S7).
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
	s.log.Warn("there was no store, so one was created: its pools grant nothing until everyone who could hold a node ID from an earlier one has lost it (S7)")
	return nil
}

// reign leads by a term until it is over, the office is lost or the service
// stops, and says which.
func (s *Service) reign(t *term, o store.Leadership) error {
	s.become(func(r *role) { r.term = t })
	s.log.Info("this replica leads") // S14: which it does, whoever hears it
	t.tellSuspicion()
	s.cfg.Runner.Wait(nil, t.over, o.Lost(), s.closing)
	if s.stopping() {
		// What is under way may end: no more comes. After that the term
		// promises nothing, whoever is chosen next, and when.
		timer := s.cfg.Clock.NewTimer(stopGrace)
		s.cfg.Runner.Wait(timer.Chan(), t.under.over(), t.over, nil)
		timer.Stop()
		t.end(errStopped)
	} else {
		t.end(errOfficeLost) // unless it is over already
	}
	s.become(func(r *role) { r.term = nil })
	return t.cause()
}

// resign lets others lead. It is tried for a while: who has lost the cluster
// can't, and need not.
func (s *Service) resign(o store.Leadership) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan struct{})
	s.cfg.Runner.Go(func() {
		defer close(done)
		if err := o.Resign(ctx); err != nil {
			s.log.Warn("the office could not be resigned; the others wait for it to lapse", "error", err)
		}
	})
	timer := s.cfg.Clock.NewTimer(resignTime)
	defer timer.Stop()
	s.cfg.Runner.Wait(timer.Chan(), done, nil, nil)
	cancel()
	s.cfg.Runner.Wait(nil, done, nil, nil)
}

// watchLeader follows whoever leads, until the service stops.
func (s *Service) watchLeader() {
	for !s.stopping() {
		m, news := s.cfg.Cluster.Leader()
		s.follow(m)
		s.cfg.Runner.Wait(nil, news, s.closing, nil)
	}
	s.unfollow()
}

// follow makes a member the one that requests are passed on to.
func (s *Service) follow(m store.Member) {
	old := s.role.Load().leader
	if old != nil && old.member == m {
		return
	}
	var p *peer
	switch self := s.cfg.Cluster.Self(); {
	case m == (store.Member{}), m.ID == self.ID:
	case sameAddress(m.Address, self.Address):
		// After a crash that is this replica's own last process, until its session
		// has ended.
		s.log.Warn("the replica that leads advertises the same address as this one, so requests can't be passed on to it: if this goes on after a restart for longer than a session lasts, give each replica an address of its own to advertise",
			"address", m.Address, "leader", m.ID, "this", self.ID)
	default:
		p = newPeer(s, m)
		s.log.Info("this replica follows", "leader", m.Address)
	}
	s.become(func(r *role) { r.leader = p })
	if old != nil {
		old.left()
	}
}

// unfollow lets the calls that are under way end, for a while.
func (s *Service) unfollow() {
	p := s.role.Load().leader
	if p == nil {
		return
	}
	timer := s.cfg.Clock.NewTimer(stopGrace)
	defer timer.Stop()
	s.cfg.Runner.Wait(timer.Chan(), p.under.over(), nil, nil)
	s.become(func(r *role) { r.leader = nil })
	p.left()
}

// tellSuspicion says which pools grant nothing yet, and until when.
func (t *term) tellSuspicion() {
	for name, in := range t.unopened() {
		t.s.log.Warn("the store is new or was recovered, so node IDs may still be held from an earlier one: the pool grants nothing yet",
			"pool", name, "opens_in", in.Round(time.Millisecond))
	}
}
