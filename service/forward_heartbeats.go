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
)

const (
	// gatherTime is how long a heartbeat waits for more, unless the last batch had
	// one heartbeat. Then the batch is sent or, if a call to the leader is in
	// flight, when that ends.
	gatherTime = time.Millisecond
	// gatherLong is the longest that a heartbeat waits: a call that takes long, say
	// because one of its heartbeats waits for a write, holds up no others.
	gatherLong = 10 * time.Millisecond
)

// gatherer joins the heartbeats that a replica forwards into batches: a batch costs
// the leader little more than a call. Unlike in a gather.Queue, time sends a batch
// as well as the end of the one before, and several may be in flight: so it has a
// state of its own.
//
// Its invariants:
//   - A heartbeat is in exactly one batch, and batches follow the order of arrival.
//   - A batch has at most MaxBatch heartbeats.
//   - While heartbeats wait, something will send them: a goroutine in collect
//     (collecting), or the end of a call in flight (due and calls > 0).
type gatherer struct {
	p  *peer
	mu sync.Mutex
	// waiting are the heartbeats of the next batch, whose number is batch.
	waiting []*beat
	batch   int
	// collecting: a goroutine in collect will send the next batch. due: the batch
	// has waited for gatherTime, so the end of any call sends it.
	collecting, due bool
	// single: the last batch had one heartbeat, so the next is not waited for.
	single bool
	// calls are in flight.
	calls int
}

// beat is a heartbeat that is forwarded in a batch.
type beat struct {
	req  *cirrusv1.HeartbeatRequest
	done chan struct{}
	resp *cirrusv1.HeartbeatResponse
	err  error
}

// Heartbeat implements answerer: it forwards a heartbeat, in a batch with others that
// arrive at about the same time.
func (p *peer) Heartbeat(ctx context.Context,
	req *cirrusv1.HeartbeatRequest) (*cirrusv1.HeartbeatResponse, error) {
	// The leader would refuse a malformed one with the whole batch.
	if _, r := leaseRef(req.GetPool(), req.GetNodeId(), req.GetEpoch(), req.GetInstanceId()); r != nil {
		return nil, r
	}
	b := &beat{req: req, done: make(chan struct{})}
	if !p.beats.add(b) {
		return nil, errStopping
	}
	p.s.cfg.Runner.Wait(nil, b.done, ctx.Done(), nil)
	if !isClosed(b.done) {
		return nil, ctx.Err() // the others of the batch go on
	}
	return b.resp, b.err
}

// add adds a heartbeat to the next batch, and sees to it that the batch is sent. It
// returns false after Close was called.
func (g *gatherer) add(b *beat) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.p.s
	started := true
	switch {
	case (len(g.waiting)+1)%MaxBatch == 0: // the batch is full
		started = s.spawn(func() { g.send(g.take()) })
	case !g.collecting:
		batch, single := g.batch, g.single
		started = s.spawn(func() { g.collect(batch, single) })
		g.collecting = started
	}
	if started {
		g.waiting = append(g.waiting, b)
	}
	return started
}

// collect waits gatherTime for more heartbeats, then sends the batch, unless the end
// of a call has sent it. It does not wait if the last batch had one heartbeat.
func (g *gatherer) collect(batch int, single bool) {
	if !single {
		g.p.s.pause(gatherTime)
	}
	if g.sendWhenIdle(batch) {
		g.p.s.pause(gatherLong - gatherTime)
		g.send(g.takeIf(batch))
	}
}

// sendWhenIdle sends a batch if no call is in flight. Otherwise it marks the batch as
// due and returns true.
func (g *gatherer) sendWhenIdle(batch int) (later bool) {
	g.mu.Lock()
	if g.batch != batch {
		g.mu.Unlock()
		return false
	}
	g.due = true
	if g.calls > 0 {
		g.mu.Unlock()
		return true
	}
	beats := g.takeLocked()
	g.single = len(beats) == 1
	g.mu.Unlock()
	g.send(beats)
	return false
}

// send sends a batch, and then those that have become due meanwhile.
func (g *gatherer) send(beats []*beat) {
	for len(beats) > 0 {
		g.call(beats)
		beats = g.next()
	}
}

// next ends a call, and returns the batch that is due.
func (g *gatherer) next() []*beat {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls--
	if !g.due {
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

// takeLocked returns the next batch, and counts it as in flight. Heartbeats beyond
// MaxBatch are due: they are sent when a call ends.
func (g *gatherer) takeLocked() []*beat {
	n := min(len(g.waiting), MaxBatch)
	beats := g.waiting[:n:n]
	g.waiting = g.waiting[n:]
	g.batch++
	g.collecting, g.due = false, len(g.waiting) > 0
	g.single = false
	if n > 0 {
		g.calls++
	}
	return beats
}

// call sends a batch and gives each heartbeat its answer.
func (g *gatherer) call(beats []*beat) {
	p := g.p
	p.s.metrics.gathered.Observe(float64(len(beats)))
	req := &cirrusv1.HeartbeatBatchRequest{Heartbeats: make([]*cirrusv1.HeartbeatRequest,
		len(beats))}
	for i, b := range beats {
		req.Heartbeats[i] = b.req
	}
	resp, err := p.HeartbeatBatch(context.Background(), req)
	if err == nil && len(resp.Results) != len(beats) {
		err = &unreachable{cause: errors.New(
			"the leader answered another number of heartbeats than it was sent")}
	}
	for i, b := range beats {
		switch {
		case err != nil:
			b.err = copyOf(err)
		case resp.Results[i].GetError() != nil:
			b.err = singleError(resp.Results[i].GetError())
		default:
			b.resp = &cirrusv1.HeartbeatResponse{Lease: resp.Results[i].GetLease()}
		}
		close(b.done)
	}
}

// copyOf returns a copy of an error for each heartbeat of a batch, since sign changes
// it.
func copyOf(err error) error {
	if e, ok := err.(*connect.Error); ok { //nolint:errorlint // only the leader's answer itself, not what an error of the connection wraps
		return copied(e)
	}
	return err
}

// singleError returns an error of a batch's result as the answer to a single
// heartbeat would have it.
func singleError(e *cirrusv1.HeartbeatError) error {
	r := &fencing.Refusal{Reason: fencing.Reason(e.Reason), Message: e.Message}
	if _, known := codes[r.Reason]; !known {
		return connect.NewError(codeNamed(e.Code), errors.New(e.Message))
	}
	switch r.Reason {
	case fencing.ReasonInvalid:
		r.Field, _, _ = strings.Cut(e.Message, ":") // such a message begins with the field
	case reasonStoreSlow, reasonNotConfirmed:
		r.RetryAfter = time.Second
	}
	return wireRefusal(r)
}

// codeNamed returns the code with a name.
func codeNamed(name string) connect.Code {
	var c connect.Code
	if c.UnmarshalText([]byte(name)) != nil {
		return connect.CodeUnknown
	}
	return c
}
