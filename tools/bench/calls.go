package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// acquire leases n node IDs, and returns a heartbeat of each. It also acquires from a
// server that does nothing, so that the heartbeats that are sent to it later are as
// large as those that are sent to a real one.
func (r *measuring) acquire(c *child, n int) []*cirrusv1.HeartbeatRequest {
	ctx, closeAll := context.WithCancel(r.ctx)
	defer closeAll()
	all := must(dialMany(ctx, c.Addr, min(n, inFlight)))
	beats := make([]*cirrusv1.HeartbeatRequest, n)
	check(each(len(all), func(worker int) error {
		for i := worker; i < n; i += len(all) {
			var got cirrusv1.AcquireResponse
			req := &cirrusv1.AcquireRequest{AppId: appID(i), InstanceId: instanceID(i)}
			if err := all[worker].call(cirrusv1connect.LeaseServiceAcquireProcedure, req,
				&got); err != nil {
				return err
			}
			beats[i] = &cirrusv1.HeartbeatRequest{
				Pool: got.Lease.Pool, NodeId: got.Lease.NodeId, Epoch: got.Lease.Epoch,
				InstanceId: instanceID(i),
			}
		}
		return nil
	}))
	return beats
}

// repeated returns an operation whose workers each send one of the messages again
// and again, on a connection of their own.
func repeated[M proto.Message](r *measuring, c *child, procedure string, messages []M) operation {
	requests := make([][]byte, len(messages))
	for i, msg := range messages {
		requests[i] = must(request(procedure, msg))
	}
	all := must(dialMany(r.ctx, c.Addr, len(messages)))
	return func(_ context.Context, worker int) error {
		_, err := all[worker].send(requests[worker])
		return err
	}
}

// heartbeats returns an operation that sends heartbeats, each for a lease of its own,
// in equal parts to several servers.
func (r *measuring) heartbeats(beats []*cirrusv1.HeartbeatRequest, to ...*child) operation {
	share := len(beats) / len(to)
	var ops []operation
	for i, c := range to {
		ops = append(ops, repeated(r, c, cirrusv1connect.LeaseServiceHeartbeatProcedure,
			beats[i*share:(i+1)*share]))
	}
	return func(ctx context.Context,
		worker int) error {
		return ops[worker/share](ctx, worker%share)
	}
}

// grants returns an operation that acquires a node ID and keeps it, under a new
// instance ID each time (C1).
func (r *measuring) grants(c *child, workers int) operation {
	all := must(dialMany(r.ctx, c.Addr, workers))
	var instances atomic.Int64
	return func(_ context.Context, worker int) error {
		_, err := grant(all[worker], worker, int(instances.Add(1)))
		return err
	}
}

func grant(to *conn, app, instance int) (*cirrusv1.Lease, error) {
	req := &cirrusv1.AcquireRequest{AppId: appID(app), InstanceId: instanceID(instance)}
	var got cirrusv1.AcquireResponse
	err := to.call(cirrusv1connect.LeaseServiceAcquireProcedure, req, &got)
	return got.Lease, err
}

// grantsAndReleases returns an operation that acquires a node ID and releases it. The
// holder says that it minted in the first ms of its window, so the node ID is free in
// the next.
func (r *measuring) grantsAndReleases(c *child, workers int) operation {
	all := must(dialMany(r.ctx, c.Addr, workers))
	var instances atomic.Int64
	return func(_ context.Context, worker int) error {
		instance := int(instances.Add(1))
		l, err := grant(all[worker], worker, instance)
		if err != nil {
			return err
		}
		release := &cirrusv1.ReleaseRequest{
			Pool: l.Pool, NodeId: l.NodeId, Epoch: l.Epoch, InstanceId: instanceID(instance),
			LastTimestampMs: &l.FloorMs,
		}
		return all[worker].call(cirrusv1connect.LeaseServiceReleaseProcedure, release,
			&cirrusv1.ReleaseResponse{})
	}
}

// beatOnce sends a heartbeat for live lease n.
func (m made) beatOnce(to *conn, n int) error {
	rec := m.record(n)
	return to.call(cirrusv1connect.LeaseServiceHeartbeatProcedure, &cirrusv1.HeartbeatRequest{
		Pool: string(rec.Pool), NodeId: uint32(rec.Node), Epoch: uint64(rec.Epoch),
		InstanceId: instanceID(n),
	}, &cirrusv1.HeartbeatResponse{})
}

// awaitHeartbeat returns when a server has answered a heartbeat for live lease n.
func (r *measuring) awaitHeartbeat(c *child, m made, n int) {
	to := must(dial(r.ctx, c.Addr))
	check(m.beatOnce(to, n))
	check(to.Close())
}

// beats asks a process to send heartbeats at a steady pace, one after the other, each
// for another live lease. Single heartbeats whose time is measured while this process
// does something else need a process of their own: here, an answer would wait until
// Go has a thread for it.
type beats struct {
	Addr       string
	Pool       fencing.PoolName
	FirstEpoch fencing.Epoch
	Leases     int
	Every, For time.Duration
}

// send sends them, and returns what 99 of 100 did not exceed, in ms.
func (b beats) send(ctx context.Context) (float64, error) {
	m := made{Meta: &fencing.Meta{FirstEpoch: b.FirstEpoch}, Pools: []fencing.Pool{{Name: b.Pool}}}
	ctx, hangUp := context.WithCancel(ctx)
	defer hangUp()
	to, err := dial(ctx, b.Addr)
	if err != nil {
		return 0, err
	}
	var took []float64
	_, err = paced(ctx, b.For, b.Every, func(n int) error {
		before := time.Now()
		err := m.beatOnce(to, n%b.Leases)
		took = append(took, time.Since(before).Seconds()*1e3)
		return err
	})
	return percentile99(took), err
}

// besideNothing measures calls to a real server beside the same calls to one that
// does nothing, and beside further sides.
func (r *measuring) besideNothing(workers int, call func(*child) operation, further ...side) (ours,
	nothing []sample, others [][]sample) {
	idle, real := r.startPair()
	sides := []side{loaded(idle, workers, call(idle)), loaded(real, workers, call(real))}
	samples := r.takeTurns(append(sides, further...)...)
	return samples[1], samples[0], samples[2:]
}

// cpuOf compares the CPU time that a server needs for an operation.
func cpuOf(what string, ours []sample, limitIs string, limit []sample, target float64,
	note string) Row {
	return comparison{
		what: what, unit: "µs CPU", scale: 1e3, figure: cpuEach, ours: ours,
		limitIs: limitIs, limit: of(limit, cpuEach), target: Target{"≤", target}, note: note,
	}.row()
}

// us and ms write a median in these units.
func us(samples []sample, f figure) string { return number(median(samples, f)/1e3) + " µs" }

func count(samples []sample) (n int64) {
	for _, s := range samples {
		n += s.ops
	}
	return n
}

func records(n int) string { return fmt.Sprintf("%s records", number(float64(n))) }
