package main

import (
	"fmt"
	"time"
)

// idleEvery is how often each lease of an idle service gets a heartbeat.
const idleEvery = 10 * time.Second

// The idle service is watched for longer than all else is measured, so that by default
// the mark is written some times meanwhile: with etcd, six times in 30 s.
const idleTimes, idleEtcdTimes = 5, 15

// idle watches a service that only keeps its leases: each has a connection of its own,
// and their heartbeats are spread evenly. The note says what a server that does nothing
// needs for as many calls. It is not a limit, but most of the cost.
func idle(r *measuring) []Row {
	nothing, real := r.startPair()
	ours, limit := r.watchIdle(real), r.watchIdle(nothing)
	share := func(s sample) float64 { return 100 * s.cpu.Seconds() / s.wall.Seconds() }
	return []Row{{
		What: fmt.Sprintf("Idle, %d live leases, a heartbeat every %v each", r.idleLeases,
			idleEvery), Unit: "% of a core",
		Ours: share(ours), Target: Target{"<", 1},
		Note: fmt.Sprintf(
			"%d heartbeats and the mark's writes in %v: %s µs CPU a heartbeat; as many calls that do nothing: %s %% of a core",
			ours.ops, ours.wall.Round(time.Millisecond), number(cpuEach(ours)/1e3),
			number(share(limit))),
	}}
}

func (r *measuring) watchIdle(c *child) sample {
	keep := r.heartbeats(r.acquire(c, r.idleLeases), c)
	r.warmUp(r.idleLeases, keep)
	return must(c.during(r.ctx,
		func() (sample, error) { return r.keepAll(idleTimes, r.idleLeases, keep) }))
}

// warmUp makes one call on each connection, as in a service that has run for a while.
func (r *measuring) warmUp(n int, op operation) {
	check(each(n, func(i int) error { return op(r.ctx, i) }))
}

// keepAll sends heartbeats for n leases, each every idleEvery.
func (r *measuring) keepAll(times, n int, keep operation) (sample, error) {
	return paced(r.ctx, time.Duration(times)*r.For, idleEvery/time.Duration(n),
		func(i int) error { return keep(r.ctx, i%n) })
}
