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

// peer is the replica that leads, as one that follows sees it. When another
// one leads, or the service stops, it is left: what is under way to it ends.
type peer struct {
	s      *Service
	member store.Member
	leases cirrusv1connect.LeaseServiceClient
	admin  cirrusv1connect.AdminServiceClient
	beats  gatherer
	// hangUp closes the connections that carry nothing.
	hangUp func()

	mu    sync.Mutex
	gone  bool
	calls map[*passing]bool
	wrong atomic.Bool   // it serves another store, which was told
	ended chan struct{} // closed when it is left
	doubt doubt
	under underway
}

// passing is a call to the leader that is under way.
type passing struct{ cancel context.CancelFunc }

func newPeer(s *Service, m store.Member) *peer {
	p := &peer{s: s, member: m, calls: map[*passing]bool{}, ended: make(chan struct{})}
	p.doubt.begun = make(chan struct{})
	p.doubt.proved = s.cfg.Steady.Now()
	var client connect.HTTPClient
	client, p.hangUp = s.reach(m.Address)
	http := stamped{client, s.cfg.Cluster}
	plain := connect.WithAcceptCompression("gzip", nil, nil) // near by: it would only cost
	p.leases = cirrusv1connect.NewLeaseServiceClient(http, m.Address, plain)
	p.admin = cirrusv1connect.NewAdminServiceClient(http, m.Address, plain)
	p.beats.p = p
	s.spawn(p.probe)
	return p
}

// reach gives the HTTP client for the replica at an address, and what closes its
// idle connections when that replica is left.
func (s *Service) reach(address string) (connect.HTTPClient, func()) {
	if s.cfg.Reach != nil {
		return s.cfg.Reach(address), func() {} // they are its owner's
	}
	c := newPeerClient(s.cfg.Steady)
	return c, c.CloseIdleConnections
}

// stamped says of each request that a replica passes it on.
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

// unreachable is an error of the way to the leader, or of its end.
type unreachable struct {
	cause error
	// unsent: the leader surely has not seen the request.
	unsent bool
}

func (u *unreachable) Error() string { return u.cause.Error() }
func (u *unreachable) Unwrap() error { return u.cause }

var errLeft = errors.New("the leader is no longer the one it was")

// join makes a call one that ends when the peer is left.
func (p *peer) join(ctx context.Context) (context.Context, *passing, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return nil, nil, &unreachable{errLeft, true}
	}
	ctx, cancel := context.WithCancel(ctx)
	call := &passing{cancel}
	p.calls[call] = true
	p.under.begin()
	return ctx, call, nil
}

// leave is join's end, and says whether the peer was left meanwhile.
func (p *peer) leave(call *passing) (gone bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.calls, call)
	call.cancel()
	p.under.end()
	if p.gone && len(p.calls) == 0 {
		p.hangUp()
	}
	return p.gone
}

// left ends all calls to the peer; there will be no others.
func (p *peer) left() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.gone {
		close(p.ended)
	}
	p.gone = true
	for call := range p.calls {
		call.cancel()
	}
	p.hangUp() // the last of the calls does so for those that it leaves
}

// pass passes a request on, and the answer back.
func pass[Req, Res any](ctx context.Context, p *peer, procedure string, req *Req, call func(context.Context, *Req) (*Res, error)) (*Res, error) {
	res, err := passQuietly(ctx, p, procedure, req, call)
	return res, p.sign(ctx, err)
}

// passQuietly is pass for what no single request asked for.
func passQuietly[Req, Res any](ctx context.Context, p *peer, procedure string, req *Req, call func(context.Context, *Req) (*Res, error)) (*Res, error) {
	joined, passing, err := p.join(ctx)
	if err != nil {
		return nil, err
	}
	res, err := call(joined, req)
	gone := p.leave(passing)
	return res, p.outcome(ctx, procedure, err, gone)
}

// outcome counts a call to the leader, learns from it, and says what its error
// is to whoever asked: the leader's own answer, the asker's impatience, or the
// way.
func (p *peer) outcome(ctx context.Context, procedure string, err error, gone bool) error {
	p.s.metrics.passedOn(procedure, err)
	err = p.read(ctx, err, gone)
	if !gone {
		p.judge(err)
	}
	return err
}

// read says what an error of a call to the leader is to whoever asked.
func (p *peer) read(ctx context.Context, err error, gone bool) error {
	var e *connect.Error
	switch {
	case err == nil:
		return nil
	case connect.IsWireError(err) && errors.As(err, &e):
		p.tellWrongStore(e)
		return copied(e)
	case ctx.Err() != nil:
		return ctx.Err()
	case failedToDial(err): // also where that took too long, which is no deadline of the asker's
		return &unreachable{err, true}
	case connect.CodeOf(err) == connect.CodeDeadlineExceeded && !gone:
		return context.DeadlineExceeded // a hair before the context says so
	}
	return &unreachable{cause: err}
}

// tellWrongStore counts and logs that the leader's address, which this replica's
// own store names, leads to a replica of another one.
func (p *peer) tellWrongStore(e *connect.Error) {
	if reasonOf(e) != reasonWrongStore {
		return
	}
	p.s.metrics.refusals.WithLabelValues(string(reasonWrongStore)).Inc()
	if p.wrong.CompareAndSwap(false, true) {
		p.s.log.Error("the leader's address leads to a replica of another store: look at what the replicas are told to advertise",
			"leader", p.member.Address, "our_store", p.s.cfg.Cluster.ID())
		p.s.become(func(*role) {}) // no longer ready
	}
}

// copied is a leader's error as this replica answers it: without the headers
// that it came with.
func copied(e *connect.Error) *connect.Error {
	c := connect.NewError(e.Code(), errors.New(e.Message()))
	for _, d := range e.Details() {
		c.AddDetail(d)
	}
	return c
}

// sign says who answered.
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

// The RPCs, as they are passed on.

func (p *peer) acquire(ctx context.Context, req *cirrusv1.AcquireRequest) (*cirrusv1.AcquireResponse, error) {
	return pass(ctx, p, cirrusv1connect.LeaseServiceAcquireProcedure, req, p.leases.Acquire)
}

func (p *peer) heartbeatBatch(ctx context.Context, req *cirrusv1.HeartbeatBatchRequest) (*cirrusv1.HeartbeatBatchResponse, error) {
	return pass(ctx, p, cirrusv1connect.LeaseServiceHeartbeatBatchProcedure, req, p.leases.HeartbeatBatch)
}

func (p *peer) release(ctx context.Context, req *cirrusv1.ReleaseRequest) (*cirrusv1.ReleaseResponse, error) {
	return pass(ctx, p, cirrusv1connect.LeaseServiceReleaseProcedure, req, p.leases.Release)
}

func (p *peer) createPool(ctx context.Context, req *cirrusv1.CreatePoolRequest) (*cirrusv1.CreatePoolResponse, error) {
	return pass(ctx, p, cirrusv1connect.AdminServiceCreatePoolProcedure, req, p.admin.CreatePool)
}

func (p *peer) updatePool(ctx context.Context, req *cirrusv1.UpdatePoolRequest) (*cirrusv1.UpdatePoolResponse, error) {
	return pass(ctx, p, cirrusv1connect.AdminServiceUpdatePoolProcedure, req, p.admin.UpdatePool)
}

func (p *peer) getPool(ctx context.Context, req *cirrusv1.GetPoolRequest) (*cirrusv1.GetPoolResponse, error) {
	return pass(ctx, p, cirrusv1connect.AdminServiceGetPoolProcedure, req, p.admin.GetPool)
}

func (p *peer) listPools(ctx context.Context, req *cirrusv1.ListPoolsRequest) (*cirrusv1.ListPoolsResponse, error) {
	return pass(ctx, p, cirrusv1connect.AdminServiceListPoolsProcedure, req, p.admin.ListPools)
}

func (p *peer) listLeases(ctx context.Context, req *cirrusv1.ListLeasesRequest) (*cirrusv1.ListLeasesResponse, error) {
	return pass(ctx, p, cirrusv1connect.AdminServiceListLeasesProcedure, req, p.admin.ListLeases)
}

func (p *peer) revoke(ctx context.Context, req *cirrusv1.RevokeRequest) (*cirrusv1.RevokeResponse, error) {
	return pass(ctx, p, cirrusv1connect.AdminServiceRevokeProcedure, req, p.admin.Revoke)
}

func (p *peer) free(ctx context.Context, req *cirrusv1.FreeRequest) (*cirrusv1.FreeResponse, error) {
	return pass(ctx, p, cirrusv1connect.AdminServiceFreeProcedure, req, p.admin.Free)
}

// watch passes a stream on until it ends at either side.
func (p *peer) watch(ctx context.Context, req *cirrusv1.WatchRequest, to *connect.ServerStream[cirrusv1.WatchResponse], begun *bool) error {
	joined, passing, err := p.join(ctx)
	if err != nil {
		return err
	}
	err = p.pour(joined, req, to, begun)
	gone := p.leave(passing)
	if err = p.outcome(ctx, cirrusv1connect.AdminServiceWatchProcedure, err, gone); err == nil {
		return nil
	}
	var u *unreachable
	if errors.As(err, &u) && *begun {
		return p.s.endOfWatch()
	}
	return p.sign(ctx, err)
}

// pour hands on what the leader sends.
func (p *peer) pour(ctx context.Context, req *cirrusv1.WatchRequest, to *connect.ServerStream[cirrusv1.WatchResponse], begun *bool) error {
	from, err := p.admin.Watch(ctx, req)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }() // its error is Receive's
	for from.Receive() {
		if !*begun {
			to.ResponseHeader().Set(LeaderHeader, p.member.Address)
			*begun = true
		}
		if err := to.Send(from.Msg()); err != nil {
			return err
		}
	}
	return from.Err()
}

// endOfWatch is how a stream ends whose leader is the leader no more.
func (s *Service) endOfWatch() error {
	if s.stopping() {
		return errStopping
	}
	return errNotLeading
}

// sameAddress says whether two base URLs are the same one.
func sameAddress(a, b string) bool {
	return strings.TrimRight(a, "/") == strings.TrimRight(b, "/")
}
