package service

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"connectrpc.com/connect"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
	"github.com/cirrus-id/cirrus/store"
)

// Headers of requests that a replica forwards, and of answers to them.
const (
	// LeaderHeader is the base URL of the replica that led and answered, on
	// answers of a replica that had forwarded the request.
	LeaderHeader = "Cirrus-Leader"
	// storeHeader is the ID of the sender's store, and memberHeader the ID of the
	// sender. A request with them comes from a replica, and is not forwarded again.
	storeHeader  = "Cirrus-Store"
	memberHeader = "Cirrus-Member"
)

// peer is the replica that leads, as a replica that follows it sees it. It forwards
// requests: by the generated clients it embeds, whose unary calls go through
// forward, and by methods of its own for what is not forwarded one by one
// (Heartbeat) or is a stream (Watch). It is closed when another replica leads or the
// service stops: the calls in flight end then.
type peer struct {
	cirrusv1connect.LeaseServiceClient
	cirrusv1connect.AdminServiceClient
	s      *base
	member store.Member
	// leaderPool asks the leader for a pool, outside of forward; for probes.
	leaderPool func(context.Context, *cirrusv1.GetPoolRequest) (*cirrusv1.GetPoolResponse, error)
	beats      gatherer
	// wakeWaiting wakes those who wait for news of the leader.
	wakeWaiting func()
	// hangUp closes the idle connections.
	hangUp func()

	mu     sync.Mutex
	calls  map[*forwarding]bool
	closed chan struct{} // closed when the peer is closed
	// otherStore: a replica of another store answers there, which was logged.
	otherStore atomic.Bool
	doubt      doubt
	work       inFlight
}

// forwarding is a call to the leader in flight.
type forwarding struct{ cancel context.CancelFunc }

func newPeer(s *base, m store.Member, wakeWaiting func()) *peer {
	p := &peer{s: s, member: m, wakeWaiting: wakeWaiting, calls: map[*forwarding]bool{},
		closed: make(chan struct{})}
	p.doubt.started = make(chan struct{})
	p.doubt.proved = s.cfg.Steady.Now()
	var client connect.HTTPClient
	client, p.hangUp = httpClient(s, m.Address)
	http := stamped{client, s.cfg.Cluster}
	// in a near network compression only costs
	plain := connect.WithAcceptCompression("gzip", nil, nil)
	forward := connect.WithInterceptors(connect.UnaryInterceptorFunc(p.forward))
	p.LeaseServiceClient = cirrusv1connect.NewLeaseServiceClient(http, m.Address, plain, forward)
	p.AdminServiceClient = cirrusv1connect.NewAdminServiceClient(http, m.Address, plain, forward)
	p.leaderPool = cirrusv1connect.NewAdminServiceClient(http, m.Address, plain).GetPool
	p.beats.p = p
	s.spawn(p.probe)
	return p
}

// httpClient returns the HTTP client for the replica at an address, and a function that
// closes its idle connections.
func httpClient(s *base, address string) (connect.HTTPClient, func()) {
	if s.cfg.Reach != nil {
		return s.cfg.Reach(address), func() {} // its owner closes them
	}
	c := newPeerClient(s.cfg.Steady)
	return c, c.CloseIdleConnections
}

// stamped adds the headers that tell a forwarded request.
type stamped struct {
	connect.HTTPClient
	cluster store.Cluster
}

// Do implements connect.HTTPClient.
func (c stamped) Do(r *http.Request) (*http.Response, error) {
	r.Header.Set(storeHeader, c.cluster.ID())
	r.Header.Set(memberHeader, c.cluster.Self().ID)
	return c.HTTPClient.Do(r)
}

// unreachable is an error of the connection to the leader, or of closing it.
type unreachable struct {
	cause error
	// unsent: the leader surely has not seen the request.
	unsent bool
}

func (u *unreachable) Error() string { return u.cause.Error() }
func (u *unreachable) Unwrap() error { return u.cause }

var errPeerClosed = errors.New("the leader is no longer the one it was")

// forward is the interceptor of all unary calls to the leader.
func (p *peer) forward(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		var res connect.AnyResponse
		err := p.call(ctx, req.Spec().Procedure, func(ctx context.Context) (err error) {
			res, err = next(ctx, req)
			return err
		})
		if err != nil {
			return nil, err
		}
		return res, nil
	}
}

// call makes a call to the leader. The call ends when the peer is closed. It is
// counted, and the peer learns from its outcome whether the leader can be reached.
func (p *peer) call(ctx context.Context, procedure string, do func(context.Context) error) error {
	joined, call, err := p.join(ctx)
	if err != nil {
		return err
	}
	err = do(joined)
	gone := p.leave(call)
	p.s.metrics.forwarded(procedure, err)
	err = p.read(ctx, err, gone)
	if !gone {
		p.judge(err)
	}
	return err
}

// join returns a context that ends when the peer is closed.
func (p *peer) join(ctx context.Context) (context.Context, *forwarding, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if isClosed(p.closed) {
		return nil, nil, &unreachable{errPeerClosed, true}
	}
	ctx, cancel := context.WithCancel(ctx)
	call := &forwarding{cancel}
	p.calls[call] = true
	p.work.start()
	return ctx, call, nil
}

// leave ends what join started, and reports whether the peer was closed meanwhile.
func (p *peer) leave(call *forwarding) (gone bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.calls, call)
	call.cancel()
	p.work.end()
	gone = isClosed(p.closed)
	if gone && len(p.calls) == 0 {
		p.hangUp()
	}
	return gone
}

// close ends all calls to the leader. No more start.
func (p *peer) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !isClosed(p.closed) {
		close(p.closed)
	}
	for call := range p.calls {
		call.cancel()
	}
	p.hangUp() // the last call does it again for the connections that the calls leave
}

// read translates the error of a call to the leader: it is the leader's own answer,
// the end of the request's context, or an error of the connection.
func (p *peer) read(ctx context.Context, err error, gone bool) error {
	var e *connect.Error
	switch {
	case err == nil:
		return nil
	case connect.IsWireError(err) && errors.As(err, &e):
		p.noticeOtherStore(e)
		return copied(e)
	case ctx.Err() != nil:
		return ctx.Err()
	case failedToDial(err): // also after a timeout, which is no deadline of the request
		return &unreachable{err, true}
	case connect.CodeOf(err) == connect.CodeDeadlineExceeded && !gone:
		return context.DeadlineExceeded // an instant before the context says so
	}
	return &unreachable{cause: err}
}

// noticeOtherStore counts and logs that a replica of another store answers at the
// leader's address, which this replica's own store names.
func (p *peer) noticeOtherStore(e *connect.Error) {
	if reasonOf(e) != reasonWrongStore {
		return
	}
	p.s.metrics.refusals.WithLabelValues(string(reasonWrongStore)).Inc()
	if p.otherStore.CompareAndSwap(false, true) {
		p.s.log.Error(
			"the leader's address leads to a replica of another store: check what the replicas are told to advertise",
			"leader", p.member.Address, "our_store", p.s.cfg.Cluster.ID())
		p.wakeWaiting() // the replica is no longer ready
	}
}

// copied returns the leader's error as this replica answers it: without the headers
// that it came with.
func copied(e *connect.Error) *connect.Error {
	c := connect.NewError(e.Code(), errors.New(e.Message()))
	for _, d := range e.Details() {
		c.AddDetail(d)
	}
	return c
}

// sign adds LeaderHeader to the leader's answer, or to its error.
func (p *peer) sign(ctx context.Context, err error) error {
	if err == nil {
		if info, ok := connect.CallInfoForHandlerContext(ctx); ok {
			info.ResponseHeader().Set(LeaderHeader, p.member.Address)
		}
	}
	if e, ok := err.(*connect.Error); ok { //nolint:errorlint // as in copyOf
		e.Meta().Set(LeaderHeader, p.member.Address)
	}
	return err
}

// Watch implements answerer: it forwards a stream until either side ends it.
func (p *peer) Watch(ctx context.Context, req *cirrusv1.WatchRequest,
	to *connect.ServerStream[cirrusv1.WatchResponse]) error {
	answered := false
	err := p.call(ctx, cirrusv1connect.AdminServiceWatchProcedure, func(ctx context.Context) error {
		return p.copyStream(ctx, req, to, &answered)
	})
	if err == nil || !answered {
		return err
	}
	if errors.As(err, new(*unreachable)) {
		return &partial{p.endOfWatch()}
	}
	return &partial{p.sign(ctx, err)}
}

// copyStream sends on what the leader sends. answered is set before the first
// message.
func (p *peer) copyStream(ctx context.Context, req *cirrusv1.WatchRequest,
	to *connect.ServerStream[cirrusv1.WatchResponse], answered *bool) error {
	from, err := p.AdminServiceClient.Watch(ctx, req)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }() // Receive has returned its error
	for from.Receive() {
		if !*answered {
			to.ResponseHeader().Set(LeaderHeader, p.member.Address)
			*answered = true
		}
		if err := to.Send(from.Msg()); err != nil {
			return err
		}
	}
	return from.Err()
}

// endOfWatch returns the error of a stream whose leader can't be reached any more.
func (p *peer) endOfWatch() error {
	if p.s.stopping() {
		return errStopping
	}
	return errNotLeading
}

// sameAddress reports whether two base URLs are the same one.
func sameAddress(a, b string) bool {
	return strings.TrimRight(a, "/") == strings.TrimRight(b, "/")
}
