package fencing

import (
	"fmt"
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// hourly returns a pool with a TTL of an hour: a restart that extends each lease by a
// TTL shows clearly.
func hourly(last snowflake.NodeID) Pool {
	p := smallPool(last)
	p.TTL, p.MaxTTL, p.Quarantine = time.Hour, time.Hour, 6*time.Minute
	return p
}

// freeAfter returns the time until the node ID of a dead holder is free, with a
// restart after each period every (0: none) that takes the time down.
func (g *rig) freeAfter(node snowflake.NodeID, every, down time.Duration) time.Duration {
	g.t.Helper()
	began, up := g.now.Steady, time.Duration(0)
	for g.state(node) != Free {
		if g.now.Steady-began > 1000*time.Hour {
			g.t.Fatal("the node ID is not free after 1000 hours")
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

// P4: restarts don't keep a dead lease alive. Each delays its end by two strides and a
// twentieth of the TTL, and by its own duration.
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
				t.Errorf("the node ID is free after %v, want %v to %v", got, life, c.most)
			}
		})
	}
}

// A heartbeat after many restarts gives a lease its whole TTL.
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
	g.restart(10 * time.Second) // its note is durably removed, so it gets stride + TTL
	if v, _ := g.s.Lease(g.now, l.Pool, l.Node); v.State != Held ||
		v.TimeLeft != time.Hour+10*time.Second {
		t.Errorf("the lease is %+v, want it held for TTL + stride", v)
	}
}

// S6: a start takes the ceiling of a note, but never one above mark + TTL.
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
		if v, _ := s.Lease(g.now, l.Pool, l.Node); v.Ceiling != c.want ||
			v.TimeLeft != time.Minute {
			t.Errorf("a note with ceiling %d gives %+v, want ceiling %d and one minute left",
				c.noted, v, c.want)
		}
	}
}

// S5: the time left in a note is rounded up, also below 0, and is at least
// −MaxDuration: a store takes no less.
func TestLeftIsRoundedUp(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{
		0: 0, 1: time.Millisecond, time.Millisecond: time.Millisecond, -1: 0,
		-time.Millisecond: -time.Millisecond, -time.Millisecond - 1: -time.Millisecond,
		time.Hour + 1: time.Hour + time.Millisecond, MaxDuration: MaxDuration,
		// as long as no quarantine
		-MaxDuration: -MaxDuration, -MaxDuration - time.Hour: -MaxDuration,
	} {
		if got := timeLeft(d); got != want {
			t.Errorf("timeLeft(%v) = %v, want %v", d, got, want)
		}
	}
}

// The grant of a node ID whose record had a silence note has none.
func TestGrantHasNoNote(t *testing.T) {
	g := newRig(t, 10*time.Second, hourly(0))
	l := g.lease("a")
	key := recordKey{l.Pool, l.Node}
	g.pass(50 * time.Minute)
	if !g.store.records[key].Silence.Noted {
		t.Fatal("the lease has no silence note after 50 minutes, want one")
	}
	for g.state(l.Node) != Free { // without a Tick that would note the end
		g.set(time.Second)
		g.s.Settle(g.now, DefaultPool)
	}
	g.s.mark.sent, g.s.meta.Mark = g.now.Steady, g.now.Wall+10_000
	if next := g.lease("b"); next.Node != l.Node || g.store.records[key].Silence.Noted {
		t.Errorf("the next record is %+v after lease %+v, want the same node ID and no note",
			g.store.records[key], l)
	}
}

// A node ID that comes free while the write of its silence note is in progress is
// noted as ended afterwards.
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
		t.Error("the node ID of a record whose write is in progress is not quarantined, want it so")
	}
	g.s.Settle(g.now, DefaultPool)
	g.do(w)
	g.pass(20 * time.Second)
	if rec := g.store.records[recordKey{l.Pool, l.Node}]; rec.Status != Ended {
		t.Errorf("the record is %+v, want it ended", rec)
	}
}

// Silent and ended leases share a write of notes, and so do pools, whichever has more.
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
			t.Fatalf("write %d is %+v, want one with %d notes", i, w, maxNotes)
		}
		for _, rec := range w.Batch.Records {
			kinds[rec.Status]++
			if rec.Pool == "other" {
				others++
			}
		}
		g.do(w)
		g.set(g.s.mark.stride / 20) // there are more, so the next notes are due soon
	}
	if kinds[Ended] != maxNotes || kinds[Live] != maxNotes || others != 10 {
		t.Errorf(
			"two writes noted %v, %d of them in the other pool, want half of each kind and all 10 of the other pool", kinds, others)
	}
}

// Leases with heartbeats need no note and one check in two thirds of a TTL, and one
// Tick checks few of them.
func TestLeasesWithHeartbeatsCostLittle(t *testing.T) {
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
			if checked := before - due(); checked > maxChecks {
				t.Fatalf("one Tick checked %d leases, want at most %d", checked, maxChecks)
			}
			if w != nil {
				writes += len(w.Batch.Records)
			}
			g.do(w)
		}
		for l := range p.slots.all() {
			if _, r := g.s.Heartbeat(g.now,
				LeaseRef{Pool: DefaultPool, Node: l.node, Epoch: l.epoch,
					Instance: l.instance}); r != nil {
				t.Fatal(r)
			}
		}
	}
	if err := g.s.Check(); err != nil || writes > 0 {
		t.Errorf("%d notes of leases with heartbeats and Check %v, want none", writes, err)
	}
}

// Join makes one write that removes the notes of several leases.
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
			t.Fatalf("Heartbeat of a noted lease: %+v, %v, want a Write that is no grant", d, r)
		}
		writes = append(writes, d.Write)
	}
	g.do(Join(writes))
	for _, l := range leases {
		d, r := g.s.Heartbeat(g.now, g.refOf(l))
		if r != nil || d.Lease.Epoch != l.Epoch ||
			g.store.records[recordKey{l.Pool, l.Node}].Silence.Noted {
			t.Errorf("Heartbeat after the joined write: %+v, %v, want the lease without a note", d,
				r)
		}
	}
}
