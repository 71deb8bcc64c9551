package service

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

const (
	// probePause is about how long the replica waits before it probes a leader that
	// could not be reached or said that it doesn't lead. The pause doubles each time,
	// up to probePauseMax.
	probePause    = 50 * time.Millisecond
	probePauseMax = time.Second
	// probeTime is how long a probe's answer may take: longer than the leader waits
	// for its store, since a leader whose store is slow does lead.
	probeTime = storeTimeout + time.Second
	// doubtQuiet is how long a doubt lasts before it is logged, since every takeover
	// begins with one, and doubtAgain the least time between two such lines.
	doubtQuiet = time.Second
	doubtAgain = time.Minute
)

// doubt is what a replica remembers of a leader that could not be reached, or said
// that it doesn't lead. While it lasts no request is forwarded: one probe finds out
// for all requests when it ends.
type doubt struct {
	mu    sync.Mutex
	cause error         // nil: there is no doubt
	since time.Duration // steady: when it started
	told  time.Duration // steady: when it was last logged; 0: it was not
	// proved is when, by the steady clock, the leader last answered as one.
	proved time.Duration
	// late: it has lasted so long that the replica is not ready.
	late bool
	// started is closed when a doubt starts, and replaced when it ends.
	started chan struct{}
}

// doubted returns for how long the leader has been in doubt, and why; nil: it is
// not.
func (p *peer) doubted() (lasted time.Duration, cause error) {
	d := &p.doubt
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cause == nil {
		return 0, nil
	}
	return p.s.cfg.Steady.Now() - d.since, d.cause
}

// lost reports whether the leader has been in doubt for longer than a session
// lasts: it leads no more, or can't be reached from here.
func (p *peer) lost() bool {
	lasted, cause := p.doubted()
	return cause != nil && lasted > p.s.cfg.Cluster.SessionTTL()
}

// judge learns from the outcome of a call to the leader.
func (p *peer) judge(err error) {
	switch {
	case err == nil:
		p.prove()
	case errors.Is(err, errNoAnswer): // the next probe finds out
	case errors.As(err, new(*unreachable)):
		p.suspect(err)
	case errors.As(err, new(*connect.Error)):
		switch reasonOf(err) {
		case reasonNotLeader, reasonStopping:
			p.suspect(err)
		case reasonWrongStore: // see noticeOtherStore
		default:
			p.prove()
		}
	}
}

// prove ends the doubt, also that another store answers: the leader has answered as
// one.
func (p *peer) prove() {
	d := &p.doubt
	d.mu.Lock()
	d.proved = p.s.cfg.Steady.Now()
	ended := p.otherStore.Swap(false)
	if d.cause != nil {
		ended = true
		d.cause, d.told, d.late = nil, 0, false
		d.started = make(chan struct{})
	}
	d.mu.Unlock()
	if ended {
		p.wakeWaiting()
	}
}

// suspect starts a doubt, or notes the newest cause of one that lasts.
func (p *peer) suspect(cause error) {
	d := &p.doubt
	d.mu.Lock()
	now := p.s.cfg.Steady.Now()
	if d.cause == nil {
		d.since = now
		close(d.started)
	}
	d.cause = cause
	log := now-d.since >= doubtQuiet && (d.told == 0 || now-d.told >= doubtAgain)
	if log {
		d.told = now
	}
	late := !d.late && now-d.since > p.s.cfg.Cluster.SessionTTL()
	d.late = d.late || late
	d.mu.Unlock()
	if log {
		p.s.log.Warn(
			"requests can't be forwarded to the replica that leads: check that the address which it advertises can be reached from here, and that it has a majority of the store's members",
			"leader", p.member.Address, "error", cause)
	}
	if late {
		p.wakeWaiting() // the replica is no longer ready
	}
}

// probe finds out whether the leader leads and can be reached: while it is in doubt
// or of another store, and when nothing was forwarded for half of a session's TTL.
func (p *peer) probe() {
	s := p.s
	for pause := time.Duration(0); !p.gone(); {
		p.doubt.mu.Lock()
		started, cause, proved := p.doubt.started, p.doubt.cause, p.doubt.proved
		p.doubt.mu.Unlock()
		if cause == nil && !p.otherStore.Load() {
			pause = 0
			idle := s.cfg.Cluster.SessionTTL() / 2
			if remaining := proved + idle - s.cfg.Steady.Now(); remaining > 0 {
				p.rest(remaining, started)
				continue
			}
		} else {
			pause = min(max(2*pause, probePause), probePauseMax)
			p.rest(pause/2+time.Duration(p.s.jitter(uint64(pause/2))), nil)
		}
		if !p.gone() {
			p.judge(p.ask())
		}
	}
}

// rest waits for some time, until woken, or until the peer is closed.
func (p *peer) rest(d time.Duration, woken <-chan struct{}) {
	timer := p.s.cfg.Clock.NewTimer(max(d, time.Millisecond))
	defer timer.Stop()
	p.s.cfg.Runner.Wait(timer.Chan(), woken, p.closed, p.s.closing)
}

// gone reports whether the peer is closed or the service stops.
func (p *peer) gone() bool { return isClosed(p.closed) || p.s.stopping() }

// ask asks the leader for something that it can answer at once.
func (p *peer) ask() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var err error
	done := make(chan struct{})
	p.s.cfg.Runner.Go(func() {
		defer close(done)
		_, err = p.leaderPool(ctx, &cirrusv1.GetPoolRequest{Name: string(fencing.DefaultPool)})
	})
	timer := p.s.cfg.Clock.NewTimer(probeTime)
	defer timer.Stop()
	p.s.cfg.Runner.Wait(timer.Chan(), done, p.closed, nil)
	if !isClosed(done) {
		cancel()
		p.s.cfg.Runner.Wait(nil, done, nil, nil)
		err = fmt.Errorf("no answer within %v", probeTime)
	}
	var e *connect.Error
	switch {
	case err == nil:
		return nil
	case p.gone():
		return nil // nobody needs the answer
	case connect.IsWireError(err) && errors.As(err, &e):
		p.noticeOtherStore(e)
		return copied(e)
	}
	return &unreachable{cause: err}
}
