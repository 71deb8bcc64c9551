package fencing

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cirrus-id/cirrus/snowflake"
)

// many is a pool of so many portions that nothing gets through it in one call.
const many = 20 * portion

// crowd is a rig whose pool was loaded with many live leases of a TTL each.
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
			Pool: DefaultPool, Node: snowflake.NodeID(i), Epoch: b.Meta.FirstEpoch + Epoch(i), App: AppID(fmt.Sprint(i)),
			Instance: hashOf(fmt.Sprint(i)), TTL: ttl(i), Status: Live, Floor: startOfWorld, Ceiling: startOfWorld.Add(ttl(i)),
		}}})
	}
	g.restart(10 * time.Second)
	return g
}

func alike(int) time.Duration { return DefaultTTL }

// beatAll sends a heartbeat of every lease.
func (g *rig) beatAll() {
	for node, rec := range g.store.records {
		if _, r := g.s.Heartbeat(g.now, LeaseRef{Pool: node.pool, Node: node.node, Epoch: rec.Epoch, Instance: rec.Instance}); r != nil {
			g.t.Fatal(r)
		}
	}
}

// standing is where a lease stands, and when it is looked at again.
type standing struct {
	shelf   State
	cooling bool
	due     time.Duration
}

func (g *rig) places() map[snowflake.NodeID]standing {
	places := map[snowflake.NodeID]standing{}
	for l := range g.s.pools[DefaultPool].slots.all() {
		places[l.node] = standing{l.indexedAs, l.cooling, l.due}
	}
	return places
}

// moved is how many leases a call has moved, or looked at to no avail.
func (g *rig) moved(call func()) (n int) {
	before := g.places()
	call()
	for node, now := range g.places() {
		if now != before[node] {
			n++
		}
	}
	return n
}

// S14: whatever has come about at once, no call moves more than its portion.
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
		"heartbeats have moved all deadlines": func(g *rig) { g.set(20 * time.Second); g.tick(); g.beatAll(); g.set(25 * time.Second) },
		"all expire":                          func(g *rig) { g.set(41 * time.Second) },
		"all come free":                       func(g *rig) { g.set(71 * time.Second) },
		"all have come free":                  func(g *rig) { g.set(71 * time.Second); g.settleAll() },
	}
	for when, prepare := range times {
		for what, call := range calls {
			t.Run(when+"/"+what, func(t *testing.T) {
				g := crowd(t, alike)
				prepare(g)
				g.tick() // the mark, so that promises may be made
				if n := g.moved(func() { call(g) }); n > 2*portion+maxRepairs+maxNotes {
					t.Errorf("%d of %d leases were moved under one hold of the lock", n, many)
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
	g.t.Fatalf("the pool is never settled")
}

// Tick works off what lags, and then lets the caller rest.
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
			t.Fatalf("still lags after %d calls", calls)
		}
	}
	if st, _ := g.s.Stats(g.now, DefaultPool); st.Free != many {
		t.Errorf("%+v, want all of %d free", st, many)
	}
}

// seek acquires as the service does: where the server is busy, at once again.
func (g *rig) seek(app string) (Decision, *Refusal, int) {
	for asked := 1; ; asked++ {
		d, r := g.s.Acquire(g.now, ask(app))
		if r != nil || d.Wait != WaitSettled {
			return d, r, asked
		}
		if asked > many {
			g.t.Fatalf("%s is told to ask again for ever", app)
		}
	}
}

// P4: an ID is found as soon as it is free, whatever lags, and none before.
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
			t.Errorf("asked %d times: got %+v, %v, want node ID %d", asked, d, r, want)
		}
	}
	t.Run("among heartbeats", func(t *testing.T) {
		// All deadlines look over, but for one heartbeats have moved them.
		g := crowd(t, alike)
		for range 4 {
			g.set(20 * time.Second)
			g.tick()
			for node, rec := range g.store.records {
				if node.node != many-7 {
					_, _ = g.s.Heartbeat(g.now, LeaseRef{Pool: node.pool, Node: node.node, Epoch: rec.Epoch, Instance: rec.Instance})
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
	t.Run("a quarantine that ends its rest", func(t *testing.T) {
		g := crowd(t, short(20*time.Second))
		g.set(45 * time.Second)
		g.tick()
		g.settleAll() // nearly all rest; the short one has rested for 15 s
		if _, r, _ := g.seek("other"); r == nil {
			t.Fatal("granted within the quarantine")
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
					t.Errorf("told to ask again after %v, want nearly an hour", r.RetryAfter)
				}
				break
			}
			// What the mark's write noted as ended is free for good.
			node := d.Write.Batch.Records[0].Node
			if rec := g.store.records[recordKey{DefaultPool, node}]; rec.Status != Ended {
				t.Fatalf("node ID %d is granted within the longer quarantine", node)
			}
		}
		if err := g.s.Check(); err != nil {
			t.Error(err)
		}
	})
}

// A pool that grows is not looked through again from its start.
func TestGrowthCostsNothing(t *testing.T) {
	g := crowd(t, alike)
	p := g.s.pools[DefaultPool]
	if _, r, _ := g.seek("other"); r == nil {
		t.Fatal("granted in a full pool")
	}
	d, _ := g.s.UpdatePool(g.now, DefaultPool, PoolChange{Last: ptr(snowflake.NodeID(many))})
	g.do(d.Write)
	if p.fresh != many {
		t.Errorf("looks for IDs never granted from %d on, want %d", p.fresh, many)
	}
	if d, r, _ := g.seek("other"); r != nil || d.Write.Batch.Records[0].Node != many {
		t.Errorf("got %+v, %v, want the new node ID", d, r)
	}
}

// Watchers' room holds back what time alone brings, and nothing else; a grant
// holds nothing back.
func TestRoomForEvents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := newRig(t, 10*time.Second, smallPool(9))
		g.s.SetWatched(DefaultPool, true)
		g.s.portion = rapid.IntRange(1, 20).Draw(t, "portion")
		for i := range 10 {
			g.lease(fmt.Sprint(i))
		}
		g.set(31 * time.Second)
		g.s.TakeEvents()
		room := rapid.IntRange(0, 12).Draw(t, "room")
		g.s.LimitEvents(DefaultPool, room)
		for range 20 {
			g.s.Settle(g.now, DefaultPool)
		}
		if n := len(g.s.TakeEvents()); n != min(room, 10) {
			t.Fatalf("%d expiries are told with room for %d", n, room)
		}
		g.set(21 * time.Second)
		g.tick()
		g.s.LimitEvents(DefaultPool, 0)
		if d, r, _ := g.seek("other"); r != nil || d.Write == nil {
			t.Fatalf("got %+v, %v: a grant waits for watchers", d, r)
		}
		if err := g.s.Check(); err != nil {
			t.Fatal(err)
		}
	})
}
