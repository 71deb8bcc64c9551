package fencing

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cirrus-id/cirrus/snowflake"
)

// S2: Acquire grants the node ID that the app held last if it is free, or else the one
// that has been free longest. All clocks run right here, so the model is a list of
// instants.
func TestChoice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := smallPool(snowflake.NodeID(rapid.IntRange(0, 5).Draw(t, "last")))
		g := newRig(t, time.Second, p)
		type use struct {
			Lease
			free time.Duration // the steady time from which it is free
		}
		uses := make([]use, p.Last+1)
		held := map[AppID]snowflake.NodeID{} // the last one of each app
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			for range rapid.IntRange(0, 60).Draw(t, "seconds") {
				g.pass(time.Second)
				g.s.Settle(g.now, DefaultPool)
			}
			if u := &uses[rapid.IntRange(0, len(uses)-1).Draw(t, "release")]; u.Epoch != 0 &&
				u.free > g.now.Steady+p.Quarantine {
				u.free = g.now.Steady + u.Ceiling.Sub(g.s.time.ms) + time.Millisecond
				var last *snowflake.Millis
				if rapid.Bool().Draw(t, "says the last timestamp") {
					u.free, last = g.now.Steady, ptr(u.Floor-1)
				}
				wantReason(t, "Release", g.release(u.Lease, last), "")
				u.Epoch = 0
				continue
			}
			app := AppID(fmt.Sprintf("app-%d", rapid.IntRange(0, 4).Draw(t, "app")))
			longest := -1
			for n, u := range uses {
				if u.free <= g.now.Steady && (longest < 0 || u.free < uses[longest].free) {
					longest = n
				}
			}
			d, r := g.s.Acquire(g.now,
				AcquireRequest{Pool: DefaultPool, App: app,
					Instance: hashOf(fmt.Sprint(g.s.pools[DefaultPool].highest + 1))})
			if (r != nil) != (longest < 0) {
				t.Fatalf("Acquire: refusal %v, want node ID %d (-1: a refusal)", r, longest)
			}
			if r != nil {
				continue
			}
			rec := d.Write.Batch.Records[0]
			n := rec.Node
			switch own, ok := held[app]; {
			case uses[n].free > g.now.Steady:
				t.Fatalf("node ID %d was granted at %v, but is free only at %v", n, g.now.Steady,
					uses[n].free)
			case ok && uses[own].free <= g.now.Steady && uses[own].App == app && n != own:
				t.Fatalf("node ID %d was granted to %s, want the free one that it held last, %d", n,
					app, own)
			case (!ok || n != own) && uses[n].free > uses[longest].free+time.Second:
				t.Fatalf("node ID %d, free since %v, was granted, want %d, free since %v", n,
					uses[n].free, longest, uses[longest].free)
			}
			g.do(d.Write)
			held[app] = n
			uses[n] = use{Lease: Lease{Pool: DefaultPool, Node: n, Epoch: rec.Epoch, App: app,
				Floor: rec.Floor, Ceiling: rec.Ceiling},
				free: g.now.Steady + rec.TTL + p.Quarantine}
		}
	})
}

// S2: a repeated Acquire moves the deadline when it arrives, although the grant's own
// write is still in progress.
func TestAcquireJoinsItsGrant(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(0))
	d, r := g.s.Acquire(g.now, ask("a"))
	wantReason(t, "Acquire", r, "")
	g.set(8 * time.Second)
	joined, r := g.s.Acquire(g.now, ask("a"))
	wantReason(t, "second Acquire", r, "")
	if joined.Write != nil || joined.Wait != WaitKey {
		t.Fatalf("the second Acquire of one instance: %+v, want WaitKey and no Write", joined)
	}
	g.set(time.Second)
	g.do(d.Write)
	if v, _ := g.s.Lease(g.now, DefaultPool, 0); v.TimeLeft != 29*time.Second {
		t.Errorf("the lease has %v left after the second Acquire, want 29s", v.TimeLeft)
	}
}

// S3: a heartbeat or a release needs the lease's pool, node ID, epoch and instance; any
// other is refused with a reason.
func TestHeartbeatNeedsEverything(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(3))
	l := g.lease("a")
	ref := g.refOf(l)
	for _, c := range []struct {
		name   string
		change func(*LeaseRef)
		want   Reason
	}{
		{"the holder", func(*LeaseRef) {}, ""},
		{"another instance", func(r *LeaseRef) { r.Instance = hashOf("b") }, ReasonLeaseLost},
		{"an earlier epoch", func(r *LeaseRef) { r.Epoch-- }, ReasonLeaseLost},
		{"a later epoch", func(r *LeaseRef) { r.Epoch++ }, ReasonLeaseLost},
		{"epoch 0", func(r *LeaseRef) { r.Epoch = 0 }, ReasonInvalid},
		{"another node ID", func(r *LeaseRef) { r.Node++ }, ReasonLeaseLost},
		{"a node ID beyond the layout", func(r *LeaseRef) { r.Node = 1024 }, ReasonInvalid},
		{"another pool", func(r *LeaseRef) { r.Pool = "other" }, ReasonPoolNotFound},
	} {
		other := ref
		c.change(&other)
		_, r := g.s.Heartbeat(g.now, other)
		wantReason(t, "heartbeat with "+c.name, r, c.want)
		if c.want == "" {
			continue
		}
		d, r := g.s.Release(g.now, other, nil)
		wantReason(t, "release with "+c.name, r, c.want)
		if d.Write != nil {
			t.Errorf("release with %s has a Write, want none", c.name)
		}
	}
	if _, r := g.beat(l); r != nil {
		t.Errorf("a heartbeat after the refused requests: %v, want the lease", r)
	}
}

// S3: deadline and ceiling only move forward, even if server time runs slower than the
// steady clock, and the lease keeps its own TTL.
func TestHeartbeatMovesForward(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := smallPool(0)
		p.Quarantine = time.Hour // nothing is noted as ended
		g := newRig(t, 10*time.Second, p)
		req := ask("a")
		req.TTL = rapid.SampledFrom([]time.Duration{0, MinTTL, 7 * time.Second, p.MaxTTL}).Draw(t,
			"ttl")
		first, r := g.acquire(req)
		wantReason(t, "Acquire", r, "")
		before := first
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				g.now.Wall -= snowflake.Millis(rapid.IntRange(0, 100_000).Draw(t, "back"))
			case 1:
				g.restart(10 * time.Second)
			case 2:
				g.pass(time.Duration(rapid.IntRange(0, 90).Draw(t, "seconds")) * time.Second)
			case 3:
				d, _ := g.s.UpdatePool(g.now, DefaultPool,
					PoolChange{TTL: ptr(2 * time.Second), MaxTTL: ptr(3 * time.Second)})
				g.do(d.Write)
			}
			g.tick()
			was := g.s.pools[DefaultPool].slots.at(0).deadline
			l, r := g.beat(before)
			wantReason(t, "Heartbeat", r, "")
			deadline := g.s.pools[DefaultPool].slots.at(0).deadline
			if deadline != max(was, g.now.Steady+first.TTL) {
				t.Fatalf(
					"after a heartbeat the deadline is %v at %v, with TTL %v and %v before; want it moved forward to now + TTL", deadline, g.now.Steady, first.TTL, was)
			}
			if l.Ceiling < before.Ceiling || l.Ceiling < l.ServerTime.Add(l.TTL) ||
				l.Floor != first.Floor || l.Epoch != first.Epoch || l.TTL != first.TTL {
				t.Fatalf(
					"a heartbeat answers %+v after %+v, want no ceiling below the one before or server time + TTL, and the rest unchanged", l, before)
			}
			before = l
		}
	})
}

// S4: the ceiling of a released lease, and which last timestamps are refused.
func TestReleaseCeiling(t *testing.T) {
	for _, c := range []struct {
		name string
		last *snowflake.Millis
		want snowflake.Millis // less the floor
		bad  bool
	}{
		{name: "says nothing", want: 35_000},
		{name: "the last one used", last: ptr(startOfWorld + 4_000), want: 4_000},
		{name: "the ceiling", last: ptr(startOfWorld + 35_000), want: 35_000},
		{name: "more than was promised", last: ptr(startOfWorld + 36_000), want: 35_000},
		{name: "the floor", last: ptr(startOfWorld), want: 0},
		{name: "nothing used", last: ptr(startOfWorld - 1), want: -1},
		{name: "less than that", last: ptr(snowflake.Millis(1)), want: -1},
		{name: "zero", last: ptr(snowflake.Millis(0)), bad: true},
		{name: "negative", last: ptr(snowflake.Millis(-1)), bad: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newRig(t, 10*time.Second, smallPool(0))
			l := g.lease("a")
			g.pass(5 * time.Second)
			if _, r := g.beat(l); r != nil {
				t.Fatal(r)
			}
			r := g.release(l, c.last)
			if c.bad {
				wantReason(t, "Release", r, ReasonInvalid)
				if _, r := g.beat(l); r != nil {
					t.Errorf("a heartbeat after a refused release: %v, want the lease", r)
				}
				return
			}
			wantReason(t, "Release", r, "")
			rec := g.store.records[recordKey{DefaultPool, 0}]
			if rec.Status != Ended || rec.Ceiling != l.Floor+c.want || rec.Epoch != l.Epoch {
				t.Errorf(
					"the record is %v with ceiling %d (floor %d) and epoch %d, want it ended with ceiling floor + %d and epoch %d", rec.Status, rec.Ceiling, rec.Floor, rec.Epoch, c.want, l.Epoch)
			}
			if d, r := g.s.Release(g.now, g.refOf(l), c.last); r != nil || d.Write != nil {
				t.Errorf("the release repeated: %+v, %v, want neither Write nor refusal", d, r)
			}
		})
	}
}

// S5: one write of the mark has at most 100 notes, for all pools together, and the
// notes come in the same order in every run.
func TestNotesAreLimited(t *testing.T) {
	run := func() (batches [][]Record) {
		g := newRig(t, 10*time.Second, smallPool(200))
		p := smallPool(200)
		p.Name = "other"
		d, r := g.s.CreatePool(g.now, p, Confirmed{})
		wantReason(t, "CreatePool", r, "")
		g.do(d.Write)
		for i := range 240 {
			req := ask(fmt.Sprint("app-", i))
			if i%2 == 1 {
				req.Pool = "other"
			}
			if _, r := g.acquire(req); r != nil {
				t.Fatal(r)
			}
		}
		for range 200 {
			g.set(time.Second)
			if w, _ := g.s.Tick(g.now); w != nil {
				if len(w.Batch.Records) > 0 {
					batches = append(batches, w.Batch.Records)
				}
				g.do(w)
			}
		}
		for key, rec := range g.store.records {
			if rec.Status != Ended {
				t.Errorf("the record of %v was never noted as ended", key)
			}
		}
		return batches
	}
	first := run()
	// Each lease is noted twice as silent, since a twentieth of the TTL and a stride
	// pass before its quarantine ends, and then as ended.
	most := 0
	for i, batch := range first {
		if most = max(most, len(batch)); len(batch) > maxNotes {
			t.Fatalf("batch %d has %d notes, want at most %d", i, len(batch), maxNotes)
		}
	}
	if most != maxNotes || len(first) > 20 {
		t.Errorf("%d batches with at most %d notes, want at most 20 with up to %d", len(first),
			most, maxNotes)
	}
	for range 5 {
		if !reflect.DeepEqual(run(), first) {
			t.Fatal("two runs noted different records, or in another order")
		}
	}
}

// S7: the content of a new store and of a recovered one.
func TestGenesis(t *testing.T) {
	b, err := NewStore(startOfWorld, 3*time.Second, false, smallPool(1))
	if err != nil {
		t.Fatal(err)
	}
	want := Meta{Mark: startOfWorld, Stride: 3 * time.Second, CreatedAt: startOfWorld,
		FirstEpoch: Epoch(startOfWorld/1000) << 20}
	if *b.Meta != want || b.Pools[0].Opened || b.Pools[0].CreatedAt != startOfWorld {
		t.Errorf("a new store has %+v, %+v", *b.Meta, b.Pools[0])
	}

	g := newRig(t, 3*time.Second, smallPool(3))
	old := g.lease("old")
	revoked := g.lease("revoked")
	d, _ := g.s.Revoke(g.now, DefaultPool, revoked.Node, revoked.Epoch)
	g.do(d.Write)
	gone := g.lease("gone")
	g.released(gone, ptr(gone.Floor))
	wall := g.now.Wall.Add(time.Hour)
	b, err = Recover(g.store.load(), wall, 2*time.Second, 0)
	if err != nil {
		t.Fatal(err)
	}
	mark := wall.Add(3 * time.Second) // the longer stride
	if b.Meta.Mark != mark || b.Meta.Stride != 3*time.Second || b.Meta.Vouched ||
		b.Meta.FirstEpoch != Epoch(wall/1000)<<20 || b.Pools[0].Opened {
		t.Errorf("a recovered store has %+v, %+v", *b.Meta, b.Pools[0])
	}
	if len(b.Records) != 3 {
		t.Fatalf("%d records are in the recovered store, want 3", len(b.Records))
	}
	for _, rec := range b.Records {
		if rec.Status != Ended || rec.Ceiling != mark.Add(time.Minute) {
			t.Errorf("node ID %d was recovered as %v with ceiling %d, want ended with %d", rec.Node,
				rec.Status, rec.Ceiling, mark.Add(time.Minute))
		}
	}
	g.store.commit(b)
	g.now.Wall = wall
	g.restart(3 * time.Second)
	_, r := g.beat(old)
	wantReason(t, "heartbeat after recover", r, ReasonLeaseLost)
	_, r = g.acquire(ask("new"))
	wantReason(t, "Acquire after recover", r, ReasonNotOpened)
	p := smallPool(0)
	p.Name = "other"
	d, r = g.s.CreatePool(g.now, p, Confirmed{})
	wantReason(t, "CreatePool after recover", r, "")
	if d.Write.Batch.Pools[0].Opened {
		t.Error("a new pool of a recovered store is opened, want it not to be")
	}
}

// Recover lowers no mark, first epoch or ceiling.
func TestRecoverOnlyRaises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		millis := rapid.Custom(func(t *rapid.T) snowflake.Millis {
			return startOfWorld + snowflake.Millis(rapid.IntRange(-50_000, 50_000).Draw(t, "ms"))
		})
		p := smallPool(1)
		snap := Snapshot{
			Meta: Meta{Mark: millis.Draw(t, "mark"), Stride: 5 * time.Second,
				FirstEpoch: Epoch(rapid.Uint64Range(1, 1<<60).Draw(t, "first epoch"))},
			Pools: []Pool{p},
			Records: []Record{{Pool: p.Name, Epoch: 7, TTL: 2 * time.Minute, Status: Ended,
				Ceiling: millis.Draw(t,
					"ceiling") + 500_000*rapid.SampledFrom([]snowflake.Millis{0, 1}).Draw(t,
					"far")}},
		}
		wall := millis.Draw(t, "wall")
		b, err := Recover(snap, wall, 10*time.Second, 0)
		if wall < snap.Meta.Mark-5_000-60_000 {
			if err == nil {
				t.Fatal("a wall clock far behind was accepted, want an error")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if b.Meta.Mark < snap.Meta.Mark || b.Meta.Mark < wall+10_000 ||
			b.Meta.FirstEpoch < snap.Meta.FirstEpoch || b.Meta.FirstEpoch < Epoch(wall/1000)<<20 {
			t.Fatalf("Recover makes %+v of %+v at %d, want nothing lower", *b.Meta, snap.Meta, wall)
		}
		// The record's own TTL was granted under an older max_ttl.
		if c := b.Records[0].Ceiling; c < snap.Records[0].Ceiling || c < b.Meta.Mark+120_000 {
			t.Fatalf("Recover makes ceiling %d of %d with mark %d, want at least mark + 2 min", c,
				snap.Records[0].Ceiling, b.Meta.Mark)
		}
	})
}

// S7: the suspicion includes the stride that an earlier server may have kept, although
// this server keeps a shorter one.
func TestSuspicionOutlastsTheLongerStride(t *testing.T) {
	b, err := NewStore(startOfWorld, 20*time.Second, false, smallPool(0))
	if err != nil {
		t.Fatal(err)
	}
	g := &rig{t: t, store: newMemStore(b), now: Now{Wall: startOfWorld}}
	g.restart(time.Second)
	opens := 60*time.Second + 20*time.Second + 20*time.Second
	for g.now.Steady < opens-time.Second {
		g.pass(time.Second)
		_, r := g.acquire(ask("a"))
		wantReason(t, fmt.Sprintf("Acquire at %v", g.now.Steady), r, ReasonNotOpened)
		if _, left, _ := g.s.Pool(g.now, DefaultPool); left != opens-g.now.Steady ||
			r.RetryAfter != left {
			t.Fatalf("at %v the pool opens in %v and RetryAfter is %v, want %v", g.now.Steady, left,
				r.RetryAfter, opens-g.now.Steady)
		}
	}
	if g.s.Stride() != time.Second {
		t.Errorf("the stride is %v, want the configured one by now, 1s", g.s.Stride())
	}
	g.pass(time.Second)
	if g.lease("a").Epoch != g.store.meta.FirstEpoch || !g.store.pools[DefaultPool].Opened {
		t.Error("the pool is not opened in the store, or its first epoch is not the base")
	}
}

// S6: a stride that is configured shorter is stored only once everything promised
// under the longer one has ended.
func TestStrideShortens(t *testing.T) {
	g := newRig(t, 20*time.Second, smallPool(0))
	g.restart(time.Second)
	for g.now.Steady < 20*time.Second {
		if g.s.Stride() != 20*time.Second || g.store.meta.Stride != 20*time.Second {
			t.Fatalf("at %v the stride is %v, stored as %v, want 20s", g.now.Steady, g.s.Stride(),
				g.store.meta.Stride)
		}
		g.pass(time.Second)
	}
	g.pass(time.Second)
	if g.s.Stride() != time.Second || g.store.meta.Stride != time.Second {
		t.Errorf("after 21 s the stride is %v, stored as %v, want 1s", g.s.Stride(),
			g.store.meta.Stride)
	}
	// A longer stride is stored at once.
	g.restart(5 * time.Second)
	if g.store.meta.Stride != 5*time.Second {
		t.Errorf("stride %v is stored, want the longer one, 5s", g.store.meta.Stride)
	}
}

// S8: whatever the wall clock shows, server time never goes back, follows a wall clock
// that is a little ahead at once, and otherwise keeps within 1 % of the steady clock.
func TestServerTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := Now{Steady: 5 * time.Second, Wall: startOfWorld}
		st, err := startServerTime(now, startOfWorld, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		// slow and fast bound how far server time may be after base, the last leap.
		slow := time.Duration(0)
		base := st.ms
		fast := slow
		for range rapid.IntRange(1, 50).Draw(t, "readings") {
			d := time.Duration(rapid.Int64Range(0,
				int64(
					rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, time.Hour,
						24 * time.Hour}).Draw(t, "about"))).Draw(t, "elapsed"))
			now.Steady += d
			now.Wall = now.Wall.Add(d)
			if rapid.IntRange(0, 2).Draw(t, "jump") == 0 {
				now.Wall += snowflake.Millis(
					rapid.SampledFrom([]int{-1, 1, -1000, 1000, -3_600_000, 599_000, 601_000,
						86_400_000, -1 << 60, 1 << 60}).Draw(t, "by"))
			}
			now.Wall = min(max(now.Wall, 0), lastServerTime)
			before := st.ms
			got := st.advance(now)
			slow, fast = slow+d-d/slew, fast+d+d/slew
			low, high := base+snowflake.Millis(slow/time.Millisecond),
				base+snowflake.Millis(fast/time.Millisecond)+1
			lead := now.Wall - (before + snowflake.Millis(d/time.Millisecond))
			switch {
			case got < before:
				t.Fatalf("server time is %d after %d, want it never to go back", got, before)
			case got < low:
				t.Fatalf("server time is %d, more than 1 %% slow: want at least %d", got, low)
			case got < now.Wall && lead <= 0 &&
				before+snowflake.Millis(d/time.Millisecond) > now.Wall:
				t.Fatalf("server time, %d, fell behind the wall clock, %d, while it ran slow", got,
					now.Wall)
			case now.Wall < before && got > before+snowflake.Millis((d-d/slew)/time.Millisecond)+1:
				t.Fatalf(
					"server time is %d after %d and %v: want it to run slow until the wall clock, %d, meets it", got, before, d, now.Wall)
			case lead > 0 && lead < 600_000 && got != now.Wall && got != now.Wall+1:
				t.Fatalf("server time is %d, want the wall clock, %d, which was %d ms ahead", got,
					now.Wall, lead)
			case got > high &&
				(got != now.Wall || got-before > 600_001+snowflake.Millis(d/time.Millisecond)):
				t.Fatalf("server time leapt to %d from %d with the wall clock at %d, want no leap",
					got, before, now.Wall)
			}
			if got == now.Wall || got > high {
				base, slow, fast = got, 0, 0
			}
			if st.offset != now.Wall.Sub(got) || st.alarmed() != (now.Wall-got > 600_000) {
				t.Fatalf("offset %v and alarm %v at server time %d and wall clock %d", st.offset,
					st.alarmed(), got, now.Wall)
			}
		}
	})
}

// S8: server time at a start, and the wall clocks that are refused.
func TestServerTimeStarts(t *testing.T) {
	const day, year = 24 * 3600 * 1000, 365 * 24 * 3600 * 1000
	for _, c := range []struct {
		wall, mark, want snowflake.Millis // want 0: refused
	}{
		{wall: startOfWorld, mark: startOfWorld, want: startOfWorld},
		{wall: startOfWorld - 5_000, mark: startOfWorld, want: startOfWorld - 5_000},
		{wall: startOfWorld - 11_000, mark: startOfWorld, want: startOfWorld - 10_000},
		{wall: startOfWorld - day - 10_000, mark: startOfWorld, want: startOfWorld - 10_000},
		{wall: startOfWorld - day - 10_001, mark: startOfWorld},
		{wall: startOfWorld + year - 10_000, mark: startOfWorld, want: startOfWorld + year - 10_000},
		{wall: startOfWorld + year - 9_999, mark: startOfWorld},
		{wall: -1, mark: 0},
		{wall: lastServerTime + 1, mark: lastServerTime},
	} {
		st, err := startServerTime(Now{Wall: c.wall}, c.mark, 10*time.Second)
		if (err != nil) != (c.want == 0) || err == nil && st.ms != c.want {
			t.Errorf("wall clock %d, mark %d: server time starts at %d (%v), want %d (0: refused)",
				c.wall, c.mark, st.ms, err, c.want)
		}
		if err != nil && !strings.Contains(err.Error(), "set the clock") {
			t.Errorf("the error %q does not say to set the clock", err)
		}
	}
}

// S9: after a failed write every request is refused.
func TestFailStop(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(3))
	l := g.lease("a")
	g.s.Fail(errTest)
	_, r := g.s.Acquire(g.now, ask("b"))
	wantReason(t, "Acquire", r, ReasonStoreFailed)
	_, r = g.s.Heartbeat(g.now, g.refOf(l))
	wantReason(t, "Heartbeat", r, ReasonStoreFailed)
	_, r = g.s.Release(g.now, g.refOf(l), nil)
	wantReason(t, "Release", r, ReasonStoreFailed)
	_, r = g.s.Revoke(g.now, DefaultPool, l.Node, l.Epoch)
	wantReason(t, "Revoke", r, ReasonStoreFailed)
	_, r = g.s.CreatePool(g.now, NewPool("other"), Confirmed{})
	wantReason(t, "CreatePool", r, ReasonStoreFailed)
	_, r = g.s.UpdatePool(g.now, DefaultPool, PoolChange{})
	wantReason(t, "UpdatePool", r, ReasonStoreFailed)
	_, _, _, r = g.s.List(g.now, DefaultPool, 0, 10)
	wantReason(t, "List", r, ReasonStoreFailed)
	_, _, r = g.s.Pool(g.now, DefaultPool)
	wantReason(t, "Pool", r, ReasonStoreFailed)
	g.set(time.Hour)
	if w, _ := g.s.Tick(g.now); w != nil {
		t.Error("Tick has a Write after a failure, want none")
	}
}

// S10: the mark allows promises for a stride after its write was sent, and while server
// time is not above it. A term's first promise waits for a write.
func TestMarkLease(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(3))
	l := g.lease("a")
	g.set(10*time.Second - time.Millisecond)
	if _, r := g.beat(l); r != nil {
		t.Fatal(r)
	}
	waits := func(what string) {
		t.Helper()
		if d, r := g.s.Heartbeat(g.now, g.refOf(l)); r != nil || d.Wait != WaitMark {
			t.Errorf("%s: Heartbeat: %+v, %v, want WaitMark", what, d, r)
		}
		if d, r := g.s.Acquire(g.now, ask("a")); r != nil || d.Wait != WaitMark {
			t.Errorf("%s: Acquire by the holder: %+v, %v, want WaitMark", what, d, r)
		}
		if d, r := g.s.Acquire(g.now, ask("b")); r != nil || d.Wait != WaitMark {
			t.Errorf("%s: Acquire: %+v, %v, want WaitMark", what, d, r)
		}
	}
	g.set(time.Millisecond)
	waits("a stride after the write")

	w, _ := g.s.Tick(g.now)
	g.set(4 * time.Second)
	waits("before the write is acknowledged")
	if again, _ := g.s.Tick(g.now); again != nil {
		t.Error("Tick has a second write of the mark while one is in progress, want none")
	}
	g.do(w)
	g.set(6*time.Second - time.Millisecond)
	if _, r := g.beat(l); r != nil {
		t.Fatal(r)
	}
	g.set(time.Millisecond)
	waits("a stride after the write was sent")

	g.tick()
	g.now.Wall = g.now.Wall.Add(11 * time.Second)
	waits("server time above the mark")
	g.tick()
	if _, r := g.beat(l); r != nil {
		t.Fatal(r)
	}

	s, err := NewServer(g.store.load(), 10*time.Second, g.now)
	if err != nil {
		t.Fatal(err)
	}
	g.s = s
	waits("before a start's first write")
	g.tick()
	if _, r := g.beat(l); r != nil {
		t.Fatal(r)
	}

	// Server time runs slow here, so it does not reach the mark in a stride.
	g.now.Wall -= 3_600_000
	g.set(10 * time.Second)
	w, _ = g.s.Tick(g.now)
	if g.s.time.ms > g.s.Mark() {
		t.Fatalf("server time is %d, above the mark, %d; want it below", g.s.time.ms, g.s.Mark())
	}
	waits("a stride after the write, though below the mark")
	g.do(w)
	if _, r := g.beat(l); r != nil {
		t.Fatal(r)
	}
}

// S10: a grant is judged again when its own write is acknowledged.
func TestGrantIsLookedAtAgain(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(3))
	d, r := g.s.Acquire(g.now, ask("a"))
	wantReason(t, "Acquire", r, "")
	g.set(10 * time.Second)
	g.do(d.Write)
	if d, r := g.s.Acquire(g.now, ask("a")); r != nil || d.Wait != WaitMark {
		t.Errorf("Acquire after its grant, with the stride elapsed: %+v, %v, want WaitMark", d, r)
	}
}

// S10: when a store is loaded, an instance with two live records keeps the one with
// the higher epoch.
func TestTwoLiveRecords(t *testing.T) {
	for _, swapped := range []bool{false, true} {
		g := newRig(t, 10*time.Second, smallPool(3))
		g.lease("a")
		rec := g.store.records[recordKey{DefaultPool, 0}]
		rec.Node = 1
		if rec.Epoch++; swapped {
			rec.Node, rec.Epoch = 0, rec.Epoch+1
			low := rec
			low.Node, low.Epoch = 1, rec.Epoch-1
			g.store.commit(Batch{Records: []Record{low}})
		}
		g.store.commit(Batch{Records: []Record{rec}})
		g.restart(10 * time.Second)
		if err := g.s.Check(); err != nil {
			t.Error(err)
		}
		if l := g.lease("a"); l.Node != rec.Node || l.Epoch != rec.Epoch {
			t.Errorf("the instance gets node ID %d under epoch %d, want %d under %d", l.Node,
				l.Epoch, rec.Node, rec.Epoch)
		}
	}
}

// S11: the changes of a pool that are allowed, and those that are refused.
func TestPoolChanges(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(3))
	lower := snowflake.DefaultLayout
	lower.SequenceBits--
	for _, c := range []struct {
		name   string
		change PoolChange
		want   Reason
	}{
		{"layout", PoolChange{Layout: &lower}, ReasonForbidden},
		{"origin", PoolChange{Layout: &snowflake.Layout{Origin: 1, TimestampBits: 41, NodeBits: 10, SequenceBits: 12}}, ReasonForbidden},
		{"range shrinks above", PoolChange{Last: ptr(snowflake.NodeID(2))}, ReasonForbidden},
		{"range shrinks below", PoolChange{First: ptr(snowflake.NodeID(1))}, ReasonForbidden},
		{"range beyond the layout", PoolChange{Last: ptr(snowflake.NodeID(1024))}, ReasonInvalid},
		{"range grows", PoolChange{Last: ptr(snowflake.NodeID(5))}, ""},
		{"quarantine below the stride", PoolChange{Quarantine: ptr(9 * time.Second)}, ReasonInvalid},
		{"quarantine below a tenth of the TTL", PoolChange{TTL: ptr(300 * time.Second), MaxTTL: ptr(300 * time.Second)}, ReasonInvalid},
		{"the same, unsafe", PoolChange{Quarantine: ptr(time.Second), Unsafe: ptr(true)}, ""},
		{"ttl above max_ttl", PoolChange{TTL: ptr(61 * time.Second)}, ReasonInvalid},
		{"ttl", PoolChange{TTL: ptr(31 * time.Second)}, ""},
		{"nothing", PoolChange{}, ""},
	} {
		before := g.store.pools[DefaultPool]
		d, r := g.s.UpdatePool(g.now, DefaultPool, c.change)
		wantReason(t, c.name, r, c.want)
		if c.want != "" && d.Write != nil {
			t.Errorf("%s: a refused change has a Write, want none", c.name)
		}
		if d.Write != nil {
			if again, r := g.s.UpdatePool(g.now, DefaultPool, c.change); r != nil ||
				again.Wait != WaitKey {
				t.Errorf("%s: UpdatePool while the change is in progress: %+v, %v, want WaitKey",
					c.name, again, r)
			}
		}
		g.do(d.Write)
		if want := c.change.apply(before); c.want == "" && g.s.pools[DefaultPool].Pool != want {
			t.Errorf("%s: the pool is %+v, want it changed", c.name, g.s.pools[DefaultPool].Pool)
		}
	}
}

// S11: a range can grow at both ends, and the new node IDs are granted.
func TestGrownRange(t *testing.T) {
	p := smallPool(2)
	p.First = 2
	g := newRig(t, 10*time.Second, p)
	d, _ := g.s.Acquire(g.now, ask("a"))
	change, r := g.s.UpdatePool(g.now, DefaultPool,
		PoolChange{First: ptr(snowflake.NodeID(1)), Last: ptr(snowflake.NodeID(3))})
	wantReason(t, "UpdatePool", r, "")
	_, r = g.acquire(ask("b"))
	wantReason(t, "Acquire before the change is durable", r, ReasonNoFreeNodeID)
	g.do(change.Write)
	nodes := map[snowflake.NodeID]bool{d.Write.Batch.Records[0].Node: true}
	g.do(d.Write)
	for _, app := range []string{"b", "c"} {
		nodes[g.lease(app).Node] = true
	}
	_, r = g.acquire(ask("d"))
	wantReason(t, "one too many", r, ReasonNoFreeNodeID)
	if len(nodes) != 3 || nodes[0] || nodes[4] {
		t.Errorf("node IDs %v were granted, want all of the range", nodes)
	}
}

// S11: the pools that can be created.
func TestCreatePool(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(3))
	for _, c := range []struct {
		name   string
		change func(*Pool)
		want   Reason
	}{
		{"defaults", func(*Pool) {}, ""},
		{"the same again", func(*Pool) {}, ""},
		{"with other settings", func(p *Pool) { p.TTL = time.Second }, ReasonPoolExists},
		{"origin after server time", func(p *Pool) { p.Name = "late"; p.Layout.Origin = startOfWorld + 1 }, ReasonForbidden},
		{"origin at server time", func(p *Pool) { p.Name = "now"; p.Layout.Origin = startOfWorld }, ""},
		{"less than a year left", func(p *Pool) {
			p.Name = "short"
			p.Layout.TimestampBits = 35
			p.Layout.Origin = startOfWorld + 365*24*3600*1000 - 1<<35
		}, ReasonForbidden},
		{"a year left", func(p *Pool) {
			p.Name = "year"
			p.Layout.TimestampBits = 35
			p.Layout.Origin = startOfWorld + 365*24*3600*1000 - 1<<35 + 1
		}, ""},
		{"no name", func(p *Pool) { p.Name = "" }, ReasonInvalid},
		{"a long name", func(p *Pool) { p.Name = PoolName(strings.Repeat("a", 64)) }, ReasonInvalid},
		{"a bad name", func(p *Pool) { p.Name = "Ä" }, ReasonInvalid},
		{"a TTL below a second", func(p *Pool) { p.Name = "x"; p.TTL = time.Second - 1 }, ReasonInvalid},
		{"range backwards", func(p *Pool) { p.Name = "x"; p.First, p.Last = 2, 1 }, ReasonInvalid},
	} {
		p := NewPool("other")
		c.change(&p)
		d, r := g.s.CreatePool(g.now, p, Confirmed{})
		wantReason(t, c.name, r, c.want)
		if d.Write != nil {
			if again, r := g.s.CreatePool(g.now, p, Confirmed{}); r != nil ||
				again.Wait != WaitKey {
				t.Errorf("%s: CreatePool while the creation is in progress: %+v, %v, want WaitKey",
					c.name, again, r)
			}
		}
		g.do(d.Write)
		if _, ok := g.store.pools[p.Name]; ok != (c.want == "" || c.want == ReasonPoolExists) {
			t.Errorf("%s: the pool is in the store: %v, want it there only if it was created",
				c.name, ok)
		}
	}
	g.tick()
	l, r := g.acquire(AcquireRequest{Pool: "other", App: "a", Instance: hashOf("a")})
	if r != nil || l.Epoch != g.store.meta.FirstEpoch {
		t.Errorf("Acquire in the new pool: %+v, %v, want a lease", l, r)
	}
}

// S11: Free ends the lease of a dead holder as the holder's own Release would: without
// a last timestamp, the node ID is free only after the whole window.
func TestFree(t *testing.T) {
	for _, c := range []struct {
		name string
		last *snowflake.Millis
		want snowflake.Millis // the ceiling minus the floor
		bad  bool
	}{
		{name: "says nothing", want: 30_000},
		{name: "the last one used", last: ptr(startOfWorld + 4_000), want: 4_000},
		{name: "more than was promised", last: ptr(startOfWorld + 36_000), want: 30_000},
		{name: "less than the floor", last: ptr(snowflake.Millis(1)), want: -1},
		{name: "zero", last: ptr(snowflake.Millis(0)), bad: true},
	} {
		for _, revoked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, revoked %v", c.name, revoked), func(t *testing.T) {
				g := newRig(t, 10*time.Second, smallPool(0))
				l := g.lease("a")
				if revoked {
					d, r := g.s.Revoke(g.now, DefaultPool, l.Node, l.Epoch)
					wantReason(t, "Revoke", r, "")
					g.do(d.Write)
				}
				_, r := g.s.Free(g.now, DefaultPool, l.Node, l.Epoch+1, c.last)
				wantReason(t, "Free of another epoch", r, ReasonLeaseLost)
				d, r := g.s.Free(g.now, DefaultPool, l.Node, l.Epoch, c.last)
				if c.bad {
					wantReason(t, "Free", r, ReasonInvalid)
					return
				}
				wantReason(t, "Free", r, "")
				again, r := g.s.Free(g.now, DefaultPool, l.Node, l.Epoch, c.last)
				if r != nil || again.Wait != WaitKey {
					t.Errorf("Free while one is in progress: %+v, %v, want WaitKey", again, r)
				}
				g.do(d.Write)
				rec := g.store.records[recordKey{DefaultPool, l.Node}]
				if rec.Status != Ended || rec.Ceiling != startOfWorld+c.want ||
					rec.Epoch != l.Epoch {
					t.Errorf("the record is %+v, want it ended at the floor + %d", rec, c.want)
				}
				again, r = g.s.Free(g.now, DefaultPool, l.Node, l.Epoch, nil)
				if r != nil || again.Write != nil || again.Wait != WaitNone {
					t.Errorf("the Free repeated: %+v, %v, want neither Write nor refusal", again, r)
				}
				_, r = g.beat(l)
				wantReason(t, "a heartbeat of a freed lease", r, ReasonLeaseLost)

				// P2: the next window begins above all timestamps that this one may have
				// used, and there is no quarantine.
				g.pass(time.Duration(max(c.want, 0)) * time.Millisecond)
				_, r = g.acquire(ask("b"))
				if wait := c.want >= 0; (r != nil) != wait {
					t.Errorf("Acquire at the ceiling: refusal %v, want one: %v", r, wait)
				}
				g.set(time.Millisecond)
				if c.want >= 0 && g.lease("b").Floor <= rec.Ceiling {
					t.Error("the next window does not begin above the ceiling")
				}
			})
		}
	}
}

func TestTooManyPools(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(3))
	for i := range MaxPools {
		p := NewPool(PoolName(fmt.Sprintf("pool-%d", i)))
		d, r := g.s.CreatePool(g.now, p, Confirmed{})
		if full := i == MaxPools-1; full { // there was one before
			wantReason(t, "one too many", r, ReasonTooManyPools)
			if !strings.Contains(r.Message, fmt.Sprint(MaxPools)) {
				t.Errorf("the refusal %q does not say that the limit is %d", r.Message, MaxPools)
			}
			return
		}
		wantReason(t, string(p.Name), r, "")
		if i < MaxPools-4 { // the last few are in progress, and count
			g.do(d.Write)
		}
	}
}

// A store takes at most 128 keys at once: the other pools are opened by the next
// write, which is due at once.
func TestLargestWrite(t *testing.T) {
	const pools = 60
	first := smallPool(200)
	b, err := NewStore(startOfWorld, 10*time.Second, false, first)
	if err != nil {
		t.Fatal(err)
	}
	g := &rig{t: t, store: newMemStore(b), now: Now{Wall: startOfWorld}}
	g.restart(10 * time.Second)
	for i := range pools {
		p := first
		p.Name = PoolName(fmt.Sprintf("pool-%d", i))
		d, r := g.s.CreatePool(g.now, p, Confirmed{})
		wantReason(t, string(p.Name), r, "")
		g.do(d.Write)
	}
	g.pass(first.MaxTTL + first.Quarantine + 9*time.Second)
	g.set(time.Second)
	opened := 0
	for range 3 {
		w, _ := g.s.Tick(g.now)
		if w == nil {
			t.Fatalf("%d pools were opened and no more are due, want all opened", opened)
		}
		if n := 1 + len(w.Batch.Pools) + maxNotes; n > 128 {
			t.Errorf("a write may have %d keys, want at most 128", n)
		}
		opened += len(w.Batch.Pools)
		g.do(w)
	}
	if opened != pools+1 {
		t.Errorf("%d of %d pools were opened", opened, pools+1)
	}
}

// S2: no lease is granted whose ceiling is beyond the layout's last timestamp.
func TestLayoutEnds(t *testing.T) {
	p := smallPool(3)
	p.Layout.TimestampBits = 35
	p.Layout.Origin = startOfWorld + 366*24*3600*1000 - 1<<35
	g := newRig(t, 10*time.Second, p)
	g.now.Wall = p.Layout.LastTimestamp() - 40_000
	snap := g.store.load()
	snap.Meta.Mark = g.now.Wall
	g.store.meta = snap.Meta
	g.restart(10 * time.Second)
	req := ask("long")
	req.TTL = 40*time.Second + time.Millisecond
	_, r := g.acquire(req)
	wantReason(t, "a ceiling beyond", r, ReasonLayoutExhausted)
	req.TTL = 40 * time.Second
	l, r := g.acquire(req)
	if r != nil || l.Ceiling != p.Layout.LastTimestamp() {
		t.Errorf("Acquire with a ceiling at the last timestamp: %+v, %v, want a lease", l, r)
	}
}

// S12: an alarm for a promise that the store forgot is raised once for a node ID and
// epoch, and only if the store did forget one.
func TestForgotten(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(3))
	l := g.lease("a")
	forgotten := func(node snowflake.NodeID, e Epoch) bool {
		t.Helper()
		_, r := g.s.Heartbeat(g.now,
			LeaseRef{Pool: DefaultPool, Node: node, Epoch: e, Instance: hashOf("b")})
		wantReason(t, "Heartbeat", r, ReasonLeaseLost)
		return r.Forgotten
	}
	if forgotten(0, l.Epoch) {
		t.Error("an alarm was raised for a lease that the store knows")
	}
	if !forgotten(0, l.Epoch+1) || forgotten(0, l.Epoch+1) || !forgotten(0, l.Epoch+2) {
		t.Error("heartbeats with later epochs did not raise exactly one alarm each")
	}
	if !forgotten(2, 1) || forgotten(2, 1) {
		t.Error("heartbeats for a node ID never granted did not raise exactly one alarm")
	}
	if _, r := g.beat(l); r != nil {
		t.Errorf("a heartbeat of the lease after the alarms: %v, want the lease", r)
	}
}

// The queue is bounded. A request whose ticket is no longer in it gets a new place
// rather than wait for ever, and a request can leave the queue.
func TestQueue(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(0))
	l := g.lease("a")
	wait := func(app string, ticket Ticket) Decision {
		t.Helper()
		req := ask(app)
		req.Queue, req.Ticket = true, ticket
		d, r := g.s.Acquire(g.now, req)
		if r != nil || d.Wait != WaitFree || d.Ticket == 0 {
			t.Fatalf("Acquire for %s: %+v, %v, want WaitFree with a ticket", app, d, r)
		}
		return d
	}
	first := wait("b", 0)
	if first.At != 50*time.Second {
		t.Errorf("the next node ID is free at %v, want 50s", first.At)
	}
	if again := wait("b", first.Ticket); again.Ticket != first.Ticket {
		t.Errorf("asked again with ticket %d and got %d, want the same", first.Ticket, again.Ticket)
	}
	for i := 1; i < MaxQueue; i++ {
		wait(fmt.Sprint("c", i), 0)
	}
	req := ask("d")
	req.Queue = true
	_, r := g.s.Acquire(g.now, req)
	wantReason(t, "one too many", r, ReasonQueueFull)
	g.s.LeaveQueue(DefaultPool, first.Ticket)
	if g.s.Turn(DefaultPool) != first.Ticket+1 {
		t.Errorf("it is the turn of ticket %d, want %d", g.s.Turn(DefaultPool), first.Ticket+1)
	}
	if back := wait("b", first.Ticket); back.Ticket == first.Ticket {
		t.Error("a request that left the queue still has its place")
	}
	wantReason(t, "Release", g.release(l, ptr(l.Floor)), "")
	g.set(time.Second)
	req = ask("e") // it overtakes nobody, with Queue or without
	_, r = g.acquire(req)
	wantReason(t, "overtaking", r, ReasonQueueFull)
	req = ask("c1")
	req.Queue, req.Ticket = true, first.Ticket+1
	if got, r := g.acquire(req); r != nil || got.Node != 0 {
		t.Errorf("Acquire for the first in the queue: %+v, %v, want a Write", got, r)
	}
}

// Stats count what is acknowledged: a node ID whose release is in progress is still
// held.
func TestStatsMatchTheListing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := smallPool(5)
		g := newRig(t, 10*time.Second, p)
		var under []*Write
		for i := range rapid.IntRange(1, 50).Draw(t, "steps") {
			node := snowflake.NodeID(rapid.IntRange(0, 5).Draw(t, "node ID"))
			rec, known := g.store.records[recordKey{DefaultPool, node}]
			var d Decision
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0, 1:
				d, _ = g.s.Acquire(g.now, ask(fmt.Sprint(i)))
			case 2:
				if known {
					d, _ = g.s.Release(g.now,
						LeaseRef{Pool: DefaultPool, Node: node, Epoch: rec.Epoch,
							Instance: rec.Instance}, nil)
				}
			case 3:
				if known {
					d, _ = g.s.Revoke(g.now, DefaultPool, node, rec.Epoch)
				}
			case 4:
				for _, w := range under {
					g.do(w)
				}
				under = nil
				g.pass(time.Duration(rapid.IntRange(1, 80).Draw(t, "seconds")) * time.Second)
			case 5:
				if len(under) > 0 {
					g.do(under[0])
					under = under[1:]
				}
			}
			if d.Write != nil {
				under = append(under, d.Write)
			}
			if err := g.s.Check(); err != nil {
				t.Fatal(err)
			}
			var want PoolStats
			leases, _, _, _ := g.s.List(g.now, DefaultPool, 0, 10)
			for _, l := range leases {
				switch {
				case l.State == Held:
					want.Held++
				case l.State == Quarantined && l.TimeLeft > 0:
					want.Quarantined++
				}
			}
			want.Free = 6 - want.Held - want.Quarantined
			if st, _ := g.s.Stats(g.now, DefaultPool); st.Held != want.Held ||
				st.Quarantined != want.Quarantined || st.Free != want.Free {
				t.Fatalf("Stats are %+v, but the listing has %+v in %+v", st, want, leases)
			}
		}
	})
}

// If the wall clock leaps ahead, server time passes ceilings: their node IDs are free
// at once, in listings and for grants.
func TestLeapFrees(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(0))
	l := g.lease("a")
	wantReason(t, "Release", g.release(l, nil), "")
	if s := g.state(0); s != Quarantined {
		t.Fatalf("the node ID is %v, want quarantined: server time has not reached its ceiling", s)
	}
	_, r := g.acquire(ask("b"))
	wantReason(t, "Acquire", r, ReasonNoFreeNodeID)
	g.now.Wall = g.now.Wall.Add(time.Minute)
	g.tick()
	if s := g.state(0); s != Free {
		t.Fatalf("the node ID is %v after the leap, want free", s)
	}
	if b := g.lease("b"); b.Floor <= l.Ceiling {
		t.Errorf("one window ends at %d and the next begins at %d, want it above", l.Ceiling,
			b.Floor)
	}
}

// A refusal with NO_FREE_NODE_ID always has a RetryAfter, even if only writes in
// progress decide when a node ID is free: without it, clients give up.
func TestExhaustedSaysWhen(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(0))
	refused := func(what string) {
		t.Helper()
		_, r := g.acquire(ask("b"))
		wantReason(t, what, r, ReasonNoFreeNodeID)
		if r != nil && r.RetryAfter <= 0 {
			t.Errorf("%s: RetryAfter is 0, want a time", what)
		}
	}
	d, _ := g.s.Acquire(g.now, ask("a"))
	refused("a grant in progress")
	g.do(d.Write)
	refused("held")
	g.set(31 * time.Second)
	g.tick()
	refused("quarantined")
	var w *Write
	for w == nil || len(w.Batch.Records) == 0 || w.Batch.Records[0].Status != Ended {
		g.do(w)
		g.set(time.Second)
		w, _ = g.s.Tick(g.now)
	}
	refused("a note in progress")
	g.do(w)
	l := g.lease("b")
	d, _ = g.s.Release(g.now, g.refOf(l), ptr(l.Floor))
	_, r := g.acquire(ask("c"))
	wantReason(t, "a release in progress", r, ReasonNoFreeNodeID)
}

// Events report what is durable and what time brings, in order.
func TestEvents(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(1))
	g.s.SetWatched(DefaultPool, true)
	heard := func(want ...EventKind) {
		t.Helper()
		g.s.Settle(g.now, DefaultPool)
		var got []EventKind
		for _, e := range g.s.TakeEvents() {
			got = append(got, e.Kind)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("the events are %v, want %v", got, want)
		}
	}
	d, _ := g.s.Acquire(g.now, ask("a"))
	heard()
	g.do(d.Write)
	heard(EventGranted)
	l := g.lease("a")
	heard()
	g.pass(30 * time.Second)
	heard(EventExpired)
	if _, r := g.beat(l); r != nil {
		t.Fatal(r)
	}
	heard(EventGranted)
	d, _ = g.s.Revoke(g.now, DefaultPool, l.Node, l.Epoch)
	heard()
	g.do(d.Write)
	heard(EventRevoked)
	g.pass(50 * time.Second)
	heard(EventFreed)
	l = g.lease("b")
	g.pass(time.Second)
	g.released(l, ptr(l.Floor))
	heard(EventGranted, EventReleased, EventFreed)
	g.lease("c")
	g.pass(45 * time.Second)
	heard(EventGranted, EventExpired)
	d, _ = g.s.UpdatePool(g.now, DefaultPool, PoolChange{Quarantine: ptr(10 * time.Second)})
	g.do(d.Write)
	heard(EventFreed)
}

// A malformed request changes nothing, and its refusal names the field.
func TestMalformed(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(3))
	for _, ttl := range []time.Duration{-1, time.Second - 1, 61 * time.Second} {
		req := ask("a")
		req.TTL = ttl
		if _, r := g.acquire(req); r == nil || r.Field != "ttl" {
			t.Errorf("ttl %v: %v, want INVALID_FIELD for ttl", ttl, r)
		}
	}
	for _, app := range []AppID{"", AppID(strings.Repeat("a", 254)), "\xff"} {
		if r := app.Validate(); r == nil || r.Field != "app_id" {
			t.Errorf("app ID %q: %v, want INVALID_FIELD for app_id", app, r)
		}
	}
	for _, i := range []InstanceID{"", "fifteen-letters", InstanceID(strings.Repeat("a", 65)),
		"sixteen letters\n"} {
		switch r := i.Validate(); {
		case r == nil || r.Field != "instance_id":
			t.Errorf("instance ID %q: %v, want INVALID_FIELD for instance_id", i, r)
		case i != "" && strings.Contains(r.Message, string(i)):
			t.Errorf("the refusal %q contains the secret", r.Message)
		}
	}
	if len(g.store.records) != 0 {
		t.Errorf("malformed requests wrote records: %v", g.store.records)
	}
}
