package service

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/snowflake"
)

// Limits of LeaseService.
const (
	// MaxWait is how long an Acquire may wait for a free node ID.
	MaxWait = fencing.MaxWait
	// MaxBatch is how many heartbeats a HeartbeatBatch may have.
	MaxBatch = 1024
)

// leases answers LeaseService.
type leases struct{ s *Service }

// Acquire grants a node ID, or gives an instance its lease again.
func (h leases) Acquire(ctx context.Context, req *cirrusv1.AcquireRequest) (*cirrusv1.AcquireResponse, error) {
	if req.InstanceId == "" {
		// Before it goes anywhere: sent again, it is the same request (S10).
		req.InstanceId = string(h.s.newInstance())
	}
	return rpcAcquire.do(ctx, h.s, req)
}

var rpcAcquire = rpc[cirrusv1.AcquireRequest, cirrusv1.AcquireResponse]{
	here:  (*term).answerAcquire,
	there: (*peer).acquire,
	spent: func(req *cirrusv1.AcquireRequest, spent time.Duration) {
		if wait, r := duration("wait", req.Wait); r == nil && wait > 0 && wait <= MaxWait {
			req.Wait = durationpb.New(max(wait-spent, 0))
		}
	},
}

func (t *term) answerAcquire(ctx context.Context, req *cirrusv1.AcquireRequest) (*cirrusv1.AcquireResponse, error) {
	ask, wait, r := readAcquire(req)
	if r != nil {
		return nil, t.s.refusal(r)
	}
	lease, err := t.acquire(ctx, ask, wait)
	if err != nil {
		return nil, err
	}
	return &cirrusv1.AcquireResponse{Lease: wireLease(lease, req.InstanceId)}, nil
}

func readAcquire(req *cirrusv1.AcquireRequest) (ask fencing.AcquireRequest, wait time.Duration, r *fencing.Refusal) {
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

// newInstance makes an instance ID for a request that has none: 128 random bits.
func (s *Service) newInstance() fencing.InstanceID {
	var bits [16]byte
	if _, err := io.ReadFull(s.cfg.Random, bits[:]); err != nil {
		panic(fmt.Sprintf("no randomness for an instance ID: %v", err))
	}
	return fencing.InstanceID(hex.EncodeToString(bits[:]))
}

// Heartbeat keeps a lease.
func (h leases) Heartbeat(ctx context.Context, req *cirrusv1.HeartbeatRequest) (*cirrusv1.HeartbeatResponse, error) {
	return rpcHeartbeat.do(ctx, h.s, req)
}

var rpcHeartbeat = rpc[cirrusv1.HeartbeatRequest, cirrusv1.HeartbeatResponse]{
	here: func(t *term, ctx context.Context, req *cirrusv1.HeartbeatRequest) (*cirrusv1.HeartbeatResponse, error) {
		lease, err := t.heartbeat(ctx, req, &writeWait{t: t})
		if err != nil {
			return nil, err
		}
		return &cirrusv1.HeartbeatResponse{Lease: lease}, nil
	},
	there: (*peer).heartbeat,
}

func (t *term) heartbeat(ctx context.Context, req *cirrusv1.HeartbeatRequest, waits *writeWait) (*cirrusv1.Lease, error) {
	ref, r := leaseRef(req.GetPool(), req.GetNodeId(), req.GetEpoch(), req.GetInstanceId())
	if r != nil {
		return nil, t.s.refusal(r)
	}
	for {
		d, err := waits.decide(ctx, func(now fencing.Now) (fencing.Decision, *fencing.Refusal) {
			return t.core.Heartbeat(now, ref)
		})
		switch {
		case err != nil:
			return nil, err
		case d.Write == nil:
			t.s.metrics.heartbeat(ref.Pool)
			return wireLease(d.Lease, req.GetInstanceId()), nil
		}
		// A silence note goes first (S5), and then the rules are asked again.
		if err := waits.write(ctx, d.Write); err != nil {
			return nil, err
		}
	}
}

// leaseRef reads which lease a request speaks of.
func leaseRef(pool string, node uint32, epoch uint64, instance string) (fencing.LeaseRef, *fencing.Refusal) {
	id := fencing.InstanceID(instance)
	if instance == "" {
		return fencing.LeaseRef{}, badField("instance_id", "it is missing: give the one that Acquire answered")
	}
	if r := id.Validate(); r != nil {
		return fencing.LeaseRef{}, r
	}
	name, r := poolName(pool)
	return fencing.LeaseRef{
		Pool: name, Node: snowflake.NodeID(node), Epoch: fencing.Epoch(epoch), Instance: id.Hash(),
	}, r
}

// Release ends a lease.
func (h leases) Release(ctx context.Context, req *cirrusv1.ReleaseRequest) (*cirrusv1.ReleaseResponse, error) {
	return rpcRelease.do(ctx, h.s, req)
}

var rpcRelease = rpc[cirrusv1.ReleaseRequest, cirrusv1.ReleaseResponse]{
	here:  (*term).answerRelease,
	there: (*peer).release,
}

func (t *term) answerRelease(ctx context.Context, req *cirrusv1.ReleaseRequest) (*cirrusv1.ReleaseResponse, error) {
	ref, r := leaseRef(req.Pool, req.NodeId, req.Epoch, req.InstanceId)
	if r != nil {
		return nil, t.s.refusal(r)
	}
	var last *snowflake.Millis
	if req.LastTimestampMs != nil {
		last = (*snowflake.Millis)(req.LastTimestampMs)
	}
	waits := writeWait{t: t}
	_, err := waits.carryOut(ctx, func(now fencing.Now) (fencing.Decision, *fencing.Refusal) {
		return t.core.Release(now, ref, last)
	})
	if err != nil {
		return nil, err
	}
	return &cirrusv1.ReleaseResponse{}, nil
}
