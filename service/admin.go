package service

import (
	"context"
	"fmt"
	"sort"
	"strconv"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/snowflake"
)

// Limits of listings.
const (
	// DefaultPage is how many rows a listing has that asks for no number.
	DefaultPage = 100
	// MaxPage is how many rows a listing may ask for.
	MaxPage = 1000
)

// admin answers AdminService.
type admin struct{ s *Service }

// CreatePool creates a pool; doing so again with the same settings succeeds.
func (h admin) CreatePool(ctx context.Context, req *cirrusv1.CreatePoolRequest) (*cirrusv1.CreatePoolResponse, error) {
	return rpcCreatePool.do(ctx, h.s, req)
}

var rpcCreatePool = rpc[cirrusv1.CreatePoolRequest, cirrusv1.CreatePoolResponse]{
	here:  (*term).answerCreatePool,
	there: (*peer).createPool,
}

func (t *term) answerCreatePool(ctx context.Context, req *cirrusv1.CreatePoolRequest) (*cirrusv1.CreatePoolResponse, error) {
	p, r := newPool(req.GetPool())
	if r != nil {
		return nil, t.s.refusal(r)
	}
	shown, err := t.changePool(ctx, p.Name, func(now fencing.Now) (fencing.Decision, *fencing.Refusal) {
		return t.core.CreatePool(now, p, fencing.Confirmed{LongTimes: req.GetConfirmLongTimes(), EarlyOrigin: req.GetConfirmEarlyOrigin()})
	})
	return &cirrusv1.CreatePoolResponse{Pool: shown}, err
}

// newPool reads the pool to create, with the defaults for what is left out.
func newPool(req *cirrusv1.Pool) (fencing.Pool, *fencing.Refusal) {
	c, r := poolChange(req)
	if r != nil {
		return fencing.Pool{}, r
	}
	name, r := poolName(req.GetName())
	return c.New(name), r
}

// UpdatePool changes what may change of a pool.
func (h admin) UpdatePool(ctx context.Context, req *cirrusv1.UpdatePoolRequest) (*cirrusv1.UpdatePoolResponse, error) {
	return rpcUpdatePool.do(ctx, h.s, req)
}

var rpcUpdatePool = rpc[cirrusv1.UpdatePoolRequest, cirrusv1.UpdatePoolResponse]{
	here:  (*term).answerUpdatePool,
	there: (*peer).updatePool,
	once:  true, // a second time, it could undo what somebody else changed since
}

func (t *term) answerUpdatePool(ctx context.Context, req *cirrusv1.UpdatePoolRequest) (*cirrusv1.UpdatePoolResponse, error) {
	name, r := poolName(req.GetPool().GetName())
	if r != nil {
		return nil, t.s.refusal(r)
	}
	c, r := poolChange(req.GetPool())
	if r != nil {
		return nil, t.s.refusal(r)
	}
	c.Confirmed.LongTimes = req.GetConfirmLongTimes()
	shown, err := t.updatePool(ctx, name, c)
	return &cirrusv1.UpdatePoolResponse{Pool: shown}, err
}

func (t *term) updatePool(ctx context.Context, name fencing.PoolName, c fencing.PoolChange) (*cirrusv1.Pool, error) {
	return t.changePool(ctx, name, func(now fencing.Now) (fencing.Decision, *fencing.Refusal) {
		return t.core.UpdatePool(now, name, c)
	})
}

// changePool makes a change durable and returns the pool as it is then.
func (t *term) changePool(ctx context.Context, name fencing.PoolName, ask func(fencing.Now) (fencing.Decision, *fencing.Refusal)) (*cirrusv1.Pool, error) {
	waits := writeWait{t: t}
	d, err := waits.carryOut(ctx, ask)
	if err != nil {
		return nil, err
	}
	if d.Write == nil {
		return waits.confirmedPool(ctx, name) // there was nothing to change
	}
	shown, r := t.showPool(name)
	if r != nil {
		return nil, t.s.storeFailed() // the term ended just now: it is done, or may be
	}
	return shown, nil
}

func (t *term) showPool(name fencing.PoolName) (*cirrusv1.Pool, *fencing.Refusal) {
	now := t.enter()
	defer t.leave()
	p, opensIn, r := t.core.Pool(now, name)
	if r != nil {
		return nil, r
	}
	return wirePool(p, opensIn, t.core.ServerTime()), nil
}

// confirmedPool is what a listing shows of a pool.
func (w *writeWait) confirmedPool(ctx context.Context, name fencing.PoolName) (*cirrusv1.Pool, error) {
	shown, r := w.t.showPool(name)
	if r != nil {
		return nil, w.refused(ctx, r)
	}
	return shown, w.confirm(ctx)
}

// GetPool shows one pool.
func (h admin) GetPool(ctx context.Context, req *cirrusv1.GetPoolRequest) (*cirrusv1.GetPoolResponse, error) {
	return rpcGetPool.do(ctx, h.s, req)
}

var rpcGetPool = rpc[cirrusv1.GetPoolRequest, cirrusv1.GetPoolResponse]{
	here:  (*term).answerGetPool,
	there: (*peer).getPool,
}

func (t *term) answerGetPool(ctx context.Context, req *cirrusv1.GetPoolRequest) (*cirrusv1.GetPoolResponse, error) {
	name, r := poolName(req.Name)
	if r != nil {
		return nil, t.s.refusal(r)
	}
	waits := writeWait{t: t}
	p, err := waits.confirmedPool(ctx, name)
	return &cirrusv1.GetPoolResponse{Pool: p}, err
}

// ListPools shows pools by name. A page's token is the last name on it.
func (h admin) ListPools(ctx context.Context, req *cirrusv1.ListPoolsRequest) (*cirrusv1.ListPoolsResponse, error) {
	return rpcListPools.do(ctx, h.s, req)
}

var rpcListPools = rpc[cirrusv1.ListPoolsRequest, cirrusv1.ListPoolsResponse]{
	here:  (*term).answerListPools,
	there: (*peer).listPools,
}

func (t *term) answerListPools(ctx context.Context, req *cirrusv1.ListPoolsRequest) (*cirrusv1.ListPoolsResponse, error) {
	size, r := pageSize(req.PageSize)
	if r != nil {
		return nil, t.s.refusal(r)
	}
	if err := t.alive(); err != nil {
		return nil, err
	}
	if _, r := poolName(req.PageToken); r != nil {
		return nil, t.s.refusal(badToken(req.PageToken))
	}
	names := t.poolNames()
	i := sort.Search(len(names), func(i int) bool { return string(names[i]) > req.PageToken })
	names = names[i:]
	resp := &cirrusv1.ListPoolsResponse{}
	if len(names) > size {
		names = names[:size]
		resp.NextPageToken = string(names[size-1])
	}
	for _, name := range names {
		p, r := t.showPool(name)
		if r != nil {
			return nil, t.refused(ctx, r)
		}
		resp.Pools = append(resp.Pools, p)
	}
	return resp, t.confirm(ctx)
}

func (t *term) poolNames() []fencing.PoolName {
	t.enter()
	defer t.leave()
	return t.core.PoolNames()
}

func pageSize(asked uint32) (int, *fencing.Refusal) {
	switch {
	case asked == 0:
		return DefaultPage, nil
	case asked > MaxPage:
		return 0, badField("page_size", fmt.Sprintf("%d is too many: ask for at most %d", asked, MaxPage))
	}
	return int(asked), nil
}

// ListLeases shows the IDs ever granted, by node ID. A page's token is the
// node ID that the next one begins at.
func (h admin) ListLeases(ctx context.Context, req *cirrusv1.ListLeasesRequest) (*cirrusv1.ListLeasesResponse, error) {
	return rpcListLeases.do(ctx, h.s, req)
}

var rpcListLeases = rpc[cirrusv1.ListLeasesRequest, cirrusv1.ListLeasesResponse]{
	here:  (*term).answerListLeases,
	there: (*peer).listLeases,
}

func (t *term) answerListLeases(ctx context.Context, req *cirrusv1.ListLeasesRequest) (*cirrusv1.ListLeasesResponse, error) {
	size, r := pageSize(req.PageSize)
	if r != nil {
		return nil, t.s.refusal(r)
	}
	from, r := leaseToken(req.PageToken)
	if r != nil {
		return nil, t.s.refusal(r)
	}
	pool, r := poolName(req.Pool)
	if r != nil {
		return nil, t.s.refusal(r)
	}
	turn := t.s.turn(ctx)
	if err := turn.take(ctx); err != nil {
		return nil, err
	}
	defer turn.made()
	rows, next, more, server, r := t.rows(pool, from, size)
	if r != nil {
		turn.end() // the term record may be read
		return nil, t.refused(ctx, r)
	}
	if err := t.confirmInTurn(ctx, turn); err != nil {
		return nil, err
	}
	// The messages are made when the core has been given back (S14).
	resp := &cirrusv1.ListLeasesResponse{Leases: make([]*cirrusv1.LeaseStatus, len(rows)), ServerTimeMs: int64(server)}
	for i, row := range rows {
		resp.Leases[i] = wireStatus(row)
	}
	if more {
		resp.NextPageToken = strconv.FormatUint(uint64(next), 10)
	}
	return resp, nil
}

// rows takes a page of a listing.
func (t *term) rows(pool fencing.PoolName, from snowflake.NodeID, size int) (rows []fencing.LeaseStatus, next snowflake.NodeID, more bool, server snowflake.Millis, r *fencing.Refusal) {
	now := t.enter()
	defer t.leave()
	rows, next, more, r = t.core.List(now, pool, from, size)
	return rows, next, more, t.core.ServerTime(), r
}

func leaseToken(token string) (snowflake.NodeID, *fencing.Refusal) {
	if token == "" {
		return 0, nil
	}
	from, err := strconv.ParseUint(token, 10, 32)
	if err != nil {
		return 0, badToken(token)
	}
	return snowflake.NodeID(from), nil
}

func badToken(token string) *fencing.Refusal {
	return badField("page_token", quoted(token)+" was not given out: pass on the next_page_token of the page before")
}

// Revoke takes no more heartbeats of a lease.
func (h admin) Revoke(ctx context.Context, req *cirrusv1.RevokeRequest) (*cirrusv1.RevokeResponse, error) {
	return rpcRevoke.do(ctx, h.s, req)
}

var rpcRevoke = rpc[cirrusv1.RevokeRequest, cirrusv1.RevokeResponse]{
	here:  (*term).answerRevoke,
	there: (*peer).revoke,
}

func (t *term) answerRevoke(ctx context.Context, req *cirrusv1.RevokeRequest) (*cirrusv1.RevokeResponse, error) {
	epoch := fencing.Epoch(req.Epoch)
	lease, err := t.changeLease(ctx, req.Pool, req.NodeId, func(now fencing.Now, pool fencing.PoolName, node snowflake.NodeID) (fencing.Decision, *fencing.Refusal) {
		return t.core.Revoke(now, pool, node, epoch)
	})
	if err != nil {
		return nil, err
	}
	return &cirrusv1.RevokeResponse{Lease: lease}, nil
}

// changeLease makes durable what an operator has decided of a node ID's lease, and
// shows the lease as it is then.
func (t *term) changeLease(ctx context.Context, name string, id uint32, ask func(fencing.Now, fencing.PoolName, snowflake.NodeID) (fencing.Decision, *fencing.Refusal)) (*cirrusv1.LeaseStatus, error) {
	pool, r := poolName(name)
	if r != nil {
		return nil, t.s.refusal(r)
	}
	node := snowflake.NodeID(id)
	waits := writeWait{t: t}
	d, err := waits.carryOut(ctx, func(now fencing.Now) (fencing.Decision, *fencing.Refusal) {
		return ask(now, pool, node)
	})
	if err != nil {
		return nil, err
	}
	lease := t.showLease(pool, node)
	if d.Write == nil {
		err = waits.confirm(ctx) // nothing was written, so this is a listing
	}
	return lease, err
}

func (t *term) showLease(pool fencing.PoolName, node snowflake.NodeID) *cirrusv1.LeaseStatus {
	now := t.enter()
	defer t.leave()
	status, _ := t.core.Lease(now, pool, node)
	return wireStatus(status)
}

// Free ends a lease on the caller's word that its holder is dead.
func (h admin) Free(ctx context.Context, req *cirrusv1.FreeRequest) (*cirrusv1.FreeResponse, error) {
	return rpcFree.do(ctx, h.s, req)
}

var rpcFree = rpc[cirrusv1.FreeRequest, cirrusv1.FreeResponse]{
	here:  (*term).answerFree,
	there: (*peer).free,
}

func (t *term) answerFree(ctx context.Context, req *cirrusv1.FreeRequest) (*cirrusv1.FreeResponse, error) {
	epoch, last := fencing.Epoch(req.Epoch), (*snowflake.Millis)(req.LastTimestampMs)
	lease, err := t.changeLease(ctx, req.Pool, req.NodeId, func(now fencing.Now, pool fencing.PoolName, node snowflake.NodeID) (fencing.Decision, *fencing.Refusal) {
		return t.core.Free(now, pool, node, epoch, last)
	})
	if err != nil {
		return nil, err
	}
	return &cirrusv1.FreeResponse{Lease: lease}, nil
}
