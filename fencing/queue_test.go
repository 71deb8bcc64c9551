package fencing

import (
	"slices"
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// waits sends an Acquire of app with Queue, as the request that has the ticket (0: as
// another request), checks what it has to wait for, and returns its ticket.
func (g *rig) waits(t *testing.T, app string, ticket Ticket, want Wait) Ticket {
	t.Helper()
	req := ask(app)
	req.Queue, req.Ticket = true, ticket
	d, r := g.s.Acquire(g.now, req)
	if r != nil || d.Wait != want {
		t.Fatalf("Acquire for %s: %+v, %v, want Wait %v", app, d, r, want)
	}
	return d.Ticket
}

// An instance has one place in the queue, however many of its requests wait, until
// none of them waits any more (S2).
func TestOnePlaceForEachInstance(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(0))
	l := g.lease("holder")
	first := g.waits(t, "a", 0, WaitFree)
	behind := g.waits(t, "b", 0, WaitFree)
	for range MaxQueue {
		if again := g.waits(t, "a", 0, WaitFree); again != first {
			t.Fatalf("another request of the instance got ticket %d, want the instance's, %d",
				again, first)
		}
	}
	if again := g.waits(t, "a", first, WaitFree); again != first {
		t.Errorf("asked again with ticket %d and got ticket %d, want the same", first, again)
	}
	if st, _ := g.s.Stats(g.now, DefaultPool); st.Waiting != 2 {
		t.Errorf("%d instances wait, want 2", st.Waiting)
	}
	for range MaxQueue {
		g.s.LeaveQueue(DefaultPool, first)
	}
	if turn := g.s.Turn(DefaultPool); turn != first {
		t.Errorf("it is the turn of ticket %d, want %d, with which a request still waits", turn,
			first)
	}

	// Any request of the instance may be served, also one that doesn't wait.
	wantReason(t, "Release", g.release(l, ptr(l.Floor)), "")
	g.set(time.Second)
	d, r := g.s.Acquire(g.now, ask("a"))
	if r != nil || d.Write == nil {
		t.Fatalf("Acquire for the first in the queue: %+v, %v, want a Write", d, r)
	}
	if turn := g.s.Turn(DefaultPool); turn != behind {
		t.Errorf("it is the turn of ticket %d after the first was served, want %d", turn, behind)
	}
	if err := g.s.Check(); err != nil {
		t.Error(err)
	}
	g.waits(t, "a", first, WaitKey)
	g.do(d.Write)
	g.s.LeaveQueue(DefaultPool, first) // its place is gone
	if turn := g.s.Turn(DefaultPool); turn != behind {
		t.Errorf("it is the turn of ticket %d after the first left once more, want %d", turn,
			behind)
	}
}

// A write concerns whoever is first in the queue of a pool that it touches, and the
// instances of its records; a mark concerns the first in every queue. Whoever is not
// named stays asleep.
func TestWhomAWriteConcerns(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(0))
	g.lease("holder")
	first := g.waits(t, "a", 0, WaitFree)
	g.waits(t, "b", 0, WaitFree)
	other := Record{Pool: "other", Instance: ask("c").Instance}
	ours := Record{Pool: DefaultPool, Instance: ask("b").Instance}
	for _, c := range []struct {
		name      string
		batch     Batch
		turns     []Ticket
		instances []InstanceHash
	}{
		{"a record", Batch{Records: []Record{ours}}, []Ticket{first}, []InstanceHash{ours.Instance}},
		{"a record of another pool", Batch{Records: []Record{other}}, nil,
			[]InstanceHash{other.Instance}},
		{"records of both", Batch{Records: []Record{other, ours}}, []Ticket{first},
			[]InstanceHash{other.Instance, ours.Instance}},
		{"settings", Batch{Pools: []Pool{smallPool(1)}}, []Ticket{first}, nil},
		{"a mark", Batch{Meta: &Meta{}}, []Ticket{first}, nil},
	} {
		turns, instances := g.s.Concerned(&Write{Batch: c.batch})
		if !slices.Equal(turns, c.turns) || !slices.Equal(instances, c.instances) {
			t.Errorf("%s concerns tickets %v and instances %v, want %v and %v", c.name, turns,
				instances, c.turns, c.instances)
		}
	}
}

// A request that waits for the mark keeps its turn: one that comes after the mark is
// written has a place behind it (S2).
func TestWaitingForTheMarkKeepsTheTurn(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(0))
	g.set(11 * time.Second) // the mark has run out
	first := g.waits(t, "first", 0, WaitMark)
	g.tick()
	g.waits(t, "second", 0, WaitFree)
	req := ask("first")
	req.Queue, req.Ticket = true, first
	if l, r := g.acquire(req); r != nil || l.Node != 0 {
		t.Errorf("Acquire for the first: %+v, %v, want node ID 0", l, r)
	}
}

// A request that won't wait for a free ID is refused only when the mark is written
// and those before it have been served.
func TestWaitingForTheMarkWithoutQueue(t *testing.T) {
	for _, free := range []int{1, 2} {
		g := newRig(t, 10*time.Second, smallPool(snowflake.NodeID(free-1)))
		g.set(11 * time.Second) // the mark has run out
		g.waits(t, "first", 0, WaitMark)
		req := ask("brief")
		asks := func(want Wait) (Decision, *Refusal) {
			t.Helper()
			d, r := g.s.Acquire(g.now, req)
			if d.Wait != want {
				t.Fatalf("Acquire with %d free node IDs: %+v, %v, want Wait %v", free, d, r, want)
			}
			return d, r
		}
		d, _ := asks(WaitMark)
		req.Ticket = d.Ticket
		g.tick()
		if d, _ := asks(WaitTurn); d.Ticket != req.Ticket || d.At <= g.now.Steady {
			t.Errorf("Acquire behind another request: %+v, want the same ticket and a later time",
				d)
		}
		g.lease("first")
		d, r := asks(WaitNone)
		if free == 1 {
			wantReason(t, "Acquire with the only node ID taken", r, ReasonNoFreeNodeID)
		} else if d.Write == nil {
			t.Errorf("Acquire with one node ID still free: %+v, %v, want a Write", d, r)
		}
		if turn := g.s.Turn(DefaultPool); turn != 0 {
			t.Errorf("ticket %d is still in the queue, want it empty", turn)
		}
	}
}

// A request that comes while the queue is being served has a place at its end, and
// gets a node ID if one remains. It overtakes nobody.
func TestComesWhileTheQueueIsServed(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(1))
	l, other := g.lease("l"), g.lease("other")
	first := g.waits(t, "first", 0, WaitFree)
	wantReason(t, "Release", g.release(l, ptr(l.Floor)), "")
	wantReason(t, "Release", g.release(other, ptr(other.Floor)), "")
	g.set(time.Second)

	req := ask("brief")
	d, r := g.s.Acquire(g.now, req)
	if r != nil || d.Wait != WaitTurn || d.Ticket == 0 || d.At <= g.now.Steady {
		t.Fatalf(
			"Acquire with two free node IDs and one request before it: %+v, %v, want WaitTurn, a ticket and a later time", d, r)
	}
	req.Ticket = d.Ticket
	if turn := g.s.Turn(DefaultPool); turn != first {
		t.Errorf("it is the turn of ticket %d, want that of %d, which came first", turn, first)
	}
	g.lease("first")
	if l, r := g.acquire(req); r != nil {
		t.Errorf("Acquire with one node ID still free: %+v, %v, want a lease", l, r)
	}
	if err := g.s.Check(); err != nil {
		t.Error(err)
	}
}

// aboutToMove returns a rig with a full queue and a node ID that has just come free.
func aboutToMove(t *testing.T) *rig {
	t.Helper()
	g := newRig(t, 10*time.Second, smallPool(0))
	l := g.lease("l")
	for i := range MaxQueue {
		g.waits(t, string(rune('a'+i%26))+string(rune('a'+i/26)), 0, WaitFree)
	}
	wantReason(t, "Release", g.release(l, ptr(l.Floor)), "")
	g.set(time.Second)
	return g
}

// A request behind a full queue is refused with QUEUE_FULL.
func TestComesWhileFullQueueIsServed(t *testing.T) {
	g := aboutToMove(t)
	_, r := g.s.Acquire(g.now, ask("brief"))
	wantReason(t, "Acquire behind a full queue", r, ReasonQueueFull)
}

// Only the first in the queue learns when a node ID may come free. Otherwise all would
// ask at that instant, and all but one for nothing.
func TestFirstInQueueWaitsForTheTime(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(0))
	g.lease("holder")
	for i, want := range []time.Duration{g.now.Steady + 50*time.Second, 0} {
		req := ask(string(rune('a' + i)))
		req.Queue = true
		if d, r := g.s.Acquire(g.now, req); r != nil || d.Wait != WaitFree || d.At != want {
			t.Errorf("Acquire for number %d in the queue: %+v, %v, want WaitFree until %v", i+1, d,
				r, want)
		}
	}
}

// A request without Queue is refused if no node ID remains for it, even while others
// wait in the queue.
func TestNothingRemainsBehindTheQueue(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(0))
	g.set(11 * time.Second) // the mark has run out
	g.waits(t, "first", 0, WaitMark)
	second := g.waits(t, "second", 0, WaitMark)
	d, _ := g.s.Acquire(g.now, ask("brief"))
	g.tick()
	g.lease("first")
	g.waits(t, "second", second, WaitFree)
	req := ask("brief")
	req.Ticket = d.Ticket
	_, r := g.s.Acquire(g.now, req)
	wantReason(t, "Acquire with the only node ID taken and another request in the queue", r,
		ReasonNoFreeNodeID)
}

// A full queue refuses no request that waits for the mark: there may be enough node
// IDs.
func TestWaitingForTheMarkBesideFullQueue(t *testing.T) {
	g := newRig(t, 10*time.Second, NewPool(DefaultPool))
	g.set(11 * time.Second)
	for i := range MaxQueue {
		if g.waits(t, string(rune('a'+i%26))+string(rune('a'+i/26)), 0, WaitMark) == 0 {
			t.Fatalf("request %d has no ticket, want one", i)
		}
	}
	if ticket := g.waits(t, "late", 0, WaitMark); ticket != 0 {
		t.Errorf("the request after a full queue has ticket %d, want none", ticket)
	}
}

// RetryAfter is never longer than until a node ID may come free.
func TestRetryIsSoon(t *testing.T) {
	refused := func(t *testing.T, g *rig) time.Duration {
		t.Helper()
		_, r := g.s.Acquire(g.now, ask("new"))
		wantReason(t, "an Acquire", r, ReasonNoFreeNodeID)
		return r.RetryAfter
	}
	t.Run("nothing is in progress", func(t *testing.T) {
		g := newRig(t, 10*time.Second, smallPool(0))
		g.lease("keep")
		if got := refused(t, g); got != 50*time.Second {
			t.Errorf("RetryAfter is %v, want 50s", got)
		}
	})
	t.Run("a note is in progress", func(t *testing.T) {
		g := newRig(t, 10*time.Second, smallPool(1))
		keep := g.lease("keep")
		g.lease("gone")
		var w *Write
		for i := 0; i < 200 && !ends(w); i++ {
			g.do(w)
			g.set(time.Second)
			if _, r := g.beat(keep); r != nil {
				t.Fatal(r)
			}
			w, _ = g.s.Tick(g.now)
		}
		if got := refused(t, g); got > retrySoon {
			t.Errorf(
				"RetryAfter is %v while the only free node ID is noted as ended, want at most %v",
				got, retrySoon)
		}
		g.do(w)
		g.lease("new")
	})
	t.Run("a release is in progress", func(t *testing.T) {
		g := newRig(t, 10*time.Second, smallPool(1))
		g.lease("keep")
		l := g.lease("gone")
		if _, r := g.s.Release(g.now, g.refOf(l), ptr(l.Floor)); r != nil {
			t.Fatal(r)
		}
		if got := refused(t, g); got > retrySoon {
			t.Errorf("RetryAfter is %v, want at most %v", got, retrySoon)
		}
	})
	t.Run("the range grows, with others in the queue", func(t *testing.T) {
		g := newRig(t, 10*time.Second, smallPool(0))
		g.lease("keep")
		g.waits(t, "waits", 0, WaitFree)
		last := snowflake.NodeID(500)
		d, r := g.s.UpdatePool(g.now, DefaultPool, PoolChange{Last: &last})
		if r != nil {
			t.Fatal(r)
		}
		if got := refused(t, g); got > retrySoon {
			t.Errorf("RetryAfter is %v before the change is durable, want at most %v", got,
				retrySoon)
		}
		g.do(d.Write)
	})
	t.Run("a full queue is about to be served", func(t *testing.T) {
		g := aboutToMove(t)
		req := ask("new")
		req.Queue = true
		_, r := g.s.Acquire(g.now, req)
		wantReason(t, "Acquire behind a full queue", r, ReasonQueueFull)
		if r.RetryAfter > retrySoon {
			t.Errorf("RetryAfter is %v, want at most %v", r.RetryAfter, retrySoon)
		}
	})
}

// ends reports whether the write notes a lease as ended.
func ends(w *Write) bool {
	return w != nil && len(w.Batch.Records) > 0 && w.Batch.Records[0].Status == Ended
}
