package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// Targets of replicas.
const (
	leaderTarget      = 1.05 // of the CPU on Pebble
	leaderTripsTarget = 0.01 // a heartbeat
	grantsTarget      = 2.0  // of the transactions
	followersTarget   = 4.0  // µs of the leader's CPU
	loneTarget        = 1.0  // ms
	idleWritesTarget  = 1.0  // a second
	takeoverTarget    = 2.0  // seconds
)

// idleEtcdTimes is how much longer than everything else the idle replicas are
// watched: 30 s by default, in which six marks are written.
const idleEtcdTimes = 15

// defaultPool is what a store has unless it is told otherwise.
func defaultPool() fencing.Pool { return fencing.NewPool(fencing.DefaultPool) }

// beats readies heartbeats that go over these connections, each with a lease of
// its own.
func beats(ctx context.Context, leases held, to ...*child) (operation, func(), error) {
	each := len(leases.requests) / len(to)
	var ops []operation
	var ends []func()
	endAll := func() {
		for _, end := range ends {
			end()
		}
	}
	for i, c := range to {
		var messages []proto.Message
		for _, req := range leases.requests[i*each : (i+1)*each] {
			messages = append(messages, req)
		}
		op, done, err := prepared(ctx, c, cirrusv1connect.LeaseServiceHeartbeatProcedure, messages)
		if err != nil {
			endAll()
			return nil, nil, err
		}
		ops, ends = append(ops, op), append(ends, done)
	}
	return func(ctx context.Context, worker int) error { return ops[worker/each](ctx, worker%each) }, endAll, nil
}

// heartbeatLeader compares the leader with a server on Pebble: a heartbeat
// costs etcd nothing, so the two should cost the same.
func heartbeatLeader(ctx context.Context, b *bench) (_ []Row, err error) {
	dir, _, err := b.store("leader", defaultPool())
	if err != nil {
		return nil, err
	}
	alone, err := b.start(ctx, Real, "leader", "--data", dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, alone.end()) }()
	r, err := b.startReplicas(ctx, "leader", defaultPool())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.end()) }()
	var sides []side
	for _, c := range []*child{alone, r.leader()} {
		h, err := acquire(ctx, c.addr, inFlight)
		if err != nil {
			return nil, err
		}
		op, done, err := beats(ctx, h, c)
		if err != nil {
			return nil, err
		}
		defer done()
		sides = append(sides, loaded(c, inFlight, op))
	}
	before, err := r.leader().trips(ctx, "")
	if err != nil {
		return nil, err
	}
	samples, err := b.takeTurns(ctx, sides...)
	if err != nil {
		return nil, err
	}
	after, err := r.leader().trips(ctx, "")
	if err != nil {
		return nil, err
	}
	limit, ours := samples[0], samples[1]
	cpu := Row{
		What: "Heartbeat at the leader of three replicas on etcd, 64 in flight", Unit: "µs CPU", LimitIs: "the same on Pebble",
		Ours: median(ours, cpuEach) / 1e3, Limit: median(limit, cpuEach) / 1e3,
		Ratio:  medianRatio(ours, cpuEach, of(limit, cpuEach)),
		Target: Target{"≤", leaderTarget},
		Note:   fmt.Sprintf("heartbeats a second: %s, on Pebble %s", number(median(ours, rate)), number(median(limit, rate))),
	}
	beats := total(ours)
	trips := Row{
		What: "… its round trips to etcd meanwhile, for each of them", Unit: "each",
		Ours: (after - before) / float64(beats), Target: Target{"<", leaderTripsTarget},
		Note: fmt.Sprintf("%s round trips, all for the mark, beside %s heartbeats", number(after-before), number(float64(beats))),
	}
	return []Row{cpu.judged(), trips.judged()}, nil
}

// total is how many operations there were.
func total(samples []sample) (n int64) {
	for _, s := range samples {
		n += s.ops
	}
	return n
}

// grantsInEtcd compares grants, which the leader gathers into transactions,
// with transactions that go one a call.
func grantsInEtcd(ctx context.Context, b *bench) (_ []Row, err error) {
	r, err := b.startReplicas(ctx, "grants", millionPool())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.end()) }()
	grant, done, err := come(ctx, r.leader(), inFlight)
	if err != nil {
		return nil, err
	}
	defer done()
	one, err := b.etcd.transaction(ctx)
	if err != nil {
		return nil, err
	}
	leader := r.leader()
	commits, err := leader.trips(ctx, `"commit"`)
	if err != nil {
		return nil, err
	}
	samples, err := b.takeTurns(ctx,
		func(ctx context.Context, d time.Duration) (sample, error) { return repeat(ctx, inFlight, d, one) },
		loaded(leader, inFlight, grant))
	if err != nil {
		return nil, err
	}
	after, err := leader.trips(ctx, `"commit"`)
	if err != nil {
		return nil, err
	}
	granted, err := leader.metric(ctx, "cirrus_grants_total", "")
	if err != nil {
		return nil, err
	}
	limit, ours := samples[0], samples[1]
	return []Row{Row{
		What: "Grants on etcd, 64 in flight", Unit: "/s", LimitIs: "small transactions, one a call, 64 in flight, in the same etcd",
		Ours: median(ours, rate), Limit: median(limit, rate),
		Ratio:  medianRatio(ours, rate, of(limit, rate)),
		Target: Target{"≥", grantsTarget},
		Note: fmt.Sprintf("%s grants went in %s transactions, %s each; the leader's CPU: %s µs a grant",
			number(granted), number(after-commits), number(granted/max(after-commits, 1)), number(median(ours, cpuEach)/1e3)),
	}.judged()}, nil
}

// heartbeatFollowers measures what the leader has to do for heartbeats that
// come by way of the others.
func heartbeatFollowers(ctx context.Context, b *bench) (_ []Row, err error) {
	r, err := b.startReplicas(ctx, "followers", defaultPool())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.end()) }()
	h, err := acquire(ctx, r.leader().addr, len(r.followers())*inFlight)
	if err != nil {
		return nil, err
	}
	direct, done, err := beats(ctx, held{requests: h.requests[:inFlight]}, r.leader())
	if err != nil {
		return nil, err
	}
	defer done()
	passed, done, err := beats(ctx, h, r.followers()...)
	if err != nil {
		return nil, err
	}
	defer done()
	follower := r.followers()[0]
	samples, err := b.takeTurns(ctx,
		loaded(r.leader(), inFlight, direct),
		loaded(r.leader(), len(h.requests), passed),
		loaded(follower, len(h.requests), passed))
	if err != nil {
		return nil, err
	}
	calls, err := follower.metric(ctx, "cirrus_gathered_heartbeats_count", "")
	if err != nil {
		return nil, err
	}
	gathered, err := follower.metric(ctx, "cirrus_gathered_heartbeats_sum", "")
	if err != nil {
		return nil, err
	}
	return []Row{Row{
		What: "Heartbeats through two followers, 64 in flight at each: the leader's part", Unit: "µs CPU",
		Ours: median(samples[1], cpuEach) / 1e3, Target: Target{"≤", followersTarget},
		Note: fmt.Sprintf("straight to the leader %s µs; a follower's part %s µs; %s heartbeats a call; %s a second",
			number(median(samples[0], cpuEach)/1e3),
			number(median(samples[2], cpuEach)/1e3*float64(len(r.followers()))),
			number(gathered/max(calls, 1)), number(median(samples[1], rate))),
	}.judged()}, nil
}

// heartbeatLone measures for how long a heartbeat that is alone waits for
// company: a batch of one goes the same way, and waits for none.
func heartbeatLone(ctx context.Context, b *bench) (_ []Row, err error) {
	r, err := b.startReplicas(ctx, "lone", defaultPool())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.end()) }()
	h, err := acquire(ctx, r.leader().addr, 1)
	if err != nil {
		return nil, err
	}
	follower := r.followers()[0]
	batch := &cirrusv1.HeartbeatBatchRequest{Heartbeats: h.requests}
	var sides []side
	for _, way := range []struct {
		to        *child
		procedure string
		msg       proto.Message
	}{
		{r.leader(), cirrusv1connect.LeaseServiceHeartbeatProcedure, h.requests[0]},
		{follower, cirrusv1connect.LeaseServiceHeartbeatBatchProcedure, batch},
		{follower, cirrusv1connect.LeaseServiceHeartbeatProcedure, h.requests[0]},
	} {
		op, done, err := prepared(ctx, way.to, way.procedure, []proto.Message{way.msg})
		if err != nil {
			return nil, err
		}
		defer done()
		sides = append(sides, loaded(way.to, 1, op))
	}
	// A timer fires late, by as much as its process has slept.
	sides = append(sides, func(ctx context.Context, d time.Duration) (sample, error) {
		return oneByOne(ctx, d, func(context.Context, int) error {
			<-time.After(time.Millisecond)
			return nil
		})
	})
	samples, err := b.takeTurns(ctx, sides...)
	if err != nil {
		return nil, err
	}
	direct, atOnce, lone := samples[0], samples[1], samples[2]
	waited := func(round int) float64 { return typical(lone[round]) - typical(atOnce[round]) }
	return []Row{Row{
		What: "A lone heartbeat through a follower: its wait for company", Unit: "ms",
		Ours: overRounds(b.rounds, waited) / 1e6, Target: Target{"≤", loneTarget},
		Note: fmt.Sprintf("straight to the leader %s µs; through a follower %s µs, or %s µs in a batch of one, which is passed on at once; a timer of 1 ms takes %s ms here",
			number(median(direct, typical)/1e3), number(median(lone, typical)/1e3), number(median(atOnce, typical)/1e3),
			number(median(samples[3], typical)/1e6)),
	}.judged()}, nil
}

// idleInEtcd watches replicas that have nothing to do but keep their leases:
// what is written to etcd is the mark.
func idleInEtcd(ctx context.Context, b *bench) (_ []Row, err error) {
	r, err := b.startReplicas(ctx, "idle", defaultPool())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.end()) }()
	h, err := acquire(ctx, r.leader().addr, b.idleLeases)
	if err != nil {
		return nil, err
	}
	h.requests = h.requests[:len(h.requests)/len(r)*len(r)] // as many to each
	keep, done, err := beats(ctx, h, r...)
	if err != nil {
		return nil, err
	}
	defer done()
	// As in idle, each connection has made a call before.
	n := len(h.requests)
	if err := each(n, func(i int) error { return keep(ctx, i) }); err != nil {
		return nil, err
	}
	before, err := b.etcd.revision(ctx)
	if err != nil {
		return nil, err
	}
	s, err := paced(ctx, idleEtcdTimes*b.For, idleEvery/time.Duration(n), func(i int) error { return keep(ctx, i%n) })
	if err != nil {
		return nil, err
	}
	after, err := b.etcd.revision(ctx)
	if err != nil {
		return nil, err
	}
	return []Row{Row{
		What: fmt.Sprintf("Idle on etcd, %d live leases, a heartbeat every %v each", n, idleEvery), Unit: "writes/s",
		Ours: float64(after-before) / s.wall.Seconds(), Target: Target{"<", idleWritesTarget},
		Note: fmt.Sprintf("%d heartbeats through three replicas in %v, and %d transactions that wrote, by etcd's own count",
			s.ops, s.wall.Round(time.Millisecond), after-before),
	}.judged()}, nil
}

// takeover has one replica after the other take over a store full of live
// leases.
func takeover(ctx context.Context, b *bench) (_ []Row, err error) {
	prefix, made, err := b.etcd.store(ctx, "takeover", millionPool(), b.taken)
	if err != nil {
		return nil, err
	}
	leader, err := b.startReplica(ctx, prefix, "takeover-0")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, leader.end()) }()
	if err := awaitRoles(ctx, leader, leader); err != nil {
		return nil, err
	}
	var took, away []float64
	for i := range starts {
		next, err := b.startReplica(ctx, prefix, fmt.Sprintf("takeover-%d", i+1))
		if err != nil {
			return nil, err
		}
		old := leader
		leader = next
		if err := awaitRoles(ctx, old, next); err != nil {
			return nil, errors.Join(err, old.end())
		}
		asked := time.Now()
		ended := make(chan error, 1)
		go func() { ended <- old.end() }()
		err = awaitRoles(ctx, next, next)
		if err == nil {
			err = keepOne(ctx, next, made, b.taken/2)
		}
		away = append(away, time.Since(asked).Seconds())
		if err := errors.Join(err, <-ended); err != nil {
			return nil, err
		}
		sum, err := next.metric(ctx, "cirrus_takeover_seconds_sum", "")
		if err != nil {
			return nil, err
		}
		took = append(took, sum)
	}
	return []Row{Row{
		What: fmt.Sprintf("Takeover with %s records, from winning to the first promise", number(float64(b.taken))), Unit: "s",
		Ours: middle(took), Target: Target{"<", takeoverTarget},
		Note: fmt.Sprintf("from asking the one before to stop until the new one has answered a heartbeat: %s s; medians of %d", number(middle(away)), starts),
	}.judged()}, nil
}

// come acquires node IDs and keeps them: each is a grant, and one write.
func come(ctx context.Context, c *child, workers int) (operation, func(), error) {
	all, closeAll, err := conns(ctx, c.addr, workers)
	if err != nil {
		return nil, nil, err
	}
	var instances atomic.Int64
	return func(_ context.Context, worker int) error {
		acquire := &cirrusv1.AcquireRequest{AppId: appID(worker), InstanceId: instanceID(int(instances.Add(1)))}
		return all[worker].call(cirrusv1connect.LeaseServiceAcquireProcedure, acquire, &cirrusv1.AcquireResponse{})
	}, closeAll, nil
}
