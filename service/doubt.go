package service

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

const (
	// probePause is about how long the leader is left alone after it could not be
	// reached or said that it doesn't lead; twice as long each time, up to
	// probePauseMax.
	probePause    = 50 * time.Millisecond
	probePauseMax = time.Second
	// probeTime is how long a probe's answer may take: longer than the leader waits
	// for its store, since one whose store is slow does lead.
	probeTime = writePatience + time.Second
	// doubtQuiet is how long a doubt lasts before anybody is told, since every
	// takeover begins with one, and doubtAgain how often it is told then.
	doubtQuiet = time.Second
	doubtAgain = time.Minute
)

// doubt is what a replica remembers of a leader that could not be reached, or
// said that it doesn't lead. While it lasts no request is passed on: one probe
// finds out for all that wait when it is over.
type doubt struct {
	mu    sync.Mutex
	cause error         // nil: there is no doubt
	since time.Duration // steady: when it began
	told  time.Duration // steady: when it was told last; 0: it was not
	// proved is when, by the steady clock, the leader last answered as one.
	proved time.Duration
	// late: the replica counts as not ready for it.
	late bool
	// begun is closed when a doubt begins, and replaced when it ends.
	begun chan struct{}
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

// judge takes what a call to the leader came to.
func (p *peer) judge(err error) {
	switch {
	case err == nil:
		p.prove()
	case errors.Is(err, errNoAnswer): // a probe finds out
	case errors.As(err, new(*unreachable)):
		p.suspect(err)
	case errors.As(err, new(*connect.Error)):
		switch reasonOf(err) {
		case reasonNotLeader, reasonStopping:
			p.suspect(err)
		case reasonWrongStore: // which is told apart
		default:
			p.prove()
		}
	}
}

// prove ends the doubt, or that it was of another store: the leader has answered
// as one.
func (p *peer) prove() {
	d := &p.doubt
	d.mu.Lock()
	d.proved = p.s.cfg.Steady.Now()
	over := p.wrong.Swap(false)
	if d.cause != nil {
		over = true
		d.cause, d.told, d.late = nil, 0, false
		d.begun = make(chan struct{})
	}
	d.mu.Unlock()
	if over {
		p.s.become(func(*role) {}) // wakes those who wait
	}
}

// suspect begins a doubt, or takes note of the newest cause of one that lasts.
func (p *peer) suspect(cause error) {
	d := &p.doubt
	d.mu.Lock()
	now := p.s.cfg.Steady.Now()
	if d.cause == nil {
		d.since = now
		close(d.begun)
	}
	d.cause = cause
	tell := now-d.since >= doubtQuiet && (d.told == 0 || now-d.told >= doubtAgain)
	if tell {
		d.told = now
	}
	late := !d.late && now-d.since > p.s.cfg.Cluster.SessionTTL()
	d.late = d.late || late
	d.mu.Unlock()
	if tell {
		p.s.log.Warn("requests can't be passed on to the replica that leads: check that the address which it advertises can be reached from here, and that it has a majority of the store's members",
			"leader", p.member.Address, "error", cause)
	}
	if late {
		p.s.become(func(*role) {}) // no longer ready
	}
}

// probe finds out whether the leader leads and can be reached: while it is in
// doubt, or of another store, and where nothing else was passed on for half of a session's TTL.
func (p *peer) probe() {
	s := p.s
	for pause := time.Duration(0); !p.hasLeft(); {
		p.doubt.mu.Lock()
		begun, cause, proved := p.doubt.begun, p.doubt.cause, p.doubt.proved
		p.doubt.mu.Unlock()
		if cause == nil && !p.wrong.Load() {
			pause = 0
			idle := s.cfg.Cluster.SessionTTL() / 2
			if left := proved + idle - s.cfg.Steady.Now(); left > 0 {
				p.rest(left, begun)
				continue
			}
		} else {
			pause = min(max(2*pause, probePause), probePauseMax)
			p.rest(pause/2+time.Duration(p.s.jitter(uint64(pause/2))), nil)
		}
		if !p.hasLeft() {
			p.judge(p.ask())
		}
	}
}

// rest waits for some time, until woken, or until the peer is left.
func (p *peer) rest(d time.Duration, woken <-chan struct{}) {
	timer := p.s.cfg.Clock.NewTimer(max(d, time.Millisecond))
	defer timer.Stop()
	p.s.cfg.Runner.Wait(timer.Chan(), woken, p.ended, p.s.closing)
}

func (p *peer) hasLeft() bool {
	select {
	case <-p.ended:
		return true
	case <-p.s.closing:
		return true
	default:
		return false
	}
}

// ask asks the leader for what it can say at once.
func (p *peer) ask() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var err error
	done := make(chan struct{})
	p.s.cfg.Runner.Go(func() {
		defer close(done)
		_, err = p.admin.GetPool(ctx, &cirrusv1.GetPoolRequest{Name: string(fencing.DefaultPool)})
	})
	timer := p.s.cfg.Clock.NewTimer(probeTime)
	defer timer.Stop()
	p.s.cfg.Runner.Wait(timer.Chan(), done, p.ended, nil)
	select {
	case <-done:
	default:
		cancel()
		p.s.cfg.Runner.Wait(nil, done, nil, nil)
		err = fmt.Errorf("no answer within %v", probeTime)
	}
	var e *connect.Error
	switch {
	case err == nil:
		return nil
	case p.hasLeft():
		return nil // it is asked no more
	case connect.IsWireError(err) && errors.As(err, &e):
		p.tellWrongStore(e)
		return copied(e)
	}
	return &unreachable{cause: err}
}

// jitter draws a number below n; for pauses alone.
func (s *Service) jitter(n uint64) uint64 {
	var random [8]byte
	if _, err := io.ReadFull(s.cfg.Random, random[:]); err != nil || n == 0 {
		return 0
	}
	return binary.BigEndian.Uint64(random[:]) % n
}
