package service

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

const (
	// gatherTime is how long a heartbeat waits for company, unless the one
	// before waited in vain. It goes then, or, if a call to the leader is in
	// flight, when that ends.
	gatherTime = time.Millisecond
	// gatherLong is when it goes at the latest: a call that takes long, say
	// because one of its heartbeats waits for a write, holds up no others.
	gatherLong = 10 * time.Millisecond
)

// gatherer makes batches of the heartbeats that a replica passes on: a batch
// costs the leader little more than a call.
type gatherer struct {
	p  *peer
	mu sync.Mutex
	// waiting are those of the next call, the batch of this number.
	waiting []*beat
	batch   int
	// collecting: somebody will see to it that they go; ripe: they have waited
	// for gatherTime.
	collecting, ripe bool
	// alone: the last heartbeat had no company, so the next expects none.
	alone bool
	// calls are in flight.
	calls int
}

// beat is a heartbeat on its way in a batch.
type beat struct {
	req  *cirrusv1.HeartbeatRequest
	done chan struct{}
	resp *cirrusv1.HeartbeatResponse
	err  error
}

// heartbeat passes a heartbeat on, in company if there is some.
func (p *peer) heartbeat(ctx context.Context, req *cirrusv1.HeartbeatRequest) (*cirrusv1.HeartbeatResponse, error) {
	// What is malformed goes no further.
	if _, r := leaseRef(req.GetPool(), req.GetNodeId(), req.GetEpoch(), req.GetInstanceId()); r != nil {
		return nil, p.s.refusal(r)
	}
	b := &beat{req: req, done: make(chan struct{})}
	if !p.beats.add(b) {
		return nil, errStopping
	}
	p.s.cfg.Runner.Wait(nil, b.done, ctx.Done(), nil)
	select {
	case <-b.done:
		return b.resp, p.sign(ctx, b.err)
	default:
		return nil, ctx.Err() // the others go on
	}
}

// add lets a heartbeat wait for the next call, and sees to it that there is one.
func (g *gatherer) add(b *beat) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.p.s
	started := true
	switch {
	case (len(g.waiting)+1)%MaxBatch == 0: // it is full
		started = s.spawn(func() { g.send(g.take()) })
	case !g.collecting:
		batch, alone := g.batch, g.alone
		started = s.spawn(func() { g.collect(batch, alone) })
		g.collecting = started
	}
	if started {
		g.waiting = append(g.waiting, b)
	}
	return started
}

// collect gives others the time to join a batch, unless the one that begins it
// is alone once more, and then sends it, if no call that ended has taken it
// along.
func (g *gatherer) collect(batch int, alone bool) {
	if !alone {
		g.p.s.pause(gatherTime)
	}
	if g.ripen(batch) {
		g.p.s.pause(gatherLong - gatherTime)
		g.send(g.takeIf(batch))
	}
}

// ripen lets a batch go when no call is in flight; true: one is.
func (g *gatherer) ripen(batch int) bool {
	g.mu.Lock()
	if g.batch != batch {
		g.mu.Unlock()
		return false
	}
	g.ripe = true
	if g.calls > 0 {
		g.mu.Unlock()
		return true
	}
	beats := g.takeLocked()
	g.alone = len(beats) == 1
	g.mu.Unlock()
	g.send(beats)
	return false
}

// send sends a batch, and then those that have become ripe meanwhile.
func (g *gatherer) send(beats []*beat) {
	for len(beats) > 0 {
		g.call(beats)
		beats = g.next()
	}
}

// next is what the end of a call takes along.
func (g *gatherer) next() []*beat {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls--
	if !g.ripe {
		return nil
	}
	return g.takeLocked()
}

func (g *gatherer) take() []*beat {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.takeLocked()
}

func (g *gatherer) takeIf(batch int) []*beat {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.batch != batch {
		return nil
	}
	return g.takeLocked()
}

// takeLocked takes the next batch, which counts as in flight then. Those that
// it has no room for go when it is answered.
func (g *gatherer) takeLocked() []*beat {
	n := min(len(g.waiting), MaxBatch)
	beats := g.waiting[:n:n]
	g.waiting = g.waiting[n:]
	g.batch++
	g.collecting, g.ripe = false, len(g.waiting) > 0
	g.alone = false
	if n > 0 {
		g.calls++
	}
	return beats
}

// call sends a batch and hands out the answers.
func (g *gatherer) call(beats []*beat) {
	p := g.p
	p.s.metrics.gathered.Observe(float64(len(beats)))
	req := &cirrusv1.HeartbeatBatchRequest{Heartbeats: make([]*cirrusv1.HeartbeatRequest, len(beats))}
	for i, b := range beats {
		req.Heartbeats[i] = b.req
	}
	resp, err := passQuietly(context.Background(), p, cirrusv1connect.LeaseServiceHeartbeatBatchProcedure, req, p.leases.HeartbeatBatch)
	if err == nil && len(resp.Results) != len(beats) {
		err = &unreachable{cause: errors.New("the leader answered another number of heartbeats than it was sent")}
	}
	for i, b := range beats {
		switch {
		case err != nil:
			b.err = copyOf(err)
		case resp.Results[i].GetError() != nil:
			b.err = single(resp.Results[i].GetError())
		default:
			b.resp = &cirrusv1.HeartbeatResponse{Lease: resp.Results[i].GetLease()}
		}
		close(b.done)
	}
}

// copyOf gives each of a batch an error of its own, which it may sign.
func copyOf(err error) error {
	if e, ok := err.(*connect.Error); ok { //nolint:errorlint // the leader's answer itself, not what an error of the way wraps
		return copied(e)
	}
	return err
}

// single is a batch's error as the heartbeat would have got it alone.
func single(e *cirrusv1.HeartbeatError) error {
	r := &fencing.Refusal{Reason: fencing.Reason(e.Reason), Message: e.Message}
	if _, known := codes[r.Reason]; !known {
		return connect.NewError(codeNamed(e.Code), errors.New(e.Message))
	}
	switch r.Reason {
	case fencing.ReasonInvalid:
		r.Field, _, _ = strings.Cut(e.Message, ":") // as every such sentence begins
	case reasonStoreSlow, reasonNotConfirmed:
		r.RetryAfter = time.Second
	}
	return wireRefusal(r)
}

// codeNamed reads a code's name.
func codeNamed(name string) connect.Code {
	var c connect.Code
	if c.UnmarshalText([]byte(name)) != nil {
		return connect.CodeUnknown
	}
	return c
}
