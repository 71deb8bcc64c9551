package service

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

// leases serves LeaseService. Each call goes through route to an answerer.
type leases struct{ s *Service }

// Acquire grants a node ID, or gives an instance its lease again.
func (h leases) Acquire(ctx context.Context, req *cirrusv1.AcquireRequest) (*cirrusv1.AcquireResponse, error) {
	if req.InstanceId == "" {
		// Before the request is routed: asked again, it is the same request (S10).
		req.InstanceId = string(h.s.newInstance())
	}
	return route(ctx, h.s, req, answerer.Acquire, retries{waited: func(d time.Duration) {
		if wait, r := duration("wait", req.Wait); r == nil && wait > 0 && wait <= MaxWait {
			req.Wait = durationpb.New(max(wait-d, 0))
		}
	}})
}

// Heartbeat extends a lease.
func (h leases) Heartbeat(ctx context.Context,
	req *cirrusv1.HeartbeatRequest) (*cirrusv1.HeartbeatResponse, error) {
	return route(ctx, h.s, req, answerer.Heartbeat, retries{})
}

// HeartbeatBatch extends many leases, and answers for each of them.
func (h leases) HeartbeatBatch(ctx context.Context,
	req *cirrusv1.HeartbeatBatchRequest) (*cirrusv1.HeartbeatBatchResponse, error) {
	return route(ctx, h.s, req, answerer.HeartbeatBatch, retries{})
}

// Release ends a lease.
func (h leases) Release(ctx context.Context,
	req *cirrusv1.ReleaseRequest) (*cirrusv1.ReleaseResponse, error) {
	return route(ctx, h.s, req, answerer.Release, retries{})
}

// admin serves AdminService. Each call goes through route to an answerer.
type admin struct{ s *Service }

// CreatePool creates a pool. Repeating it with the same settings succeeds.
func (h admin) CreatePool(ctx context.Context,
	req *cirrusv1.CreatePoolRequest) (*cirrusv1.CreatePoolResponse, error) {
	return route(ctx, h.s, req, answerer.CreatePool, retries{})
}

// UpdatePool changes those settings of a pool that can change.
func (h admin) UpdatePool(ctx context.Context,
	req *cirrusv1.UpdatePoolRequest) (*cirrusv1.UpdatePoolResponse, error) {
	// A repetition could undo what somebody else has changed since.
	return route(ctx, h.s, req, answerer.UpdatePool, retries{once: true})
}

// GetPool shows one pool.
func (h admin) GetPool(ctx context.Context,
	req *cirrusv1.GetPoolRequest) (*cirrusv1.GetPoolResponse, error) {
	return route(ctx, h.s, req, answerer.GetPool, retries{})
}

// ListPools shows pools by name.
func (h admin) ListPools(ctx context.Context,
	req *cirrusv1.ListPoolsRequest) (*cirrusv1.ListPoolsResponse, error) {
	return route(ctx, h.s, req, answerer.ListPools, retries{})
}

// ListLeases shows the node IDs that were ever granted, in order.
func (h admin) ListLeases(ctx context.Context,
	req *cirrusv1.ListLeasesRequest) (*cirrusv1.ListLeasesResponse, error) {
	return route(ctx, h.s, req, answerer.ListLeases, retries{})
}

// Revoke makes the service refuse further heartbeats of a lease.
func (h admin) Revoke(ctx context.Context, req *cirrusv1.RevokeRequest) (*cirrusv1.RevokeResponse,
	error) {
	return route(ctx, h.s, req, answerer.Revoke, retries{})
}

// Free ends a lease on the caller's word that its holder is dead.
func (h admin) Free(ctx context.Context, req *cirrusv1.FreeRequest) (*cirrusv1.FreeResponse,
	error) {
	return route(ctx, h.s, req, answerer.Free, retries{})
}

// Watch streams the leases that are present in a pool, and then what happens to
// them.
func (h admin) Watch(ctx context.Context, req *cirrusv1.WatchRequest,
	stream *connect.ServerStream[cirrusv1.WatchResponse]) error {
	leave, refused := h.s.shareOfWatches(ctx)
	if refused != nil {
		return h.s.wireError(refused)
	}
	defer leave()
	_, err := route(ctx, h.s, req,
		func(a answerer, ctx context.Context, req *cirrusv1.WatchRequest) (*struct{}, error) {
			return nil, a.Watch(ctx, req, stream)
		}, retries{})
	return err
}

// shareOfWatches counts a stream of Watch for the remote address, so that no single
// one has them all. A stream that a replica forwards was counted there.
func (s *Service) shareOfWatches(ctx context.Context) (leave func(), refused *fencing.Refusal) {
	info, ok := connect.CallInfoForHandlerContext(ctx)
	if !ok || s.cfg.Cluster != nil && forwarded(ctx) {
		return func() {}, nil
	}
	at, err := netip.ParseAddrPort(info.Peer().Addr)
	if err != nil {
		return func() {}, nil // the request came over no network
	}
	remote := shareOf(at.Addr())
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.watches.take(remote) {
		return nil, &fencing.Refusal{
			Reason: reasonTooMany,
			Message: fmt.Sprintf(
				"%d streams of Watch of your address are open, which is the most for one: close one, or share one", maxWatchesPerAddress),
		}
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.watches.give(remote)
	}, nil
}
