package main

import "fmt"

// acquireRelease: apps acquire a node ID and release it at once, inFlight at a time.
// Both calls are durable.
func acquireRelease(r *measuring) []Row {
	ours, nothing, disk := r.measureAcquire(inFlight)
	// A pair is two synced writes.
	allowed := func(round int) float64 {
		return min(0.6*rate(nothing[round]),
			0.8*rate(disk[round])/2)
	}
	pace := comparison{
		what: "… how many a second", unit: "/s", scale: 1, figure: rate, ours: ours,
		limitIs: "0.6 × doing nothing, or 0.8 × the syncs", limit: allowed, target: Target{"≥", 1},
		note: fmt.Sprintf(
			"doing nothing: %s pairs a second; the disk: %s synced writes a second with 64 in flight",
			number(median(nothing, rate)), number(median(disk, rate))),
	}
	return []Row{
		cpuOf("Acquire + Release, durable, 64 in flight", ours, twoCalls, nothing, 1.6,
			rates("pairs", ours, nothing)),
		pace.row(),
	}
}

// acquireReleaseAlone is the same with one app, whose writes share no sync.
func acquireReleaseAlone(r *measuring) []Row {
	ours, nothing, disk := r.measureAcquire(1)
	return []Row{comparison{
		what: "Acquire + Release, durable, one client alone", unit: "µs", scale: 1e3,
		figure: typical, ours: ours,
		limitIs: "two syncs and two calls that do nothing",
		limit: func(
			round int) float64 {
			return typical(nothing[round]) + 2*typical(disk[round])
		},
		target: Target{"≤", 1.3},
		note: fmt.Sprintf("a sync takes %s, two calls that do nothing %s", us(disk, typical),
			us(nothing, typical)),
	}.row()}
}

func (r *measuring) measureAcquire(workers int) (ours, nothing, disk []sample) {
	d := r.openDisk()
	ours, nothing, others := r.besideNothing(workers, func(c *child) operation {
		return r.grantsAndReleases(c, workers)
	}, d.side(workers))
	return ours, nothing, others[0]
}
