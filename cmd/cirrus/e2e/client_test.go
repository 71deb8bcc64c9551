//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cirrus-id/cirrus/internal/history"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// callTime bounds a call, in addition to the wait that it asks for.
const callTime = 2 * time.Second

// dial returns clients for the service at a URL, for one of the protocols.
func dial(url string, way int) (cirrusv1connect.LeaseServiceClient,
	cirrusv1connect.AdminServiceClient) {
	w := ways[way%len(ways)]
	return cirrusv1connect.NewLeaseServiceClient(w.http, url, w.opts...),
		cirrusv1connect.NewAdminServiceClient(w.http, url, w.opts...)
}

// The protocols of the service.
const (
	connectProto = iota
	connectJSON
	grpcH2C
)

var ways = []struct {
	http *http.Client
	opts []connect.ClientOption
}{
	connectProto: {http: httpClient(false)},
	connectJSON:  {http: httpClient(false), opts: []connect.ClientOption{connect.WithProtoJSON()}},
	grpcH2C:      {http: httpClient(true), opts: []connect.ClientOption{connect.WithGRPC()}},
}

func httpClient(h2c bool) *http.Client {
	var protocols http.Protocols
	protocols.SetHTTP1(!h2c)
	protocols.SetUnencryptedHTTP2(h2c)
	return &http.Client{Transport: &http.Transport{
		Protocols: &protocols, MaxIdleConnsPerHost: 64,
		// Or a connection that has silently gone takes one call after the other.
		HTTP2: &http.HTTP2Config{SendPingTimeout: callTime, PingTimeout: time.Second},
	}}
}

// replicaClients are clients for the service at one of its addresses.
type replicaClients struct {
	leases cirrusv1connect.LeaseServiceClient
	admin  cirrusv1connect.AdminServiceClient
}

// roamer uses one of the service's addresses until it fails.
type roamer struct {
	replicaClients
	all []replicaClients
	at  int
}

func newRoamer(urls []string, way, first int) *roamer {
	r := &roamer{}
	for _, url := range urls {
		leases, admin := dial(url, way)
		r.all = append(r.all, replicaClients{leases, admin})
	}
	r.at = first % len(r.all)
	r.replicaClients = r.all[r.at]
	return r
}

func (r *roamer) moveOn() {
	r.at = (r.at + 1) % len(r.all)
	r.replicaClients = r.all[r.at]
}

// habits are what a client does when, and how often. Probabilities are per
// bunch of leases for wait, ask and vanish, and per turn of its loop for revoke
// and stall.
type habits struct {
	pools      []string
	try        time.Duration    // how long a call may take, beside what it waits for
	hold       [2]time.Duration // how long it holds a bunch, from and to
	turn       [2]time.Duration // how long a turn of its loop takes
	ask        [2]time.Duration // which TTL it asks for, if it does
	askOften   float64
	waitOften  float64
	vanish     float64 // not to release
	revoke     float64
	stall      float64
	stallTimes float64 // the longest stall, in TTLs
	bunch      float64 // how often it holds more than one
}

// client holds leases for a while, one bunch after the other, by the rules of
// holders: C1 to C7 and G1 to G4. It knows the API alone. What else it does is
// what apps do: it stalls, vanishes, and gives things back or not.
type client struct {
	*observer
	*roamer
	habits
	rng *rand.Rand
	ids []uint64
}

// lease is one lease as its holder knows it.
type lease struct {
	*grant
	ttl      time.Duration
	deadline instant
	ceiling  int64
	layout   *cirrusv1.Layout
	beat     instant // when the next heartbeat is due
	over     bool
	lapsed   instant  // the deadline that was seen to pass
	trouble  []string // what became of the heartbeats since the last good one
	old      *answer  // an answer to be told once more, later (C7)

	// The generator's: server time was base at baseAt (G1); last and sequence
	// are the last ID's, once there is one.
	base     int64
	baseAt   instant
	last     int64
	sequence int64
	minted   bool
}

// answer is a good reply, and when its request was sent and it came.
type answer struct {
	*cirrusv1.Lease
	sent, received instant
}

// run goes on until the context ends.
func (c *client) run(ctx context.Context) {
	for ctx.Err() == nil {
		n := 1
		if c.chance(c.bunch) {
			n = 2 + c.rng.IntN(5)
		}
		var held []*lease
		for range n {
			if l := c.acquire(ctx); l != nil {
				held = append(held, l)
			}
		}
		c.hold(ctx, held, c.within(c.habits.hold))
		for _, l := range held {
			c.end(ctx, l)
		}
	}
}

func (c *client) chance(p float64) bool { return c.rng.Float64() < p }

func (c *client) between(low, high time.Duration) time.Duration {
	return low + draw(c.rng, high-low)
}

func (c *client) within(span [2]time.Duration) time.Duration { return c.between(span[0], span[1]) }

// draw draws a duration below d.
func draw(
	rng *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(rng.Int64N(int64(d)))
}

// nap waits. It sets the pace, and never decides whether something is right.
func nap(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// fresh returns an instance ID of 128 random bits (C1).
func (c *client) fresh() string { return fmt.Sprintf("%016x%016x", c.rng.Uint64(), c.rng.Uint64()) }

// acquire asks for a node ID until it has one. An answer may be lost with the
// lease in it, so the same instance asks again; or gives up, and nobody will
// ever know that lease.
func (c *client) acquire(ctx context.Context) *lease {
	req := &cirrusv1.AcquireRequest{
		Pool:       c.pools[c.rng.IntN(len(c.pools))],
		AppId:      fmt.Sprintf("app-%d", c.rng.IntN(300)),
		InstanceId: c.fresh(),
	}
	wait := time.Duration(0)
	if c.chance(c.waitOften) {
		wait = c.between(100*time.Millisecond, 4*time.Second)
		req.Wait = durationpb.New(wait)
	}
	if c.chance(c.askOften) {
		req.Ttl = durationpb.New(c.within(c.ask).Round(time.Millisecond))
	}
	for asked := now(); ctx.Err() == nil; {
		sent := now()
		var resp *cirrusv1.AcquireResponse
		err := within(ctx, c.try+wait, func(ctx context.Context) (err error) {
			resp, err = c.leases.Acquire(ctx, req)
			return err
		})
		if err == nil {
			a := answer{resp.Lease, sent, now()}
			return c.begin(c.granted(asked, sent, a.received, a.Lease), a)
		}
		c.judge("Acquire", err, connect.CodeResourceExhausted)
		if c.chance(0.03) {
			return nil
		}
		nap(ctx, min(retryAfter(err), 200*time.Millisecond)+c.between(time.Millisecond,
			20*time.Millisecond))
	}
	return nil
}

// begin starts a lease's life, with a generator of its own (G4). If Acquire
// took longer than TTL/3, a heartbeat is due at once (C2), and nothing is
// minted past the deadline in any case.
func (c *client) begin(g *grant, a answer) *lease {
	l := &lease{grant: g, ttl: a.Ttl.AsDuration(), layout: a.Layout, base: a.ServerTimeMs,
		baseAt: a.received}
	l.apply(a)
	if a.received > a.sent.add(l.ttl/3) {
		l.beat = a.received
	}
	return l
}

// apply takes a reply over: forward only, and only of this very lease (C7).
func (l *lease) apply(a answer) {
	if a.Epoch != l.epoch || a.NodeId != l.node || l.over {
		return
	}
	l.deadline = max(l.deadline, a.sent.add(l.ttl)) // C2
	l.ceiling = max(l.ceiling, a.CeilingMs)
	if l.time(a.received) < a.ServerTimeMs { // G1
		l.base, l.baseAt = a.ServerTimeMs, a.received
	}
	l.beat = a.received.add(l.ttl / 3)
	l.trouble = nil
}

// time is the generator's: it knows no wall clock.
func (l *lease) time(at instant) int64 { return l.base + time.Duration(at-l.baseAt).Milliseconds() }

// next is the next ID, if there may be one now (G2, C4).
func (l *lease) next() (id uint64, ok bool) {
	at := now()
	if l.over || at >= l.deadline {
		return 0, false
	}
	ts, seq := max(l.time(at), l.floor), int64(0)
	if l.minted && ts <= l.last {
		if ts, seq = l.last, l.sequence+1; seq >= 1<<l.layout.SequenceBits {
			ts, seq = ts+1, 0 // G3: ahead of its time, as far as the ceiling
		}
	}
	if ts > l.ceiling {
		return 0, false
	}
	l.last, l.sequence, l.minted = ts, seq, true
	id = uint64(ts-l.layout.OriginMs) << (l.layout.NodeBits + l.layout.SequenceBits)
	return id | uint64(l.node)<<l.layout.SequenceBits | uint64(seq), true
}

// hold mints, and keeps the leases alive, for a while.
func (c *client) hold(ctx context.Context, held []*lease, d time.Duration) {
	for until := now().add(d); now() < until && ctx.Err() == nil; {
		for _, l := range held {
			c.mint(l)
			if l.old != nil && c.chance(0.2) {
				l.apply(*l.old) // late and doubled
			}
		}
		for _, l := range held {
			c.lapse(l)
		}
		c.keep(ctx, held)
		switch {
		case c.chance(c.revoke):
			c.revokeSome(ctx)
		case c.chance(c.stall) && len(held) > 0:
			// A stall, perhaps to long after the deadline.
			nap(ctx, c.between(0, time.Duration(c.stallTimes*float64(held[0].ttl))))
		}
		nap(ctx, c.within(c.turn))
	}
}

// mint mints a few IDs, now and then a burst that runs ahead of the time.
func (c *client) mint(l *lease) {
	n := c.rng.IntN(4)
	if c.chance(0.005) {
		n = c.rng.IntN(4000)
	}
	for range n {
		id, ok := l.next()
		if !ok {
			return
		}
		c.ids = append(c.ids, id)
	}
}

// keep sends the heartbeats that are due, in one call or one by one.
func (c *client) keep(ctx context.Context, held []*lease) {
	var due []*lease
	for _, l := range held {
		if !l.over && now() >= l.beat {
			due = append(due, l)
		}
	}
	if len(due) > 1 || len(due) == 1 && c.chance(0.1) {
		c.batch(ctx, due)
		return
	}
	for _, l := range due {
		c.heartbeat(ctx, l)
	}
}

// lapse notes, once, that a lease's deadline passed while nothing was amiss with
// its holder.
func (c *client) lapse(l *lease) {
	if !l.over && now() >= l.deadline && l.deadline != l.lapsed {
		l.lapsed = l.deadline
		c.hasLapsed(l.grant, strings.Join(l.trouble, "; "))
	}
}

func (l *lease) request() *cirrusv1.HeartbeatRequest {
	return &cirrusv1.HeartbeatRequest{Pool: l.pool, NodeId: l.node, Epoch: l.epoch,
		InstanceId: l.instance}
}

func (c *client) heartbeat(ctx context.Context, l *lease) {
	sent := now()
	var resp *cirrusv1.HeartbeatResponse
	err := within(ctx, min(l.ttl/3, c.try), func(ctx context.Context) (err error) {
		resp, err = c.leases.Heartbeat(ctx, l.request())
		return err
	})
	switch received := now(); {
	case err == nil:
		c.kept(l, answer{resp.Lease, sent, received})
	case reason(err) == "LEASE_LOST":
		c.lose(l, sent, received)
	default:
		c.judge("Heartbeat", err)
		c.backOff(l, sent, err)
	}
}

func (c *client) batch(ctx context.Context, due []*lease) {
	req := &cirrusv1.HeartbeatBatchRequest{}
	for _, l := range due {
		req.Heartbeats = append(req.Heartbeats, l.request())
	}
	sent := now()
	var resp *cirrusv1.HeartbeatBatchResponse
	err := within(ctx, min(due[0].ttl/3, c.try), func(ctx context.Context) (err error) {
		resp, err = c.leases.HeartbeatBatch(ctx, req)
		return err
	})
	received := now()
	if err != nil {
		c.judge("HeartbeatBatch", err)
		for _, l := range due {
			c.backOff(l, sent, err)
		}
		return
	}
	if len(resp.Results) != len(due) {
		c.wrong("HeartbeatBatch of %d has %d results", len(due), len(resp.Results))
		return
	}
	for i, l := range due {
		switch e := resp.Results[i].GetError(); {
		case e == nil:
			c.kept(l, answer{resp.Results[i].GetLease(), sent, received})
		case e.Reason == "LEASE_LOST":
			c.lose(l, sent, received)
		case e.Code == "unavailable":
			c.moveOn()
			c.backOff(l, sent, errors.New(e.Message))
		default:
			c.wrong("%v: HeartbeatBatch answered %v", l.grant, e)
		}
	}
}

// kept takes a good heartbeat over, and may keep an older answer for later.
func (c *client) kept(l *lease, a answer) {
	c.heartbeaten(l.grant, a.sent, a.received, a.Lease)
	if l.old == nil || c.chance(0.3) {
		l.old = &a
	}
	l.apply(a)
}

// lose stops minting at once, on LEASE_LOST (C5).
func (c *client) lose(l *lease, sent, received instant) {
	l.over = true
	c.wasLost(l.grant, sent, received)
}

// backOff sets when a heartbeat is retried: up to the deadline, and past it (C3).
func (c *client) backOff(l *lease, sent instant, err error) {
	l.trouble = append(l.trouble, fmt.Sprintf("%v to %v: %v", sent, now(), err))
	l.beat = now().add(c.between(10*time.Millisecond, 100*time.Millisecond))
}

// end ends a lease in one of the ways in which leases end.
func (c *client) end(ctx context.Context, l *lease) {
	switch p := c.rng.Float64(); {
	case l.over:
	case p < c.vanish: // vanish: it mints no more, and nobody is told
		l.over = true
		c.stopped(l.grant, now())
	case p < c.vanish+0.1:
		c.release(ctx, l, nil)
	default:
		last := l.floor - 1
		if l.minted {
			last = l.last
		}
		c.release(ctx, l, &last)
	}
}

// release stops minting and gives the ID back (C6), trying again until there
// is an answer or the lease has run out by itself.
func (c *client) release(ctx context.Context, l *lease, last *int64) {
	l.over = true
	c.releasing(l.grant, now(), last)
	req := &cirrusv1.ReleaseRequest{Pool: l.pool, NodeId: l.node, Epoch: l.epoch,
		InstanceId: l.instance, LastTimestampMs: last}
	for again := c.chance(0.1); ; again = false {
		sent := now()
		err := within(ctx, c.try, func(ctx context.Context) error {
			_, err := c.leases.Release(ctx, req)
			return err
		})
		received := now()
		c.called(l.grant, history.Release, sent, received, outcome(err))
		switch {
		case err == nil:
			c.wasReleased(l.grant, received)
			if !again { // repeating it is harmless
				c.probe(ctx, l)
				return
			}
			continue
		case reason(err) == "LEASE_LOST" || received > l.deadline || ctx.Err() != nil:
			return
		}
		c.judge("Release", err)
		nap(ctx, c.between(5*time.Millisecond, 50*time.Millisecond))
	}
}

// probe sends, now and then, a heartbeat under a lease that was given back. It
// mints nothing; the observer looks at the answer.
func (c *client) probe(ctx context.Context, l *lease) {
	if c.chance(0.2) {
		c.heartbeat(ctx, l)
	}
}

// revokeSome revokes the lease of any client.
func (c *client) revokeSome(ctx context.Context) {
	g := c.anyGrant(c.rng, c.pools)
	if g == nil {
		return
	}
	sent := now()
	c.revoking(g, sent)
	err := within(ctx, c.try, func(ctx context.Context) error {
		_, err := c.admin.Revoke(ctx,
			&cirrusv1.RevokeRequest{Pool: g.pool, NodeId: g.node, Epoch: g.epoch})
		return err
	})
	c.called(g, history.Revoke, sent, now(), outcome(err))
	switch {
	case err == nil:
		c.wasRevoked(g, now())
	case reason(err) != "LEASE_LOST": // it may have ended in the meantime
		c.judge("Revoke", err)
	}
}

// anyGrant picks one of the recent grants in some pools.
func (o *observer) anyGrant(rng *rand.Rand, pools []string) *grant {
	o.mu.Lock()
	defer o.mu.Unlock()
	recent := o.grants[max(0, len(o.grants)-40):]
	if len(recent) == 0 {
		return nil
	}
	if g := recent[rng.IntN(len(recent))]; slices.Contains(pools, g.pool) {
		return g
	}
	return nil
}

// within makes a call with the timeout d.
func within(ctx context.Context, d time.Duration, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return call(ctx)
}

// outcome is what an answer tells of what was asked: that nobody heard one, or
// heard that it could not be told, leaves it open.
func outcome(err error) history.Output {
	return history.Output{Good: err == nil, Unknown: err != nil && reason(err) != "LEASE_LOST"}
}

// judge finds errors that the service should not answer with. That it can't be
// reached, or has not answered in time, is what this is about: then it is tried
// elsewhere.
func (c *client) judge(what string, err error, also ...connect.Code) {
	if connect.CodeOf(err) != connect.CodeResourceExhausted {
		c.moveOn()
	}
	if !connect.IsWireError(err) {
		return
	}
	code := connect.CodeOf(err)
	for _, ok := range append(also, connect.CodeUnavailable, connect.CodeDeadlineExceeded,
		connect.CodeCanceled) {
		if code == ok {
			return
		}
	}
	c.wrong("%s: unexpected answer: %v", what, err)
}

// reason returns the reason in the service's ErrorInfo.
func reason(err error) string {
	if info, ok := detail[*errdetails.ErrorInfo](err); ok && info.Domain == "cirrus" {
		return info.Reason
	}
	return ""
}

// retryAfter returns after how long the service says to ask again.
func retryAfter(err error) time.Duration {
	info, _ := detail[*errdetails.RetryInfo](err)
	return info.GetRetryDelay().AsDuration()
}

// detail returns the error's detail of type T, if it has one.
func detail[T any](err error) (found T, ok bool) {
	var e *connect.Error
	if !errors.As(err, &e) {
		return found, false
	}
	for _, d := range e.Details() {
		if v, err := d.Value(); err == nil {
			if found, ok = v.(T); ok {
				return found, true
			}
		}
	}
	return found, false
}
