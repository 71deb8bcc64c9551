package fencing

import (
	"fmt"
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// BenchmarkCrowd: what a call costs must not grow with the pool, in which
// heartbeats of random leases move deadlines all the time, beyond what a larger
// memory costs.
func BenchmarkCrowd(b *testing.B) {
	calls := []struct {
		name string
		call func(s *Server, now Now, i int)
	}{
		{"a scrape", func(s *Server, now Now, _ int) { s.Stats(now, DefaultPool) }},
		{"a refused Acquire", func(s *Server, now Now, _ int) { _, _ = s.Acquire(now, ask("other")) }},
		{"a wake-up of a Watch", func(s *Server, now Now, _ int) { s.Settle(now, DefaultPool) }},
		{"UpdatePool", func(s *Server, now Now, i int) {
			d, _ := s.UpdatePool(now, DefaultPool,
				PoolChange{Quarantine: ptr(30*time.Second + time.Duration(i%2)*time.Second)})
			if d.Write != nil {
				s.Written(now, d.Write)
			}
		}},
	}
	for _, n := range []int{1e3, 1e4, 1e5, 1e6} {
		s, now, refs := benchCrowd(b, n)
		for _, c := range calls {
			b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
				at := 0
				for i := range b.N {
					b.StopTimer()
					now.Steady += 10 * time.Millisecond
					now.Wall = now.Wall.Add(10 * time.Millisecond)
					for w, _ := s.Tick(*now); w != nil; w, _ = s.Tick(*now) {
						s.Written(*now, w)
					}
					for range n / 1000 { // each of them every 10 s
						at = (at + 7919) % n
						if _, r := s.Heartbeat(*now, refs[at]); r != nil {
							b.Fatal(r)
						}
					}
					b.StartTimer()
					c.call(s, *now, i)
				}
			})
		}
	}
}

// benchCrowd is a server with so many live leases, and how their holders name
// them.
func benchCrowd(b *testing.B, n int) (*Server, *Now, []LeaseRef) {
	p := NewPool(DefaultPool)
	p.Layout.NodeBits, p.Layout.SequenceBits, p.Last = 20, 2, snowflake.NodeID(n-1)
	batch, err := NewStore(startOfWorld, DefaultStride, true, p)
	if err != nil {
		b.Fatal(err)
	}
	refs, records := make([]LeaseRef, n), make([]Record, n)
	for i := range records {
		records[i] = Record{
			Pool: p.Name, Node: snowflake.NodeID(i), Epoch: batch.Meta.FirstEpoch + Epoch(i),
			App:      AppID(fmt.Sprint(i)),
			Instance: hashOf(fmt.Sprint(i)), TTL: p.TTL, Status: Live, Floor: startOfWorld,
			Ceiling: startOfWorld.Add(p.TTL),
		}
		refs[i] = LeaseRef{Pool: p.Name, Node: records[i].Node, Epoch: records[i].Epoch,
			Instance: records[i].Instance}
	}
	now := &Now{Steady: time.Hour, Wall: startOfWorld}
	s, err := NewServer(Snapshot{Meta: *batch.Meta, Pools: batch.Pools, Records: records},
		DefaultStride, *now)
	if err != nil {
		b.Fatal(err)
	}
	return s, now, refs
}
