package main

import (
	"context"
	"fmt"
	"time"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// trips returns how often a replica has asked etcd, or has done one operation there.
func (r *measuring) trips(c *child, operation string) float64 {
	return must(c.metric(r.ctx, "cirrus_etcd_round_trip_seconds_count", operation))
}

// heartbeatLeader compares the leader with a server on Pebble: a heartbeat costs etcd
// nothing, so the two should need the same CPU time.
func heartbeatLeader(r *measuring) []Row {
	pebble := r.startReal(r.store(defaultPool()))
	leader := r.startReplicas(defaultPool()).leader()
	var sides []side
	for _, c := range []*child{pebble, leader} {
		sides = append(sides, loaded(c, inFlight, r.heartbeats(r.acquire(c, inFlight), c)))
	}
	before := r.trips(leader, "")
	samples := r.takeTurns(sides...)
	trips := r.trips(leader, "") - before
	limit, ours := samples[0], samples[1]
	beats := float64(count(ours))
	return []Row{
		cpuOf("Heartbeat at the leader of three replicas on etcd, 64 in flight", ours,
			"the same on Pebble", limit, 1.05,
			fmt.Sprintf("heartbeats a second: %s, on Pebble %s", number(median(ours, rate)),
				number(median(limit, rate)))),
		{
			What: "… its round trips to etcd meanwhile, for each of them", Unit: "each",
			Ours: trips / beats, Target: Target{"<", 0.01},
			Note: fmt.Sprintf("%s round trips, all for the mark, beside %s heartbeats",
				number(trips), number(beats)),
		},
	}
}

// grantsInEtcd compares grants, which the leader gathers into transactions, with
// transactions of one operation each.
func grantsInEtcd(r *measuring) []Row {
	leader := r.startReplicas(millionPool()).leader()
	transaction := r.etcd.transaction(r.ctx)
	before := r.trips(leader, `"commit"`)
	samples := r.takeTurns(
		func(ctx context.Context, d time.Duration) (sample, error) {
			return repeat(ctx, inFlight, d, transaction)
		},
		loaded(leader, inFlight, r.grants(leader, inFlight)))
	limit, ours := samples[0], samples[1]
	commits := r.trips(leader, `"commit"`) - before
	granted := must(leader.metric(r.ctx, "cirrus_grants_total", ""))
	return []Row{comparison{
		what: "Grants on etcd, 64 in flight", unit: "/s", scale: 1, figure: rate, ours: ours,
		limitIs: "small transactions, one a call, 64 in flight, in the same etcd",
		limit:   of(limit, rate), target: Target{"≥", 2},
		note: fmt.Sprintf(
			"%s grants went in %s transactions, %s each; the leader's CPU: %s a grant",
			number(granted), number(commits), number(granted/max(commits, 1)), us(ours, cpuEach)),
	}.row()}
}

// heartbeatFollowers measures the leader's work for heartbeats that its followers
// forward.
func heartbeatFollowers(r *measuring) []Row {
	replicas := r.startReplicas(defaultPool())
	leader, followers := replicas.leader(), replicas.followers()
	beats := r.acquire(leader, len(followers)*inFlight)
	direct := r.heartbeats(beats[:inFlight], leader)
	forwarded := r.heartbeats(beats, followers...)
	samples := r.takeTurns(
		loaded(leader, inFlight, direct),
		loaded(leader, len(beats), forwarded),
		loaded(followers[0], len(beats), forwarded))
	calls := must(followers[0].metric(r.ctx, "cirrus_gathered_heartbeats_count", ""))
	gathered := must(followers[0].metric(r.ctx, "cirrus_gathered_heartbeats_sum", ""))
	return []Row{{
		What: "Heartbeats through two followers, 64 in flight at each: the leader's part",
		Unit: "µs CPU",
		Ours: median(samples[1], cpuEach) / 1e3, Target: Target{"≤", 4},
		Note: fmt.Sprintf(
			"straight to the leader %s; a follower's part %s µs; %s heartbeats a call; %s a second",
			us(samples[0], cpuEach),
			number(median(samples[2], cpuEach)/1e3*float64(len(followers))),
			number(gathered/max(calls, 1)), number(median(samples[1], rate))),
	}}
}

// heartbeatLone measures for how long a follower holds back a single heartbeat, so that
// others can join its batch. A batch of one takes the same path, and is not held back.
func heartbeatLone(r *measuring) []Row {
	replicas := r.startReplicas(defaultPool())
	leader, follower := replicas.leader(), replicas.followers()[0]
	beats := r.acquire(leader, 1)
	batch := []*cirrusv1.HeartbeatBatchRequest{{Heartbeats: beats}}
	// A timer fires late, by as much as its process has slept.
	timer := func(ctx context.Context, d time.Duration) (sample, error) {
		return oneByOne(ctx, d, func(context.Context, int) error {
			<-time.After(time.Millisecond)
			return nil
		})
	}
	samples := r.takeTurns(
		loaded(leader, 1, r.heartbeats(beats, leader)),
		loaded(follower, 1, repeated(r, follower,
			cirrusv1connect.LeaseServiceHeartbeatBatchProcedure, batch)),
		loaded(follower, 1, r.heartbeats(beats, follower)),
		timer)
	direct, atOnce, single := samples[0], samples[1], samples[2]
	delay := perRound(
		func(round int) float64 { return typical(single[round]) - typical(atOnce[round]) })
	return []Row{{
		What: "A single heartbeat through a follower: the delay that gathering adds", Unit: "ms",
		Ours: delay.median(r.rounds) / 1e6, Target: Target{"≤", 1},
		Note: fmt.Sprintf(
			"straight to the leader %s; through a follower %s, or %s in a batch of one, which is forwarded at once; a timer of 1 ms takes %s ms here",
			us(direct, typical), us(single, typical), us(atOnce, typical),
			number(median(samples[3], typical)/1e6)),
	}}
}

// idleInEtcd watches replicas that only keep their leases: they write the mark to etcd,
// and nothing else.
func idleInEtcd(r *measuring) []Row {
	replicas := r.startReplicas(defaultPool())
	n := r.idleLeases / len(replicas) * len(replicas) // as many at each
	keep := r.heartbeats(r.acquire(replicas.leader(), n), replicas...)
	r.warmUp(n, keep)
	before := must(r.etcd.revision(r.ctx))
	s := must(r.keepAll(idleEtcdTimes, n, keep))
	writes := must(r.etcd.revision(r.ctx)) - before
	return []Row{{
		What: fmt.Sprintf("Idle on etcd, %d live leases, a heartbeat every %v each", n, idleEvery),
		Unit: "writes/s",
		Ours: float64(writes) / s.wall.Seconds(), Target: Target{"<", 1},
		Note: fmt.Sprintf(
			"%d heartbeats through three replicas in %v, and %d transactions that wrote, by etcd's own count",
			s.ops, s.wall.Round(time.Millisecond), writes),
	}}
}

// takeover has one replica after the other take over a store full of live leases.
func takeover(r *measuring) []Row {
	prefix, m := r.storeInEtcd(millionPool(), r.taken)
	leader := r.startReplica(prefix)
	r.awaitState(leader, leader)
	var took, away []float64
	for range starts {
		next := r.startReplica(prefix)
		r.awaitState(leader, next)
		asked := time.Now()
		ended := make(chan error, 1)
		go func() { ended <- leader.end() }()
		r.awaitState(next, next)
		r.awaitHeartbeat(next, m, r.taken/2)
		away = append(away, time.Since(asked).Seconds())
		check(<-ended)
		took = append(took, must(next.metric(r.ctx, "cirrus_takeover_seconds_sum", "")))
		leader = next
	}
	return []Row{{
		What: "Takeover with " + records(r.taken) + ", from winning to the first promise",
		Unit: "s",
		Ours: middle(took), Target: Target{"<", 2},
		Note: fmt.Sprintf(
			"from asking the leader to stop until the next one has answered a heartbeat: %s s; medians of %d", number(middle(away)), starts),
	}}
}
