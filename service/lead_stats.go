package service

import (
	"slices"

	"github.com/cirrus-id/cirrus/fencing"
)

// statsPage is how many pools' numbers are taken under one hold of the lock.
const statsPage = 8

// poolStats are a pool's numbers, with its name.
type poolStats struct {
	fencing.PoolStats
	name fencing.PoolName
}

// stats returns the numbers of all pools. It takes the lock for a few at a time (S14).
func (t *term) stats() (all []poolStats) {
	for names := range slices.Chunk(t.poolNames(), statsPage) {
		all = append(all, t.someStats(names)...)
	}
	return all
}

func (t *term) someStats(names []fencing.PoolName) (some []poolStats) {
	now := t.enter()
	defer t.leave()
	for _, name := range names {
		st, _ := t.core.Stats(now, name)
		some = append(some, poolStats{st, name})
	}
	return some
}
