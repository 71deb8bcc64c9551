package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// Targets of Acquire + Release.
const (
	acquireCPUTarget   = 1.6
	acquireRateTarget  = 0.6 // of two calls that do nothing
	acquireDiskTarget  = 0.8 // of what the disk's syncs allow
	acquireAloneTarget = 1.3
)

// acquireRelease: inFlight apps come and go, each with a node ID that it
// releases as soon as it has it. Both calls are durable.
func acquireRelease(ctx context.Context, b *bench) ([]Row, error) {
	m, err := b.measureAcquire(ctx, "acquire", inFlight)
	if err != nil {
		return nil, err
	}
	cpu := Row{
		What: "Acquire + Release, durable, 64 in flight", Unit: "µs CPU", LimitIs: "two calls that do nothing",
		Ours: median(m.ours, cpuEach) / 1e3, Limit: median(m.nothing, cpuEach) / 1e3,
		Ratio:  medianRatio(m.ours, cpuEach, of(m.nothing, cpuEach)),
		Target: Target{"≤", acquireCPUTarget},
		Note:   rates("pairs", m.ours, m.nothing),
	}
	// A pair is two synced writes.
	allowed := func(round int) float64 {
		return min(acquireRateTarget*rate(m.nothing[round]), acquireDiskTarget*rate(m.disk[round])/2)
	}
	pace := Row{
		What: "… how many a second", Unit: "/s", LimitIs: "0.6 × doing nothing, or 0.8 × the syncs",
		Ours: median(m.ours, rate), Limit: overRounds(b.rounds, allowed),
		Ratio:  medianRatio(m.ours, rate, allowed),
		Target: Target{"≥", 1},
		Note: fmt.Sprintf("doing nothing: %s pairs a second; the disk: %s synced writes a second with 64 in flight",
			number(median(m.nothing, rate)), number(median(m.disk, rate))),
	}
	return []Row{cpu.judged(), pace.judged()}, nil
}

// acquireReleaseAlone is the same with nobody to share a sync with.
func acquireReleaseAlone(ctx context.Context, b *bench) ([]Row, error) {
	m, err := b.measureAcquire(ctx, "alone", 1)
	if err != nil {
		return nil, err
	}
	limit := func(round int) float64 { return typical(m.nothing[round]) + 2*typical(m.disk[round]) }
	return []Row{Row{
		What: "Acquire + Release, durable, one client alone", Unit: "µs", LimitIs: "two syncs and two calls that do nothing",
		Ours: median(m.ours, typical) / 1e3, Limit: overRounds(b.rounds, limit) / 1e3,
		Ratio:  medianRatio(m.ours, typical, limit),
		Target: Target{"≤", acquireAloneTarget},
		Note: fmt.Sprintf("a sync takes %s µs, two calls that do nothing %s µs",
			number(median(m.disk, typical)/1e3), number(median(m.nothing, typical)/1e3)),
	}.judged()}, nil
}

// acquireSamples are what Acquire + Release is compared with, round by round.
type acquireSamples struct{ nothing, ours, disk []sample }

func (b *bench) measureAcquire(ctx context.Context, name string, workers int) (m acquireSamples, err error) {
	p, err := b.startPair(ctx, name)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, p.end()) }()
	d, err := openDisk(b.dir)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	nothing, done, err := comeAndGo(ctx, p.nothing, workers)
	if err != nil {
		return m, err
	}
	defer done()
	ours, done, err := comeAndGo(ctx, p.real, workers)
	if err != nil {
		return m, err
	}
	defer done()
	samples, err := b.takeTurns(ctx,
		loaded(p.nothing, workers, nothing), loaded(p.real, workers, ours), d.side(workers))
	if err != nil {
		return m, err
	}
	return acquireSamples{samples[0], samples[1], samples[2]}, nil
}

// comeAndGo acquires and releases, under a new instance ID each time (C1). The
// holder says that it minted in its first ms, so its node ID is free in the
// next.
func comeAndGo(ctx context.Context, c *child, workers int) (operation, func(), error) {
	all, closeAll, err := conns(ctx, c.addr, workers)
	if err != nil {
		return nil, nil, err
	}
	var instances atomic.Int64
	return func(_ context.Context, worker int) error {
		acquire := &cirrusv1.AcquireRequest{AppId: appID(worker), InstanceId: instanceID(int(instances.Add(1)))}
		var got cirrusv1.AcquireResponse
		if err := all[worker].call(cirrusv1connect.LeaseServiceAcquireProcedure, acquire, &got); err != nil {
			return err
		}
		release := &cirrusv1.ReleaseRequest{
			Pool: got.Lease.Pool, NodeId: got.Lease.NodeId, Epoch: got.Lease.Epoch,
			InstanceId: acquire.InstanceId, LastTimestampMs: &got.Lease.FloorMs,
		}
		return all[worker].call(cirrusv1connect.LeaseServiceReleaseProcedure, release, &cirrusv1.ReleaseResponse{})
	}, closeAll, nil
}
