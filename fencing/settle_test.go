package fencing

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cirrus-id/cirrus/snowflake"
)

// many is the size of a pool that has more portions than any call settles.
const many = 20 * portion

// crowd returns a rig whose pool was loaded with many live leases; ttl gives the TTL
// of each.
func crowd(t tester, ttl func(i int) time.Duration) *rig {
	p := NewPool(DefaultPool)
	p.Layout.NodeBits, p.Layout.SequenceBits, p.Last, p.MaxTTL = 20, 2, many-1, time.Hour
	b, err := NewStore(startOfWorld, 10*time.Second, true, p)
	if err != nil {
		t.Fatal(err)
	}
	g := &rig{t: t, store: newMemStore(b), now: Now{Steady: time.Hour, Wall: startOfWorld}}
	for i := range many {
		g.store.commit(Batch{Records: []Record{{
			Pool: DefaultPool, Node: snowflake.NodeID(i), Epoch: b.Meta.FirstEpoch + Epoch(i),
			App:      AppID(fmt.Sprint(i)),
			Instance: hashOf(fmt.Sprint(i)), TTL: ttl(i), Status: Live, Floor: startOfWorld,
			Ceiling: startOfWorld.Add(ttl(i)),
		}}})
	}
	g.restart(10 * time.Second)
	return g
}

func alike(int) time.Duration { return DefaultTTL }

// beatAll sends a heartbeat of every lease.
func (g *rig) beatAll() {
	for node, rec := range g.store.records {
		if _, r := g.s.Heartbeat(g.now,
			LeaseRef{Pool: node.pool, Node: node.node, Epoch: rec.Epoch,
				Instance: rec.Instance}); r != nil {
			g.t.Fatal(r)
		}
	}
}

// placement is a slot's part of the index, and when the slot is due there.
type placement struct {
	part    State
	cooling bool
	due     time.Duration
}

func (g *rig) placements() map[snowflake.NodeID]placement {
	placements := map[snowflake.NodeID]placement{}
	for l := range g.s.pools[DefaultPool].slots.all() {
		placements[l.node] = placement{l.indexedAs, l.cooling, l.due}
	}
	return placements
}

// moved returns how many slots a call has moved to another part of the index, or to
// another place in the same part.
func (g *rig) moved(call func()) (n int) {
	before := g.placements()
	call()
	for node, now := range g.placements() {
		if now != before[node] {
			n++
		}
	}
	return n
}

// S14: however many leases change state at once, no call moves more than its portion.
func TestCallsKeepToTheirPortion(t *testing.T) {
	quarantine := func(d time.Duration) func(g *rig) {
		return func(g *rig) {
			dec, r := g.s.UpdatePool(g.now, DefaultPool, PoolChange{Quarantine: &d})
			if r != nil || dec.Write == nil {
				g.t.Fatalf("UpdatePool: %+v, %v", dec, r)
			}
			g.do(dec.Write)
		}
	}
	calls := map[string]func(g *rig){
		"Stats":                func(g *rig) { g.s.Stats(g.now, DefaultPool) },
		"List":                 func(g *rig) { _, _, _, _ = g.s.List(g.now, DefaultPool, 0, 10) },
		"Settle":               func(g *rig) { g.s.Settle(g.now, DefaultPool) },
		"Acquire":              func(g *rig) { _, _ = g.s.Acquire(g.now, ask("other")) },
		"Tick":                 func(g *rig) { g.s.Tick(g.now) },
		"Tick and its mark":    func(g *rig) { g.tick() },
		"a longer quarantine":  quarantine(45 * time.Second),
		"a shorter quarantine": quarantine(15 * time.Second),
	}
	times := map[string]func(g *rig){
		"heartbeats have moved all deadlines": func(
			g *rig) {
			g.set(20 * time.Second)
			g.tick()
			g.beatAll()
			g.set(25 * time.Second)
		},
		"all expire":         func(g *rig) { g.set(41 * time.Second) },
		"all come free":      func(g *rig) { g.set(71 * time.Second) },
		"all have come free": func(g *rig) { g.set(71 * time.Second); g.settleAll() },
	}
	for when, prepare := range times {
		for what, call := range calls {
			t.Run(when+"/"+what, func(t *testing.T) {
				g := crowd(t, alike)
				prepare(g)
				g.tick() // the mark, so that promises may be made
				if n := g.moved(func() { call(g) }); n > 2*portion+maxRepairs+maxNotes {
					t.Errorf("one call moved %d of %d slots, want at most %d", n, many,
						2*portion+maxRepairs+maxNotes)
				}
				if err := g.s.Check(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// settleAll settles until nothing lags.
func (g *rig) settleAll() {
	for range many {
		if next, ok := g.s.Settle(g.now, DefaultPool); !ok || next > g.now.Steady {
			return
		}
	}
	g.t.Fatalf("the pool still lags after %d calls of Settle", many)
}

// Tick moves the slots that lag, and then is not due again soon.
func TestTickWorksOffLag(t *testing.T) {
	g := crowd(t, alike)
	g.set(71 * time.Second)
	for calls := 0; ; calls++ {
		w, next := g.s.Tick(g.now)
		g.do(w)
		if w == nil && next > g.now.Steady+checkPause { // notes have their own time
			break
		}
		if calls > 10*many/portion {
			t.Fatalf("the pool still lags after %d calls of Tick", calls)
		}
	}
	if st, _ := g.s.Stats(g.now, DefaultPool); st.Free != many {
		t.Errorf("the pool has %+v, want all %d node IDs free", st, many)
	}
}

// seek acquires as the service does: it asks again at once after WaitSettled.
func (g *rig) seek(app string) (Decision, *Refusal, int) {
	for asked := 1; ; asked++ {
		d, r := g.s.Acquire(g.now, ask(app))
		if r != nil || d.Wait != WaitSettled {
			return d, r, asked
		}
		if asked > many {
			g.t.Fatalf("Acquire for %s still returns WaitSettled after %d calls", app, many)
		}
	}
}

// P4: a node ID is found as soon as it is free, whatever lags, and never before.
func TestFreeIsFoundWhereItLags(t *testing.T) {
	short := func(d time.Duration) func(int) time.Duration {
		return func(i int) time.Duration {
			if i == many-7 {
				return d
			}
			return DefaultTTL
		}
	}
	find := func(t *testing.T, g *rig, want snowflake.NodeID) {
		t.Helper()
		d, r, asked := g.seek("other")
		if r != nil || d.Write == nil || d.Write.Batch.Records[0].Node != want {
			t.Errorf("call %d of Acquire: %+v, %v, want the grant of node ID %d", asked, d, r, want)
		}
	}
	t.Run("among heartbeats", func(t *testing.T) {
		// By the heap all deadlines have passed; heartbeats have moved all but one.
		g := crowd(t, alike)
		for range 4 {
			g.set(20 * time.Second)
			g.tick()
			for node, rec := range g.store.records {
				if node.node != many-7 {
					_, _ = g.s.Heartbeat(g.now,
						LeaseRef{Pool: node.pool, Node: node.node, Epoch: rec.Epoch,
							Instance: rec.Instance})
				}
			}
		}
		find(t, g, many-7)
	})
	t.Run("longest free first", func(t *testing.T) {
		g := crowd(t, short(20*time.Second))
		g.set(71 * time.Second)
		g.tick()
		find(t, g, many-7)
	})
	t.Run("a shorter quarantine frees it", func(t *testing.T) {
		g := crowd(t, short(20*time.Second))
		g.set(45 * time.Second)
		g.tick()
		g.settleAll() // nearly all are quarantined, the short one for 15 s
		if _, r, _ := g.seek("other"); r == nil {
			t.Fatal("a node ID was granted within its quarantine")
		}
		d, _ := g.s.UpdatePool(g.now, DefaultPool, PoolChange{Quarantine: ptr(14 * time.Second)})
		g.do(d.Write)
		find(t, g, many-7)
	})
	t.Run("none is free any more", func(t *testing.T) {
		g := crowd(t, alike)
		g.set(71 * time.Second)
		g.tick()
		g.settleAll()
		d, _ := g.s.UpdatePool(g.now, DefaultPool, PoolChange{Quarantine: ptr(time.Hour)})
		g.do(d.Write)
		for i := range many {
			d, r, _ := g.seek(fmt.Sprint("other-", i))
			if r != nil {
				if r.RetryAfter < 50*time.Minute {
					t.Errorf("RetryAfter is %v, want nearly an hour", r.RetryAfter)
				}
				break
			}
			// A node ID noted as ended with the mark is free despite the longer quarantine.
			node := d.Write.Batch.Records[0].Node
			if rec := g.store.records[recordKey{DefaultPool, node}]; rec.Status != Ended {
				t.Fatalf("node ID %d was granted within the longer quarantine", node)
			}
		}
		if err := g.s.Check(); err != nil {
			t.Error(err)
		}
	})
}

// After a pool grows, the search for new node IDs does not start from the first again.
func TestGrowthCostsNothing(t *testing.T) {
	g := crowd(t, alike)
	p := g.s.pools[DefaultPool]
	if _, r, _ := g.seek("other"); r == nil {
		t.Fatal("Acquire in a full pool was not refused, want a refusal")
	}
	d, _ := g.s.UpdatePool(g.now, DefaultPool, PoolChange{Last: ptr(snowflake.NodeID(many))})
	g.do(d.Write)
	if p.fresh != many {
		t.Errorf("the search for node IDs never granted starts at %d, want %d", p.fresh, many)
	}
	if d, r, _ := g.seek("other"); r != nil || d.Write.Batch.Records[0].Node != many {
		t.Errorf("Acquire after the growth: %+v, %v, want the new node ID", d, r)
	}
}

// LimitEvents delays only the changes that time brings, and a grant never waits for
// watchers.
func TestLimitEvents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := newRig(t, 10*time.Second, smallPool(9))
		g.s.SetWatched(DefaultPool, true)
		g.s.portion = rapid.IntRange(1, 20).Draw(t, "portion")
		for i := range 10 {
			g.lease(fmt.Sprint(i))
		}
		g.set(31 * time.Second)
		g.s.TakeEvents()
		limit := rapid.IntRange(0, 12).Draw(t, "limit")
		g.s.LimitEvents(DefaultPool, limit)
		for range 20 {
			g.s.Settle(g.now, DefaultPool)
		}
		if n := len(g.s.TakeEvents()); n != min(limit, 10) {
			t.Fatalf("%d expiries were reported with a limit of %d", n, limit)
		}
		g.set(21 * time.Second)
		g.tick()
		g.s.LimitEvents(DefaultPool, 0)
		if d, r, _ := g.seek("other"); r != nil || d.Write == nil {
			t.Fatalf("Acquire with a limit of 0: %+v, %v, want a Write", d, r)
		}
		if err := g.s.Check(); err != nil {
			t.Fatal(err)
		}
	})
}
