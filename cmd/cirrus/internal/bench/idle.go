package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

const (
	// idleTarget is a percentage of a core.
	idleTarget = 1.0
	// idleEvery is how often each of the leases is kept.
	idleEvery = 10 * time.Second
	// idleTimes is how much longer than everything else the idle service is
	// watched, so that by default some marks are written meanwhile.
	idleTimes = 5
)

// idle watches a service that has nothing to do but keep its leases: each has a
// connection of its own, and their heartbeats come evenly. Beside it stands what
// a server that does nothing needs for as many calls; it is no limit, but most
// of the cost.
func idle(ctx context.Context, b *bench) (_ []Row, err error) {
	p, err := b.startPair(ctx, "idle")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.end()) }()
	ours, err := b.watchIdle(ctx, p.real)
	if err != nil {
		return nil, err
	}
	nothing, err := b.watchIdle(ctx, p.nothing)
	if err != nil {
		return nil, err
	}
	share := func(s sample) float64 { return 100 * s.cpu.Seconds() / s.wall.Seconds() }
	return []Row{Row{
		What: fmt.Sprintf("Idle, %d live leases, a heartbeat every %v each", b.idleLeases, idleEvery), Unit: "% of a core",
		Ours: share(ours), Target: Target{"<", idleTarget},
		Note: fmt.Sprintf("%d heartbeats and the mark's writes in %v: %s µs CPU a heartbeat; as many calls that do nothing: %s %% of a core",
			ours.ops, ours.wall.Round(time.Millisecond), number(cpuEach(ours)/1e3), number(share(nothing))),
	}.judged()}, nil
}

func (b *bench) watchIdle(ctx context.Context, c *child) (sample, error) {
	h, err := acquire(ctx, c.addr, b.idleLeases)
	if err != nil {
		return sample{}, err
	}
	all, closeAll, err := conns(ctx, c.addr, b.idleLeases)
	if err != nil {
		return sample{}, err
	}
	defer closeAll()
	keep := func(i int) error {
		req, err := request(cirrusv1connect.LeaseServiceHeartbeatProcedure, h.requests[i])
		if err == nil {
			_, err = all[i].send(req)
		}
		return err
	}
	// Each connection has made a call before, as in a service that has run for
	// a while.
	if err := each(len(all), keep); err != nil {
		return sample{}, err
	}
	return c.during(func() (sample, error) {
		return paced(ctx, idleTimes*b.For, idleEvery/time.Duration(len(all)), func(n int) error { return keep(n % len(all)) })
	})
}

// paced does something again and again, on time, until the time is over.
func paced(ctx context.Context, total, every time.Duration, do func(n int) error) (sample, error) {
	started := time.Now()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return sample{}, ctx.Err()
		}
		if passed := time.Since(started); passed > total {
			return sample{ops: int64(n), wall: passed}, nil
		}
		if err := do(n); err != nil {
			return sample{}, err
		}
	}
}
