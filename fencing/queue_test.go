package fencing

import (
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// waits has an app's instance wait in line by another request, or by the one with
// the ticket.
func (g *rig) waits(t *testing.T, app string, ticket Ticket, want Wait) Ticket {
	t.Helper()
	req := ask(app)
	req.Queue, req.Ticket = true, ticket
	d, r := g.s.Acquire(g.now, req)
	if r != nil || d.Wait != want {
		t.Fatalf("%s gets %+v, %v, want to wait for %v", app, d, r, want)
	}
	return d.Ticket
}

// An instance has one place in line, however often it asks, until none of its
// requests waits any more (S2).
func TestOnePlaceForEachInstance(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(0))
	l := g.lease("holder")
	first := g.waits(t, "a", 0, WaitFree)
	behind := g.waits(t, "b", 0, WaitFree)
	for range MaxQueue {
		if again := g.waits(t, "a", 0, WaitFree); again != first {
			t.Fatalf("another request of the instance has ticket %d, want %d", again, first)
		}
	}
	if again := g.waits(t, "a", first, WaitFree); again != first {
		t.Errorf("ticket %d became %d", first, again)
	}
	if st, _ := g.s.Stats(g.now, DefaultPool); st.Waiting != 2 {
		t.Errorf("%d stand in line, want 2", st.Waiting)
	}
	for range MaxQueue {
		g.s.LeaveQueue(DefaultPool, first)
	}
	if turn := g.s.Turn(DefaultPool); turn != first {
		t.Errorf("it is the turn of ticket %d while a request with %d waits", turn, first)
	}

	// Any of its requests may be served, also one that doesn't wait.
	wantReason(t, "Release", g.release(l, ptr(l.Floor)), "")
	g.set(time.Second)
	d, r := g.s.Acquire(g.now, ask("a"))
	if r != nil || d.Write == nil {
		t.Fatalf("the first in line gets %+v, %v", d, r)
	}
	if turn := g.s.Turn(DefaultPool); turn != behind {
		t.Errorf("it is the turn of ticket %d, want %d, since the first has been served", turn, behind)
	}
	if err := g.s.Check(); err != nil {
		t.Error(err)
	}
	g.waits(t, "a", first, WaitKey)
	g.do(d.Write)
	g.s.LeaveQueue(DefaultPool, first) // its place is gone
	if turn := g.s.Turn(DefaultPool); turn != behind {
		t.Errorf("it is the turn of ticket %d, want %d", turn, behind)
	}
}

// Who waits for the mark keeps its turn: who comes when it is written stands
// behind (S2).
func TestWaitingForTheMarkKeepsTheTurn(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(0))
	g.set(11 * time.Second) // the mark has run out
	first := g.waits(t, "first", 0, WaitMark)
	g.tick()
	g.waits(t, "second", 0, WaitFree)
	req := ask("first")
	req.Queue, req.Ticket = true, first
	if l, r := g.acquire(req); r != nil || l.Node != 0 {
		t.Errorf("the first gets %+v, %v", l, r)
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
				t.Fatalf("with %d free IDs it gets %+v, %v, want to wait for %v", free, d, r, want)
			}
			return d, r
		}
		d, _ := asks(WaitMark)
		req.Ticket = d.Ticket
		g.tick()
		if d, _ := asks(WaitTurn); d.Ticket != req.Ticket || d.At <= g.now.Steady {
			t.Errorf("while another is before it: %+v", d)
		}
		g.lease("first")
		d, r := asks(WaitNone)
		if free == 1 {
			wantReason(t, "with the only ID taken", r, ReasonNoFreeNodeID)
		} else if d.Write == nil {
			t.Errorf("with an ID left for it: %+v, %v", d, r)
		}
		if turn := g.s.Turn(DefaultPool); turn != 0 {
			t.Errorf("ticket %d is left in line", turn)
		}
	}
}

// A request that comes while the line is being served has a place behind it, and
// gets an ID if one is left. It overtakes nobody.
func TestComesWhileTheLineIsServed(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(1))
	l, other := g.lease("l"), g.lease("other")
	first := g.waits(t, "first", 0, WaitFree)
	wantReason(t, "Release", g.release(l, ptr(l.Floor)), "")
	wantReason(t, "Release", g.release(other, ptr(other.Floor)), "")
	g.set(time.Second)

	req := ask("brief")
	d, r := g.s.Acquire(g.now, req)
	if r != nil || d.Wait != WaitTurn || d.Ticket == 0 || d.At <= g.now.Steady {
		t.Fatalf("with two free IDs and one before it in line it gets %+v, %v, want to wait for its turn", d, r)
	}
	req.Ticket = d.Ticket
	if turn := g.s.Turn(DefaultPool); turn != first {
		t.Errorf("it is the turn of ticket %d, want %d, which came first", turn, first)
	}
	g.lease("first")
	if l, r := g.acquire(req); r != nil {
		t.Errorf("with an ID left for it it gets %+v, %v", l, r)
	}
	if err := g.s.Check(); err != nil {
		t.Error(err)
	}
}

// aboutToMove is a full line for a node ID that has just come free.
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

// Behind a full line it is refused with the reason why.
func TestComesWhileFullLineIsServed(t *testing.T) {
	g := aboutToMove(t)
	_, r := g.s.Acquire(g.now, ask("brief"))
	wantReason(t, "one too many", r, ReasonQueueFull)
}

// The first in line alone is told when an ID may come free: all who wait would ask
// at that instant otherwise, and all but one for nothing.
func TestFirstInLineWaitsForTheTime(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(0))
	g.lease("holder")
	for i, want := range []time.Duration{g.now.Steady + 50*time.Second, 0} {
		req := ask(string(rune('a' + i)))
		req.Queue = true
		if d, r := g.s.Acquire(g.now, req); r != nil || d.Wait != WaitFree || d.At != want {
			t.Errorf("number %d in line gets %+v, %v, want to wait for %v", i+1, d, r, want)
		}
	}
}

// It is refused where nothing is left for it, though others wait in line.
func TestNothingIsLeftBehindTheLine(t *testing.T) {
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
	wantReason(t, "with the only ID taken and another in line", r, ReasonNoFreeNodeID)
}

// A full line turns nobody away who waits for the mark: there may be enough IDs.
func TestWaitingForTheMarkBesideFullLine(t *testing.T) {
	g := newRig(t, 10*time.Second, NewPool(DefaultPool))
	g.set(11 * time.Second)
	for i := range MaxQueue {
		if g.waits(t, string(rune('a'+i%26))+string(rune('a'+i/26)), 0, WaitMark) == 0 {
			t.Fatalf("request %d has no place", i)
		}
	}
	if ticket := g.waits(t, "late", 0, WaitMark); ticket != 0 {
		t.Errorf("one too many has ticket %d", ticket)
	}
}

// RetryInfo is never longer than what is about to happen.
func TestRetryIsSoon(t *testing.T) {
	refused := func(t *testing.T, g *rig) time.Duration {
		t.Helper()
		_, r := g.s.Acquire(g.now, ask("new"))
		wantReason(t, "an Acquire", r, ReasonNoFreeNodeID)
		return r.RetryAfter
	}
	t.Run("nothing happens", func(t *testing.T) {
		g := newRig(t, 10*time.Second, smallPool(0))
		g.lease("keep")
		if got := refused(t, g); got != 50*time.Second {
			t.Errorf("ask again in %v, want 50s", got)
		}
	})
	t.Run("a note is under way", func(t *testing.T) {
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
			t.Errorf("ask again in %v, while the only free ID is noted as ended", got)
		}
		g.do(w)
		g.lease("new")
	})
	t.Run("a release is under way", func(t *testing.T) {
		g := newRig(t, 10*time.Second, smallPool(1))
		g.lease("keep")
		l := g.lease("gone")
		if _, r := g.s.Release(g.now, g.refOf(l), ptr(l.Floor)); r != nil {
			t.Fatal(r)
		}
		if got := refused(t, g); got > retrySoon {
			t.Errorf("ask again in %v", got)
		}
	})
	t.Run("the range grows, with others in line", func(t *testing.T) {
		g := newRig(t, 10*time.Second, smallPool(0))
		g.lease("keep")
		g.waits(t, "waits", 0, WaitFree)
		last := snowflake.NodeID(500)
		d, r := g.s.UpdatePool(g.now, DefaultPool, PoolChange{Last: &last})
		if r != nil {
			t.Fatal(r)
		}
		if got := refused(t, g); got > retrySoon {
			t.Errorf("before it is durable: ask again in %v", got)
		}
		g.do(d.Write)
	})
	t.Run("a full line is about to move", func(t *testing.T) {
		g := aboutToMove(t)
		req := ask("new")
		req.Queue = true
		_, r := g.s.Acquire(g.now, req)
		wantReason(t, "one too many", r, ReasonQueueFull)
		if r.RetryAfter > retrySoon {
			t.Errorf("ask again in %v", r.RetryAfter)
		}
	})
}

// ends says whether the write notes a lease as ended.
func ends(w *Write) bool {
	return w != nil && len(w.Batch.Records) > 0 && w.Batch.Records[0].Status == Ended
}
