package fencing

import (
	"fmt"
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// hourly is a pool in which a restart costs much if it gives each lease another
// TTL.
func hourly(last snowflake.NodeID) Pool {
	p := smallPool(last)
	p.TTL, p.MaxTTL, p.Quarantine = time.Hour, time.Hour, 6*time.Minute
	return p
}

// freeAfter says how long a node ID is not free once its holder is dead, with a
// restart every so often that takes some time.
func (g *rig) freeAfter(node snowflake.NodeID, every, down time.Duration) time.Duration {
	g.t.Helper()
	began, up := g.now.Steady, time.Duration(0)
	for g.state(node) != Free {
		if g.now.Steady-began > 1000*time.Hour {
			g.t.Fatal("the node ID never comes back")
		}
		g.pass(time.Second)
		if up += time.Second; every > 0 && up >= every {
			g.set(down)
			g.restart(10 * time.Second)
			up = 0
		}
	}
	return g.now.Steady - began
}

// P4: restarts don't keep a dead lease alive. Each costs two strides or a
// twentieth of the TTL, and what it takes.
func TestRestartsEndNoSilence(t *testing.T) {
	life := time.Hour + 6*time.Minute
	for _, c := range []struct {
		every, down, most time.Duration
	}{
		{0, 0, life},
		{10 * time.Minute, 0, life * 8 / 5},
		{10 * time.Minute, 30 * time.Second, life * 8 / 5},
		{5 * time.Minute, 0, 2 * life},
		// The first start comes before the silence is noted, at two thirds.
		{30 * time.Minute, 0, 30*time.Minute + life + 10*time.Second + 3*(20*time.Second+3*time.Minute)},
		{24 * time.Hour, time.Hour, life},
	} {
		t.Run(fmt.Sprintf("every %v for %v", c.every, c.down), func(t *testing.T) {
			g := newRig(t, 10*time.Second, hourly(0))
			l := g.lease("a")
			if got := g.freeAfter(l.Node, c.every, c.down); got > c.most || got < life {
				t.Errorf("free after %v, want %v to %v", got, life, c.most)
			}
		})
	}
}

// A lease that is heard a last time after many restarts has all of its TTL.
func TestHeardAgainAfterRestarts(t *testing.T) {
	g := newRig(t, 10*time.Second, hourly(0))
	l := g.lease("a")
	for range 3 {
		g.pass(10 * time.Minute)
		g.restart(10 * time.Second)
	}
	if _, r := g.beat(l); r != nil {
		t.Fatal(r)
	}
	g.restart(10 * time.Second) // its note is durably gone, so it gets stride and TTL
	if v, _ := g.s.Lease(g.now, l.Pool, l.Node); v.State != Held || v.TimeLeft != time.Hour+10*time.Second {
		t.Errorf("%+v, want it held for the TTL and a stride", v)
	}
}

// S6: the ceiling of a note counts, but never above mark + TTL: it will be
// promised again.
func TestNotedCeilingIsBounded(t *testing.T) {
	g := newRig(t, 10*time.Second, hourly(0))
	l := g.lease("a")
	key := recordKey{l.Pool, l.Node}
	rec := g.store.records[key]
	for _, c := range []struct{ noted, want snowflake.Millis }{
		{l.Ceiling - 1, l.Ceiling - 1},
		{g.store.meta.Mark.Add(l.TTL) + 1, g.store.meta.Mark.Add(l.TTL)},
	} {
		rec.Silence = Silence{Noted: true, Left: time.Minute, Ceiling: c.noted}
		g.store.records[key] = rec
		s, err := NewServer(g.store.load(), 10*time.Second, g.now)
		if err != nil {
			t.Fatal(err)
		}
		if v, _ := s.Lease(g.now, l.Pool, l.Node); v.Ceiling != c.want || v.TimeLeft != time.Minute {
			t.Errorf("noted up to %d: %+v, want up to %d", c.noted, v, c.want)
		}
	}
}

// S5: what is left is rounded up, also below 0, and bounded there: a store takes
// no less.
func TestLeftIsRoundedUp(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{
		0: 0, 1: time.Millisecond, time.Millisecond: time.Millisecond, -1: 0,
		-time.Millisecond: -time.Millisecond, -time.Millisecond - 1: -time.Millisecond,
		time.Hour + 1: time.Hour + time.Millisecond, MaxDuration: MaxDuration,
		-MaxDuration: -MaxDuration, -MaxDuration - time.Hour: -MaxDuration, // as long as no quarantine
	} {
		if got := timeLeft(d); got != want {
			t.Errorf("%v is rounded to %v, want %v", d, got, want)
		}
	}
}

// A grant of a node ID whose record had a note has none.
func TestGrantHasNoNote(t *testing.T) {
	g := newRig(t, 10*time.Second, hourly(0))
	l := g.lease("a")
	key := recordKey{l.Pool, l.Node}
	g.pass(50 * time.Minute)
	if !g.store.records[key].Silence.Noted {
		t.Fatal("the lease was not noted")
	}
	for g.state(l.Node) != Free { // without a Tick that would note the end
		g.set(time.Second)
		g.s.Settle(g.now, DefaultPool)
	}
	g.s.mark.sent, g.s.meta.Mark = g.now.Steady, g.now.Wall+10_000
	if next := g.lease("b"); next.Node != l.Node || g.store.records[key].Silence.Noted {
		t.Errorf("%+v after %+v", g.store.records[key], l)
	}
}

// A node ID that comes free while its silence note is under way is noted as
// ended afterwards.
func TestFreeWhileNotedAsSilent(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(0))
	l := g.lease("a")
	var w *Write
	for w == nil || len(w.Batch.Records) == 0 {
		g.do(w)
		g.set(time.Second)
		w, _ = g.s.Tick(g.now)
	}
	g.set(2 * time.Minute)
	if g.state(l.Node) != Quarantined {
		t.Error("the node ID of a record with a write under way is free")
	}
	g.s.Settle(g.now, DefaultPool)
	g.do(w)
	g.pass(20 * time.Second)
	if rec := g.store.records[recordKey{l.Pool, l.Node}]; rec.Status != Ended {
		t.Errorf("%+v is never noted as ended", rec)
	}
}

// Silent and ended leases share a write, and so do pools, whichever has more.
func TestNotesAreShared(t *testing.T) {
	p := smallPool(999)
	g := newRig(t, 10*time.Second, p)
	p.Name = "other"
	d, r := g.s.CreatePool(g.now, p, Confirmed{})
	wantReason(t, "CreatePool", r, "")
	g.do(d.Write)
	acquire := func(pool PoolName, n int, ttl time.Duration) {
		for i := range n {
			req := ask(fmt.Sprint(pool, ttl, i))
			req.Pool, req.TTL = pool, ttl
			if _, r := g.acquire(req); r != nil {
				t.Fatal(r)
			}
		}
	}
	acquire(DefaultPool, 300, 5*time.Second) // soon free
	g.set(26 * time.Second)
	g.s.mark.sent, g.s.meta.Mark = g.now.Steady, g.now.Wall+10_000
	acquire(DefaultPool, 300, 2*time.Second)
	acquire("other", 10, 2*time.Second)
	g.set(5 * time.Second)
	for range 10 { // the pool's first 300 come free, the other 300 silent
		g.s.Settle(g.now, DefaultPool)
	}
	kinds, others := map[Status]int{}, 0
	for i := range 2 {
		w, _ := g.s.Tick(g.now)
		if w == nil || len(w.Batch.Records) != maxNotes {
			t.Fatalf("write %d: %+v, want one with %d notes", i, w, maxNotes)
		}
		for _, rec := range w.Batch.Records {
			kinds[rec.Status]++
			if rec.Pool == "other" {
				others++
			}
		}
		g.do(w)
		g.set(g.s.mark.stride / 20) // there is more, so it goes on soon
	}
	if kinds[Ended] != maxNotes || kinds[Live] != maxNotes || others != 10 {
		t.Errorf("%v noted in two writes, %d of the other pool, want half of each kind and all of the small pool's", kinds, others)
	}
}

// Leases that are heard cost no note, and one look in two thirds of a TTL,
// never many at once.
func TestHeardLeasesCostLittle(t *testing.T) {
	const many = 5000
	pool := hourly(many - 1)
	pool.Layout.NodeBits, pool.Layout.SequenceBits = 13, 9
	g := newRig(t, 10*time.Second, pool)
	for i := range many {
		g.lease(fmt.Sprint("app-", i))
		if i%200 == 0 {
			g.pass(time.Second)
		}
	}
	p := g.s.pools[DefaultPool]
	writes := 0
	for range 6 {
		for range 20 * 60 / 5 {
			g.set(5 * time.Second)
			at := g.s.advance(g.now)
			due := func() (n int) {
				for _, l := range p.quiet {
					if l.checkAt <= at.steady {
						n++
					}
				}
				return n
			}
			before := due()
			w, _ := g.s.Tick(g.now)
			if looked := before - due(); looked > maxChecks {
				t.Fatalf("one Tick looks at %d leases", looked)
			}
			if w != nil {
				writes += len(w.Batch.Records)
			}
			g.do(w)
		}
		for l := range p.slots.all() {
			if _, r := g.s.Heartbeat(g.now, LeaseRef{Pool: DefaultPool, Node: l.node, Epoch: l.epoch, Instance: l.instance}); r != nil {
				t.Fatal(r)
			}
		}
	}
	if err := g.s.Check(); err != nil || writes > 0 {
		t.Errorf("%d notes of leases that are heard, %v", writes, err)
	}
}

// Join takes the notes of several leases away in one write.
func TestJoin(t *testing.T) {
	g := newRig(t, 10*time.Second, hourly(9))
	var leases []Lease
	for i := range 10 {
		leases = append(leases, g.lease(fmt.Sprint("app-", i)))
	}
	g.pass(50 * time.Minute)
	var writes []*Write
	for _, l := range leases {
		d, r := g.s.Heartbeat(g.now, g.refOf(l))
		if r != nil || d.Write == nil || d.Write.Grants {
			t.Fatalf("%+v, %v", d, r)
		}
		writes = append(writes, d.Write)
	}
	g.do(Join(writes))
	for _, l := range leases {
		d, r := g.s.Heartbeat(g.now, g.refOf(l))
		if r != nil || d.Lease.Epoch != l.Epoch || g.store.records[recordKey{l.Pool, l.Node}].Silence.Noted {
			t.Errorf("%+v, %v", d, r)
		}
	}
}
