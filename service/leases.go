package service

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"

	"github.com/cirrus-id/cirrus/fencing"
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
	instance, ask, wait, r := h.acquireRequest(req)
	if r != nil {
		return nil, toWire(h.s.refusal(r))
	}
	lease, err := h.s.acquire(ctx, ask, wait)
	if err != nil {
		return nil, toWire(err)
	}
	return &cirrusv1.AcquireResponse{Lease: wireLease(lease, string(instance))}, nil
}

func (h leases) acquireRequest(req *cirrusv1.AcquireRequest) (instance fencing.InstanceID, ask fencing.AcquireRequest, wait time.Duration, r *fencing.Refusal) {
	instance = fencing.InstanceID(req.InstanceId)
	if instance == "" {
		instance = h.s.newInstance()
	}
	if r = instance.Validate(); r != nil {
		return instance, ask, 0, r
	}
	ask = fencing.AcquireRequest{App: fencing.AppID(req.AppId), Instance: instance.Hash()}
	if ask.Pool, r = poolName(req.Pool); r != nil {
		return instance, ask, 0, r
	}
	if r = ask.App.Validate(); r != nil {
		return instance, ask, 0, r
	}
	if ask.TTL, r = positive("ttl", req.Ttl); r != nil {
		return instance, ask, 0, r
	}
	if wait, r = duration("wait", req.Wait); r != nil {
		return instance, ask, 0, r
	}
	if wait < 0 || wait > MaxWait {
		r = badField("wait", fmt.Sprintf("%v is out of range: give 0 to %v", wait, MaxWait))
	}
	return instance, ask, wait, r
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
	lease, err := h.s.heartbeat(ctx, req)
	if err != nil {
		return nil, toWire(err)
	}
	return &cirrusv1.HeartbeatResponse{Lease: lease}, nil
}

func (s *Service) heartbeat(ctx context.Context, req *cirrusv1.HeartbeatRequest) (*cirrusv1.Lease, error) {
	ref, r := leaseRef(req.GetPool(), req.GetNodeId(), req.GetEpoch(), req.GetInstanceId())
	if r != nil {
		return nil, s.refusal(r)
	}
	d, err := s.decide(ctx, func(now fencing.Now) (fencing.Decision, *fencing.Refusal) {
		return s.core.Heartbeat(now, ref)
	})
	if err != nil {
		return nil, err
	}
	s.metrics.heartbeat(ref.Pool)
	return wireLease(d.Lease, req.GetInstanceId()), nil
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
	ref, r := leaseRef(req.Pool, req.NodeId, req.Epoch, req.InstanceId)
	if r != nil {
		return nil, toWire(h.s.refusal(r))
	}
	var last *snowflake.Millis
	if req.LastTimestampMs != nil {
		last = (*snowflake.Millis)(req.LastTimestampMs)
	}
	d, err := h.s.decide(ctx, func(now fencing.Now) (fencing.Decision, *fencing.Refusal) {
		return h.s.core.Release(now, ref, last)
	})
	if err == nil {
		err = h.s.write(d)
	}
	if err != nil {
		return nil, toWire(err)
	}
	return &cirrusv1.ReleaseResponse{}, nil
}

// write makes a decision's write durable, if it has one.
func (s *Service) write(d fencing.Decision) error {
	if d.Write == nil {
		return nil
	}
	err := s.commit(d.Write)
	if err == nil || errors.Is(err, errStopping) {
		return err
	}
	return s.storeFailed()
}
