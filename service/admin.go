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
	p, r := newPool(req.GetPool())
	if r != nil {
		return nil, toWire(h.s.refusal(r))
	}
	shown, err := h.s.CreatePool(ctx, p)
	return &cirrusv1.CreatePoolResponse{Pool: shown}, toWire(err)
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

// CreatePool makes the pool durable and returns it as it is then.
func (s *Service) CreatePool(ctx context.Context, p fencing.Pool) (*cirrusv1.Pool, error) {
	return s.changePool(ctx, p.Name, func(now fencing.Now) (fencing.Decision, *fencing.Refusal) {
		return s.core.CreatePool(now, p)
	})
}

// UpdatePool changes what may change of a pool.
func (h admin) UpdatePool(ctx context.Context, req *cirrusv1.UpdatePoolRequest) (*cirrusv1.UpdatePoolResponse, error) {
	name, r := poolName(req.GetPool().GetName())
	if r != nil {
		return nil, toWire(h.s.refusal(r))
	}
	c, r := poolChange(req.GetPool())
	if r != nil {
		return nil, toWire(h.s.refusal(r))
	}
	shown, err := h.s.UpdatePool(ctx, name, c)
	return &cirrusv1.UpdatePoolResponse{Pool: shown}, toWire(err)
}

// UpdatePool makes the change durable and returns the pool as it is then.
func (s *Service) UpdatePool(ctx context.Context, name fencing.PoolName, c fencing.PoolChange) (*cirrusv1.Pool, error) {
	return s.changePool(ctx, name, func(now fencing.Now) (fencing.Decision, *fencing.Refusal) {
		return s.core.UpdatePool(now, name, c)
	})
}

func (s *Service) changePool(ctx context.Context, name fencing.PoolName, ask func(fencing.Now) (fencing.Decision, *fencing.Refusal)) (*cirrusv1.Pool, error) {
	d, err := s.decide(ctx, ask)
	if err != nil {
		return nil, err
	}
	if err := s.write(d); err != nil {
		return nil, err
	}
	s.keepNow() // it may have something to open
	return s.showPool(name)
}

func (s *Service) showPool(name fencing.PoolName) (*cirrusv1.Pool, error) {
	now := s.enter()
	defer s.leave()
	p, opensIn, r := s.core.Pool(now, name)
	if r != nil {
		return nil, s.refusal(r)
	}
	return wirePool(p, opensIn, s.core.ServerTime()), nil
}

// GetPool shows one pool.
func (h admin) GetPool(_ context.Context, req *cirrusv1.GetPoolRequest) (*cirrusv1.GetPoolResponse, error) {
	name, r := poolName(req.Name)
	if r != nil {
		return nil, toWire(h.s.refusal(r))
	}
	p, err := h.s.showPool(name)
	return &cirrusv1.GetPoolResponse{Pool: p}, toWire(err)
}

// ListPools shows pools by name. A page's token is the last name on it.
func (h admin) ListPools(_ context.Context, req *cirrusv1.ListPoolsRequest) (*cirrusv1.ListPoolsResponse, error) {
	size, r := pageSize(req.PageSize)
	if r != nil {
		return nil, toWire(h.s.refusal(r))
	}
	if err := h.s.alive(); err != nil {
		return nil, toWire(err)
	}
	if _, r := poolName(req.PageToken); r != nil {
		return nil, toWire(h.s.refusal(badToken(req.PageToken)))
	}
	names := h.s.poolNames()
	i := sort.Search(len(names), func(i int) bool { return string(names[i]) > req.PageToken })
	names = names[i:]
	resp := &cirrusv1.ListPoolsResponse{}
	if len(names) > size {
		names = names[:size]
		resp.NextPageToken = string(names[size-1])
	}
	for _, name := range names {
		p, err := h.s.showPool(name)
		if err != nil {
			return nil, toWire(err)
		}
		resp.Pools = append(resp.Pools, p)
	}
	return resp, nil
}

func (s *Service) poolNames() []fencing.PoolName {
	s.enter()
	defer s.leave()
	return s.core.PoolNames()
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
func (h admin) ListLeases(_ context.Context, req *cirrusv1.ListLeasesRequest) (*cirrusv1.ListLeasesResponse, error) {
	size, r := pageSize(req.PageSize)
	if r != nil {
		return nil, toWire(h.s.refusal(r))
	}
	from, r := leaseToken(req.PageToken)
	if r != nil {
		return nil, toWire(h.s.refusal(r))
	}
	pool, r := poolName(req.Pool)
	if r != nil {
		return nil, toWire(h.s.refusal(r))
	}
	now := h.s.enter()
	defer h.s.leave()
	rows, next, more, r := h.s.core.List(now, pool, from, size)
	if r != nil {
		return nil, toWire(h.s.refusal(r))
	}
	resp := &cirrusv1.ListLeasesResponse{Leases: make([]*cirrusv1.LeaseStatus, len(rows))}
	for i, row := range rows {
		resp.Leases[i] = wireStatus(row)
	}
	if more {
		resp.NextPageToken = strconv.FormatUint(uint64(next), 10)
	}
	return resp, nil
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
	pool, r := poolName(req.Pool)
	if r != nil {
		return nil, toWire(h.s.refusal(r))
	}
	node, epoch := snowflake.NodeID(req.NodeId), fencing.Epoch(req.Epoch)
	d, err := h.s.decide(ctx, func(now fencing.Now) (fencing.Decision, *fencing.Refusal) {
		return h.s.core.Revoke(now, pool, node, epoch)
	})
	if err == nil {
		err = h.s.write(d)
	}
	if err != nil {
		return nil, toWire(err)
	}
	now := h.s.enter()
	defer h.s.leave()
	status, _ := h.s.core.Lease(now, pool, node)
	return &cirrusv1.RevokeResponse{Lease: wireStatus(status)}, nil
}
