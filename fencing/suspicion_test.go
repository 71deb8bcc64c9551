package fencing

import (
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// suspicious returns a running server on a store that no operator vouches for.
func suspicious(t *testing.T, stride time.Duration, p Pool) *rig {
	t.Helper()
	b, err := NewStore(startOfWorld, stride, false, p)
	if err != nil {
		t.Fatal(err)
	}
	g := &rig{t: t, store: newMemStore(b), now: Now{Wall: startOfWorld}}
	g.restart(stride)
	return g
}

// leap moves both clocks by d without a Tick until the end.
func (g *rig) leap(d time.Duration) {
	g.set(d)
	for w, _ := g.s.Tick(g.now); w != nil; w, _ = g.s.Tick(g.now) {
		g.do(w)
	}
}

// change makes a change of the pool durable, or returns the refusal.
func (g *rig) change(c PoolChange) *Refusal {
	g.t.Helper()
	d, r := g.s.UpdatePool(g.now, DefaultPool, c)
	g.do(d.Write)
	return r
}

// opensIn returns the time until the default pool opens; 0 if it is open.
func (g *rig) opensIn() time.Duration {
	g.t.Helper()
	_, left, r := g.s.Pool(g.now, DefaultPool)
	if r != nil {
		g.t.Fatal(r)
	}
	return left
}

func (g *rig) wantOpensIn(what string, want time.Duration) {
	g.t.Helper()
	if got := g.opensIn(); got != want {
		g.t.Errorf("%s: the pool opens in %v, want %v", what, got, want)
	}
}

// recovered replaces the rig's store by a copy, recovers the copy and starts on it.
func (g *rig) recovered(copied *memStore, longest time.Duration) {
	g.t.Helper()
	b, err := Recover(copied.load(), g.now.Wall, 10*time.Second, longest)
	if err != nil {
		g.t.Fatal(err)
	}
	copied.commit(b)
	g.store = copied
	g.restart(10 * time.Second)
}

// S7: no change of a setting can end the suspicion of a pool earlier; once the pool is
// opened, each of these changes is allowed.
func TestSettingsCannotShortenSuspicion(t *testing.T) {
	p := smallPool(0)
	p.MaxTTL = time.Hour // its quarantine is 6 min
	wait := time.Hour + 6*time.Minute + 10*time.Second
	for _, c := range []struct {
		what   string
		change PoolChange
		want   Reason
	}{
		{"max_ttl lowered", PoolChange{MaxTTL: ptr(time.Minute)}, ReasonForbidden},
		{"quarantine lowered", PoolChange{Quarantine: ptr(15 * time.Second)}, ReasonForbidden},
		{"unsafe, by which the quarantine no longer follows the TTL", PoolChange{Unsafe: ptr(true)}, ReasonForbidden},
		{"one lowered and the other raised", PoolChange{MaxTTL: ptr(59 * time.Minute), Quarantine: ptr(time.Hour)}, ReasonForbidden},
		{"all at once", PoolChange{TTL: ptr(time.Second), MaxTTL: ptr(time.Second), Quarantine: ptr(0 * time.Second), Unsafe: ptr(true)}, ReasonForbidden},
		{"the TTL of those who ask for none", PoolChange{TTL: ptr(time.Second)}, ""},
		{"more node IDs", PoolChange{Last: ptr(snowflake.NodeID(7))}, ""},
		{"max_ttl raised", PoolChange{MaxTTL: ptr(2 * time.Hour)}, ""},
		{"quarantine raised", PoolChange{Quarantine: ptr(time.Hour)}, ""},
	} {
		g := suspicious(t, 10*time.Second, p)
		g.wantOpensIn("at first", wait)
		wantReason(t, c.what, g.change(c.change), c.want)
		if left := g.opensIn(); left < wait {
			t.Errorf("%s: the pool opens in %v, want at least %v", c.what, left, wait)
		}
		g.restart(10 * time.Second)
		if left := g.opensIn(); left < wait {
			t.Errorf("%s, then a restart: the pool opens in %v, want at least %v", c.what, left,
				wait)
		}
		g.leap(4 * time.Hour)
		g.wantOpensIn("at last", 0)
		wantReason(t, c.what+", opened", g.change(c.change), "")
	}
}

// S7: in a recovered copy, a lower max_ttl would let a node ID be granted while a holder
// from the lost store may be live.
func TestLowerMaxTTLAfterRecover(t *testing.T) {
	p := smallPool(0)
	p.MaxTTL = 24 * time.Hour
	g := newRig(t, 10*time.Second, p)
	copied := g.store.copied()
	req := ask("old")
	req.TTL = p.MaxTTL
	old, r := g.acquire(req)
	if r != nil {
		t.Fatal(r)
	}
	liveUntil := g.now.Steady + old.TTL
	g.set(time.Minute)
	g.recovered(copied, 0)

	wantReason(t, "max_ttl lowered", g.change(PoolChange{MaxTTL: ptr(30 * time.Second)}),
		ReasonForbidden)
	for g.opensIn() > 0 {
		g.leap(g.opensIn())
	}
	if rests := old.TTL / 10; g.now.Steady < liveUntil+rests {
		t.Errorf(
			"the pool opened %v after the deadline of the lost store's holder, want at least %v",
			g.now.Steady-liveUntil, rests)
	}
	l, r := g.acquire(ask("new"))
	if wantReason(t, "Acquire once it is opened", r, ""); l.Floor <= old.Ceiling {
		t.Errorf("the new lease has floor %d, want it above the lost window, which ends at %d",
			l.Floor, old.Ceiling)
	}
}

// S7: a copy doesn't know of a max_ttl that was raised after it was taken, so Recover
// is told the longest TTL.
func TestRecoverByTheLongestTTL(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(0))
	before := g.lease("before")
	copied := g.store.copied()
	day := 24 * time.Hour
	wantReason(t, "max_ttl raised", g.change(PoolChange{MaxTTL: &day}), "")
	g.recovered(copied.copied(), 0)
	g.wantOpensIn("told nothing", time.Minute+20*time.Second+10*time.Second)

	g.recovered(copied.copied(), day)
	g.wantOpensIn("told of the longest TTL", day+day/10+10*time.Second)
	rec := g.store.records[recordKey{DefaultPool, before.Node}]
	if want := g.store.meta.Mark.Add(day); rec.Ceiling != want {
		t.Errorf("the earlier lease is ended with ceiling %d, want mark + 24 h = %d", rec.Ceiling,
			want)
	}
	g.restart(10 * time.Second)
	g.wantOpensIn("after a restart", day+day/10+10*time.Second)

	if _, err := Recover(copied.load(), g.now.Wall, 10*time.Second, MaxDuration+1); err == nil {
		t.Error("Recover accepted a longest TTL above 30 days, want an error")
	}
}

// S7: no lower max_ttl, restart or replaced record makes the store forget the longest
// TTL.
func TestLongestTTL(t *testing.T) {
	hour := time.Hour
	g := newRig(t, 10*time.Second, smallPool(0))
	stored := func(what string, want time.Duration) {
		t.Helper()
		if got := g.store.pools[DefaultPool].LongestTTL; got != want {
			t.Errorf("%s: the longest TTL is stored as %v, want %v", what, got, want)
		}
	}
	stored("at first", time.Minute)
	wantReason(t, "raise", g.change(PoolChange{MaxTTL: &hour}), "")
	stored("max_ttl raised", hour)
	wantReason(t, "lower", g.change(PoolChange{MaxTTL: ptr(time.Minute)}), "")
	stored("max_ttl lowered", hour)
	g.recovered(g.store.copied(), 0)
	g.wantOpensIn("recovered", hour+hour/10+10*time.Second)

	// A store of an older version has no longest TTL: it comes from the records.
	g = newRig(t, 10*time.Second, smallPool(1))
	wantReason(t, "raise", g.change(PoolChange{MaxTTL: &hour}), "")
	req := ask("long")
	req.TTL = hour
	if _, r := g.acquire(req); r != nil {
		t.Fatal(r)
	}
	wantReason(t, "lower", g.change(PoolChange{MaxTTL: ptr(time.Minute)}), "")
	old := g.store.pools[DefaultPool]
	old.LongestTTL = 0
	g.store.pools[DefaultPool] = old
	copied := g.store.copied()
	g.restart(10 * time.Second)
	stored("a start, by the record of the long lease", hour)
	g.recovered(copied, 0)
	g.wantOpensIn("recovered, by the same record", hour+hour/10+10*time.Second)
}

// S7: an operator may make the suspicion longer, but never shorter. It stays longer
// after a restart without that setting.
func TestSuspectFor(t *testing.T) {
	const own = 60*time.Second + 20*time.Second + 10*time.Second
	g := suspicious(t, 10*time.Second, smallPool(0))
	start := func(least time.Duration) {
		t.Helper()
		s, err := NewServer(g.store.load(), 10*time.Second, g.now)
		if err != nil {
			t.Fatal(err)
		}
		s.Suspect(least)
		g.s = s
		g.tick()
	}
	g.wantOpensIn("told nothing", own)
	start(time.Second)
	g.wantOpensIn("told less", own)
	start(time.Hour)
	g.wantOpensIn("told more", time.Hour)
	start(0)
	g.wantOpensIn("a restart that is told nothing", time.Hour)
	start(time.Minute)
	g.wantOpensIn("a restart that is told less", time.Hour)
	g.leap(time.Hour - time.Second)
	_, r := g.acquire(ask("a"))
	wantReason(t, "Acquire a second too early", r, ReasonNotOpened)
	g.leap(time.Second)
	_, r = g.acquire(ask("a"))
	wantReason(t, "Acquire in time", r, "")

	g = newRig(t, 10*time.Second, smallPool(0))
	start(time.Hour)
	if g.store.meta.SuspectFor != 0 {
		t.Errorf("SuspectFor is %v in a store that is vouched for, want 0", g.store.meta.SuspectFor)
	}
}

// P1: the quarantine grows with the lease's own TTL, as the drift between clocks does,
// unless the pool is unsafe.
func TestQuarantineFollowsTheTTL(t *testing.T) {
	for _, c := range []struct {
		what       string
		unsafe     bool
		ttl, rests time.Duration
	}{
		{"a short lease", false, 30 * time.Second, 20 * time.Second},
		{"a lease of the longest TTL that the pool's quarantine is long enough for", false, 200 * time.Second, 20 * time.Second},
		{"a long lease", false, 720 * time.Hour, 72 * time.Hour},
		{"a long lease of a pool that is unsafe", true, 720 * time.Hour, 20 * time.Second},
	} {
		p := smallPool(0)
		p.MaxTTL, p.Unsafe = MaxDuration, c.unsafe
		g := newRig(t, 10*time.Second, p)
		req := ask("a")
		req.TTL = c.ttl
		l, r := g.acquire(req)
		if r != nil {
			t.Fatal(r)
		}
		for i := range 2 {
			if i == 1 { // once more after a restart, from the deadline by S6
				g.restart(10 * time.Second)
			}
			deadline := g.s.pools[DefaultPool].slots.at(l.Node).deadline
			g.leap(deadline - g.now.Steady)
			v, _ := g.s.Lease(g.now, DefaultPool, l.Node)
			if v.State != Quarantined || v.TimeLeft != c.rests {
				t.Errorf("%s at its deadline is %v for %v, want quarantined for %v", c.what,
					v.State, v.TimeLeft, c.rests)
			}
			if st, _ := g.s.Stats(g.now, DefaultPool); st.NextFree != c.rests {
				t.Errorf("%s: the next node ID is free in %v, want %v", c.what, st.NextFree,
					c.rests)
			}
			g.leap(c.rests - time.Millisecond)
			_, r = g.acquire(ask("b"))
			wantReason(t, c.what+", a ms too early", r, ReasonNoFreeNodeID)
			if rec := g.store.records[recordKey{DefaultPool, l.Node}]; rec.Status != Live {
				t.Errorf("%s: its record is %v before the end of its quarantine, want live", c.what,
					rec.Status)
			}
			if err := g.s.Check(); err != nil {
				t.Error(err)
			}
		}
		g.leap(time.Millisecond)
		_, r = g.acquire(ask("b"))
		wantReason(t, c.what+", in time", r, "")
	}
}

// A pool that becomes unsafe, or safe again, changes the quarantine of its leases.
func TestUnsafeChangesTheQuarantine(t *testing.T) {
	p := smallPool(0)
	p.MaxTTL = time.Hour
	g := newRig(t, 10*time.Second, p)
	req := ask("a")
	req.TTL = time.Hour
	if _, r := g.acquire(req); r != nil {
		t.Fatal(r)
	}
	g.leap(time.Hour + time.Minute)
	for _, c := range []struct {
		unsafe bool
		want   State
	}{{false, Quarantined}, {true, Free}, {false, Quarantined}, {true, Free}} {
		if g.s.pools[DefaultPool].Unsafe != c.unsafe {
			wantReason(t, "unsafe", g.change(PoolChange{Unsafe: &c.unsafe}), "")
		}
		l := g.s.pools[DefaultPool].slots.at(0)
		if got := g.state(0); got != c.want || l.indexedAs != c.want {
			t.Errorf("unsafe %v: node ID 0 is %v and indexed as %v, want %v", c.unsafe, got,
				l.indexedAs, c.want)
		}
		if err := g.s.Check(); err != nil {
			t.Error(err)
		}
	}
}

// S5: a lease that is being noted as ended is not quarantined again, even if the
// quarantine grows before the note is durable.
func TestNoteWhileTheQuarantineGrows(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(0))
	g.lease("a")
	var note *Write
	for note == nil || len(note.Batch.Records) == 0 || note.Batch.Records[0].Status != Ended {
		g.do(note)
		g.set(time.Second)
		note, _ = g.s.Tick(g.now)
	}
	g.s.SetWatched(DefaultPool, true)
	wantReason(t, "quarantine raised",
		g.change(PoolChange{Quarantine: ptr(MaxDuration), Confirmed: Confirmed{LongTimes: true}}),
		"")
	g.do(note)
	if err := g.s.Check(); err != nil {
		t.Error(err)
	}
	if st, _ := g.s.Stats(g.now, DefaultPool); st.Free != 1 || g.state(0) != Free {
		t.Errorf("node ID 0 is %v, and %d node IDs are free, want it free", g.state(0), st.Free)
	}
	if events := g.s.TakeEvents(); len(events) > 0 {
		t.Errorf("events %+v for a node ID that was free all the time, want none", events)
	}
	_, r := g.acquire(ask("b"))
	wantReason(t, "Acquire of the free ID", r, "")
}

// S11: after the range grew upwards, a grant searches only the new node IDs.
func TestGrowingRangeIsNotScannedAnew(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(1))
	g.lease("a")
	g.lease("b")
	if _, r := g.acquire(ask("c")); r == nil {
		t.Fatal("Acquire in a full pool was not refused, want a refusal")
	}
	wantReason(t, "grow", g.change(PoolChange{Last: ptr(snowflake.NodeID(2))}), "")
	if fresh := g.s.pools[DefaultPool].fresh; fresh != 2 {
		t.Errorf("the next grant searches from node ID %d on, want 2", fresh)
	}
	if l := g.lease("c"); l.Node != 2 {
		t.Errorf("node ID %d was granted, want 2", l.Node)
	}
}
