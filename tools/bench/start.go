package main

import (
	"fmt"
	"time"
)

// starts is how often a server is started, and a store taken over. Their medians
// count.
const starts = 3

const startTarget = 3 // seconds

// startLoaded starts a server on a store full of live leases.
func startLoaded(r *measuring) []Row {
	s := r.store(millionPool())
	s.fill(r.ctx, r.records)
	var took, cpu, heap, resident []float64
	for range starts {
		c, wall := r.startToHeartbeat(s)
		used, mem := must(c.usage(r.ctx)), must(c.memory(r.ctx))
		check(c.end())
		took = append(took, wall.Seconds())
		cpu = append(cpu, used.CPU.Seconds())
		heap = append(heap, float64(mem.Heap)/float64(r.records))
		resident = append(resident, float64(mem.Resident)/float64(r.records))
	}
	return []Row{
		{
			What: "Start with " + records(r.records) + ", to the first heartbeat", Unit: "s",
			Ours: middle(took), Target: Target{"<", startTarget},
			Note: fmt.Sprintf(
				"from the start of the process, whose CPU time until then was %s s; medians of %d",
				number(middle(cpu)), starts),
		},
		{
			What: "… memory a record: heap in use after a collection", Unit: "bytes",
			Ours: middle(heap), Target: Target{"<", 400},
			Note: fmt.Sprintf("the whole process, before that collection: %s bytes a record",
				number(middle(resident))),
		},
	}
}

// startToHeartbeat starts a server of a full store, and returns the time until it has
// answered a heartbeat.
func (r *measuring) startToHeartbeat(s *localStore) (*child, time.Duration) {
	started := time.Now()
	c := r.startReal(s)
	r.awaitHeartbeat(c, s.made, r.records/2)
	return c, time.Since(started)
}
