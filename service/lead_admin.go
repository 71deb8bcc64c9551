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

// CreatePool implements answerer.
func (t *term) CreatePool(ctx context.Context,
	req *cirrusv1.CreatePoolRequest) (*cirrusv1.CreatePoolResponse, error) {
	p, r := newPool(req.GetPool())
	if r != nil {
		return nil, r
	}
	shown, err := t.changePool(ctx, p.Name,
		func(now fencing.Now) (fencing.Decision, *fencing.Refusal) {
			return t.core.CreatePool(now, p,
				fencing.Confirmed{LongTimes: req.GetConfirmLongTimes(),
					EarlyOrigin: req.GetConfirmEarlyOrigin()})
		})
	return &cirrusv1.CreatePoolResponse{Pool: shown}, err
}

// newPool reads the pool to create. What is left out gets its default.
func newPool(req *cirrusv1.Pool) (fencing.Pool, *fencing.Refusal) {
	c, r := poolChange(req)
	if r != nil {
		return fencing.Pool{}, r
	}
	name, r := poolName(req.GetName())
	return c.New(name), r
}

// UpdatePool implements answerer.
func (t *term) UpdatePool(ctx context.Context,
	req *cirrusv1.UpdatePoolRequest) (*cirrusv1.UpdatePoolResponse, error) {
	name, r := poolName(req.GetPool().GetName())
	if r != nil {
		return nil, r
	}
	c, r := poolChange(req.GetPool())
	if r != nil {
		return nil, r
	}
	c.Confirmed.LongTimes = req.GetConfirmLongTimes()
	shown, err := t.updatePool(ctx, name, c)
	return &cirrusv1.UpdatePoolResponse{Pool: shown}, err
}

func (t *term) updatePool(ctx context.Context, name fencing.PoolName,
	c fencing.PoolChange) (*cirrusv1.Pool, error) {
	return t.changePool(ctx, name, func(now fencing.Now) (fencing.Decision, *fencing.Refusal) {
		return t.core.UpdatePool(now, name, c)
	})
}

// changePool makes a change durable and returns the pool as it is then.
func (t *term) changePool(ctx context.Context, name fencing.PoolName, ask question) (*cirrusv1.Pool,
	error) {
	w := storeWait{t: t}
	d, err := w.carryOut(ctx, ask, w.nextWrite)
	if err != nil {
		return nil, err
	}
	if d.Write == nil {
		return w.confirmedPool(ctx, name) // there was nothing to change
	}
	shown, r := t.showPool(name)
	if r != nil {
		return nil, t.s.storeFailed() // the term ended just now: the change is done, or may be
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

// confirmedPool returns a pool as listings show it.
func (w *storeWait) confirmedPool(ctx context.Context, name fencing.PoolName) (*cirrusv1.Pool,
	error) {
	shown, r := w.t.showPool(name)
	if r != nil {
		return nil, w.refused(ctx, r)
	}
	return shown, w.confirm(ctx)
}

// GetPool implements answerer.
func (t *term) GetPool(ctx context.Context,
	req *cirrusv1.GetPoolRequest) (*cirrusv1.GetPoolResponse, error) {
	name, r := poolName(req.Name)
	if r != nil {
		return nil, r
	}
	w := storeWait{t: t}
	p, err := w.confirmedPool(ctx, name)
	return &cirrusv1.GetPoolResponse{Pool: p}, err
}

// ListPools implements answerer. A page's token is the last name on it.
func (t *term) ListPools(ctx context.Context,
	req *cirrusv1.ListPoolsRequest) (*cirrusv1.ListPoolsResponse, error) {
	size, r := pageSize(req.PageSize)
	if r != nil {
		return nil, r
	}
	if err := t.alive(); err != nil {
		return nil, err
	}
	if _, r := poolName(req.PageToken); r != nil {
		return nil, badToken(req.PageToken)
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
		return 0, badField("page_size",
			fmt.Sprintf("%d is too many: ask for at most %d", asked, MaxPage))
	}
	return int(asked), nil
}

// ListLeases implements answerer. A page's token is the node ID with which the
// next page begins.
func (t *term) ListLeases(ctx context.Context,
	req *cirrusv1.ListLeasesRequest) (*cirrusv1.ListLeasesResponse, error) {
	size, r := pageSize(req.PageSize)
	if r != nil {
		return nil, r
	}
	from, r := leaseToken(req.PageToken)
	if r != nil {
		return nil, r
	}
	pool, r := poolName(req.Pool)
	if r != nil {
		return nil, r
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
	// The messages are made without the lock (S14).
	resp := &cirrusv1.ListLeasesResponse{Leases: make([]*cirrusv1.LeaseStatus, len(rows)),
		ServerTimeMs: int64(server)}
	for i, row := range rows {
		resp.Leases[i] = wireStatus(row)
	}
	if more {
		resp.NextPageToken = strconv.FormatUint(uint64(next), 10)
	}
	return resp, nil
}

// rows returns a page of a listing.
func (t *term) rows(pool fencing.PoolName, from snowflake.NodeID,
	size int) (rows []fencing.LeaseStatus, next snowflake.NodeID, more bool,
	server snowflake.Millis, r *fencing.Refusal) {
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
	return badField("page_token", quoted(token)+
		" was not given out: pass on the next_page_token of the page before")
}

// Revoke implements answerer.
func (t *term) Revoke(ctx context.Context, req *cirrusv1.RevokeRequest) (*cirrusv1.RevokeResponse,
	error) {
	epoch := fencing.Epoch(req.Epoch)
	lease, err := t.changeLease(ctx, req.Pool, req.NodeId,
		func(now fencing.Now, pool fencing.PoolName, node snowflake.NodeID) (fencing.Decision,
			*fencing.Refusal) {
			return t.core.Revoke(now, pool, node, epoch)
		})
	if err != nil {
		return nil, err
	}
	return &cirrusv1.RevokeResponse{Lease: lease}, nil
}

// changeLease makes durable what an operator has decided about the lease of a node
// ID, and returns the lease as it is then.
func (t *term) changeLease(ctx context.Context, name string, id uint32,
	ask func(fencing.Now, fencing.PoolName, snowflake.NodeID) (fencing.Decision,
		*fencing.Refusal)) (*cirrusv1.LeaseStatus, error) {
	pool, r := poolName(name)
	if r != nil {
		return nil, r
	}
	node := snowflake.NodeID(id)
	w := storeWait{t: t}
	d, err := w.carryOut(ctx, func(now fencing.Now) (fencing.Decision, *fencing.Refusal) {
		return ask(now, pool, node)
	}, w.nextWrite)
	if err != nil {
		return nil, err
	}
	lease := t.showLease(pool, node)
	if d.Write == nil {
		err = w.confirm(ctx) // nothing was written, so this is a listing
	}
	return lease, err
}

func (t *term) showLease(pool fencing.PoolName, node snowflake.NodeID) *cirrusv1.LeaseStatus {
	now := t.enter()
	defer t.leave()
	status, _ := t.core.Lease(now, pool, node)
	return wireStatus(status)
}

// Free implements answerer.
func (t *term) Free(ctx context.Context, req *cirrusv1.FreeRequest) (*cirrusv1.FreeResponse,
	error) {
	epoch, last := fencing.Epoch(req.Epoch), (*snowflake.Millis)(req.LastTimestampMs)
	lease, err := t.changeLease(ctx, req.Pool, req.NodeId,
		func(now fencing.Now, pool fencing.PoolName, node snowflake.NodeID) (fencing.Decision,
			*fencing.Refusal) {
			return t.core.Free(now, pool, node, epoch, last)
		})
	if err != nil {
		return nil, err
	}
	return &cirrusv1.FreeResponse{Lease: lease}, nil
}
