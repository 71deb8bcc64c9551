package service

import (
	"context"
	"fmt"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/snowflake"
)

// Acquire implements answerer.
func (t *term) Acquire(ctx context.Context, req *cirrusv1.AcquireRequest) (*cirrusv1.AcquireResponse, error) {
	ask, wait, r := readAcquire(req)
	if r != nil {
		return nil, r
	}
	lease, err := t.acquire(ctx, ask, wait)
	if err != nil {
		return nil, err
	}
	return &cirrusv1.AcquireResponse{Lease: wireLease(lease, req.InstanceId)}, nil
}

func readAcquire(req *cirrusv1.AcquireRequest) (ask fencing.AcquireRequest, wait time.Duration,
	r *fencing.Refusal) {
	instance := fencing.InstanceID(req.InstanceId)
	if r = instance.Validate(); r != nil {
		return ask, 0, r
	}
	ask = fencing.AcquireRequest{App: fencing.AppID(req.AppId), Instance: instance.Hash()}
	if ask.Pool, r = poolName(req.Pool); r != nil {
		return ask, 0, r
	}
	if r = ask.App.Validate(); r != nil {
		return ask, 0, r
	}
	if ask.TTL, r = positive("ttl", req.Ttl); r != nil {
		return ask, 0, r
	}
	if wait, r = duration("wait", req.Wait); r != nil {
		return ask, 0, r
	}
	if wait < 0 || wait > MaxWait {
		r = badField("wait", fmt.Sprintf("%v is out of range: give 0 to %v", wait, MaxWait))
	}
	return ask, wait, r
}

// Heartbeat implements answerer.
func (t *term) Heartbeat(ctx context.Context,
	req *cirrusv1.HeartbeatRequest) (*cirrusv1.HeartbeatResponse, error) {
	lease, err := t.heartbeat(ctx, req, &storeWait{t: t})
	if err != nil {
		return nil, err
	}
	return &cirrusv1.HeartbeatResponse{Lease: lease}, nil
}

// heartbeat extends a lease. w is the request's, or that of the batch it is of.
func (t *term) heartbeat(ctx context.Context, req *cirrusv1.HeartbeatRequest,
	w *storeWait) (*cirrusv1.Lease, error) {
	ref, r := leaseRef(req.GetPool(), req.GetNodeId(), req.GetEpoch(), req.GetInstanceId())
	if r != nil {
		return nil, r
	}
	lease, err := w.promise(ctx, func(now fencing.Now) (fencing.Decision, *fencing.Refusal) {
		return t.core.Heartbeat(now, ref)
	}, w.nextWrite)
	if err != nil {
		return nil, err
	}
	t.s.metrics.heartbeat(ref.Pool)
	return wireLease(lease, req.GetInstanceId()), nil
}

// Release implements answerer.
func (t *term) Release(ctx context.Context,
	req *cirrusv1.ReleaseRequest) (*cirrusv1.ReleaseResponse, error) {
	ref, r := leaseRef(req.Pool, req.NodeId, req.Epoch, req.InstanceId)
	if r != nil {
		return nil, r
	}
	var last *snowflake.Millis
	if req.LastTimestampMs != nil {
		last = (*snowflake.Millis)(req.LastTimestampMs)
	}
	w := storeWait{t: t}
	_, err := w.carryOut(ctx, func(now fencing.Now) (fencing.Decision, *fencing.Refusal) {
		return t.core.Release(now, ref, last)
	}, w.nextWrite)
	if err != nil {
		return nil, err
	}
	return &cirrusv1.ReleaseResponse{}, nil
}
