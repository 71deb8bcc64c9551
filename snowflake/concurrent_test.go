package snowflake_test

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// sharedClock is a steady clock for many goroutines: each reading advances it a
// little, so that all branches of the generator are taken.
type sharedClock struct{ ns atomic.Int64 }

func (c *sharedClock) Now() time.Duration    { return time.Duration(c.ns.Add(500)) }
func (c *sharedClock) Sleep(d time.Duration) { c.ns.Add(int64(d)) }

// TestManyGoroutines lets many goroutines mint under one lease after another; each
// lease is extended and then stopped meanwhile. No two IDs may be equal, the IDs
// of each goroutine must rise, and the highest timestamp minted under a lease must
// be the last one that Stop returned.
func TestManyGoroutines(t *testing.T) {
	const goroutines, leases, perLease = 8, 20, 4_000
	clock := &sharedClock{}
	gen := snowflake.NewGenerator(clock, snowflake.Options{MaxLead: 3 * ms})

	var minted atomic.Int64
	progress := make(chan struct{}, 1) // minted has risen since it was last read
	count := func(n int) {
		minted.Add(int64(n))
		select {
		case progress <- struct{}{}:
		default:
		}
	}
	done := make(chan struct{})
	failed := make(chan error, goroutines)
	ids := make([][]snowflake.ID, goroutines)
	var minters sync.WaitGroup
	for i := range goroutines {
		minters.Go(func() {
			run := make([]snowflake.ID, 1+3*(i%2)) // half of them call NextN
			for {
				n, err := 0, error(nil)
				if len(run) == 1 {
					if run[0], err = gen.Next(); err == nil {
						n = 1
					}
				} else {
					n, err = gen.NextN(run)
				}
				ids[i] = append(ids[i], run[:n]...)
				count(n)
				if err == nil {
					continue
				}
				if !errors.Is(err, snowflake.ErrLeaseNotValid) {
					failed <- err
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}

	last := make(map[snowflake.NodeID]snowflake.Millis, leases)
	for node := range snowflake.NodeID(leases) {
		now := time.Duration(clock.ns.Load())
		grant := snowflake.Grant{
			Layout: snowflake.Layout{Origin: small.Origin, TimestampBits: 41, NodeBits: 10,
				SequenceBits: 2}, Node: node,
			Floor: t0, Ceiling: t0 + 1_000_000, Deadline: 1 << 62,
			Time: snowflake.TimeSample{ServerTime: t0, ReceivedAt: now},
		}
		lease, err := gen.Begin(grant)
		if err != nil {
			t.Fatal(err)
		}
		for beat := range snowflake.Millis(10) {
			extend(t, lease, snowflake.Extension{Ceiling: grant.Ceiling + beat, Deadline: 1 << 62,
				Time: snowflake.TimeSample{ServerTime: t0 + beat, RoundTrip: time.Second,
					ReceivedAt: now}})
		}
		for enough := minted.Load() + perLease; minted.Load() < enough; {
			select {
			case <-progress:
			case err := <-failed:
				t.Fatal(err)
			}
		}
		last[node], _ = lease.Stop()
	}
	close(done)
	minters.Wait()
	checkMinted(t, ids, last)
}

func checkMinted(t *testing.T, ids [][]snowflake.ID, last map[snowflake.NodeID]snowflake.Millis) {
	t.Helper()
	layout := snowflake.Layout{Origin: small.Origin, TimestampBits: 41, NodeBits: 10,
		SequenceBits: 2}
	highest := make(map[snowflake.NodeID]snowflake.Millis)
	var all []snowflake.ID
	for _, mine := range ids {
		before := make(map[snowflake.NodeID]snowflake.ID)
		for _, id := range mine {
			p, err := layout.Decompose(id)
			if err != nil {
				t.Fatal(err)
			}
			if p.Timestamp > last[p.Node] {
				t.Fatalf("%+v was minted, but Stop returned %d as the last timestamp", p,
					last[p.Node])
			}
			if id <= before[p.Node] {
				t.Fatalf("one goroutine minted ID %d after %d, want rising IDs", id, before[p.Node])
			}
			before[p.Node] = id
			highest[p.Node] = max(highest[p.Node], p.Timestamp)
		}
		all = append(all, mine...)
	}
	for node, ts := range last {
		if highest[node] != ts {
			t.Errorf(
				"node ID %d: Stop returned %d as the last timestamp, want %d, the highest minted",
				node, ts, highest[node])
		}
	}
	slices.Sort(all)
	if n := len(slices.Compact(slices.Clone(all))); n != len(all) {
		t.Errorf("%d of %d IDs were minted twice", len(all)-n, len(all))
	}
	t.Logf("%d IDs under %d leases", len(all), len(last))
}
