package service

import (
	"context"
	"fmt"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

// queue lets requests line up one after another, so that their order is known.
func (b *bubble) queue(wait time.Duration, words ...string) []*acquireCall {
	b.t.Helper()
	calls := make([]*acquireCall, len(words))
	for i, word := range words {
		calls[i] = b.acquire(word, wait)
		b.settle()
	}
	return calls
}

// holds checks which of the calls have a lease, in the letters of a pattern:
// + has one, . waits.
func holds(t *testing.T, when, pattern string, calls []*acquireCall) {
	t.Helper()
	got := ""
	for _, c := range calls {
		switch {
		case !c.ended():
			got += "."
		case c.err == nil:
			got += "+"
		default:
			got += "-"
		}
	}
	if got != pattern {
		t.Fatalf("%s: %s, want %s", when, got, pattern)
	}
}

// First come, first served; a release wakes the head, and nobody overtakes.
func TestQueueIsFair(t *testing.T) {
	inBubble(t, bubbleOptions{pool: nodes(2)}, func(b *bubble) {
		one, two := b.acquired("one"), b.acquired("two")
		line := b.queue(time.Minute, "a", "b", "c")
		b.released(one)
		b.settle()
		holds(t, "after a release", "+..", line)

		b.store.holdIf(anyRecord)
		unused := two.FloorMs - 1
		b.release(two, &unused)
		b.oneHeld().let(nil)
		grant := b.oneHeld() // b's
		pushy := b.acquire("pushy", 0)
		b.settle()
		pushy.failed(t, "a request that would overtake", noFree)
		b.store.holdIf(nil)
		grant.let(nil)
		b.settle()
		holds(t, "after another release", "++.", line)
		if got := b.metric("cirrus_waiting_requests"); got != 1 {
			t.Errorf("the metric counts %v waiters, want 1", got)
		}
		b.released(line[0].resp.Lease)
		holds(t, "after a third", "+++", line)
	})
}

// A request without wait lets those in line go first, even where an ID is free at
// that moment, and is refused only when they have left none.
func TestNobodyOvertakes(t *testing.T) {
	inBubble(t, bubbleOptions{pool: nodes(1)}, func(b *bubble) {
		one := b.acquired("one")
		line := b.queue(time.Minute, "a")
		// The head is kept from its turn by a write of its own instance.
		b.term().mu.Lock()
		for _, same := range b.term().waiting.byTicket {
			same[0].wake = nil // deaf
		}
		b.term().mu.Unlock()
		unused := one.FloorMs - 1
		c := b.release(one, &unused)
		b.settle()
		c.done(t, "the release")
		pushy := b.acquire("pushy", 0)
		b.pass(time.Second)
		pushy.waits(t, "a request that comes while the line is to be served")
		b.pass(time.Second)
		pushy.failed(t, "a request before which nobody is served", storeSlow)
		b.pass(time.Minute)
		holds(t, "at the end of its wait", "+", line)
	})
}

// Time alone frees IDs, too: the head wakes up by itself.
func TestExpiryWakesHead(t *testing.T) {
	inBubble(t, bubbleOptions{pool: func(p *fencing.Pool) {
		p.Last, p.TTL, p.MaxTTL, p.Quarantine = 1, 10*time.Second, 20*time.Second, 12*time.Second
	}}, func(b *bubble) {
		begun := time.Now()
		b.acquired("one")
		b.pass(5 * time.Second)
		two := b.acquired("two")
		line := b.queue(time.Minute, "a", "b", "c")
		b.pass(3 * time.Second)
		b.heartbeatDone(two) // 18 s + 12 s
		b.pass(14*time.Second - time.Millisecond)
		holds(t, "before deadline + quarantine", "...", line)
		b.pass(2 * time.Millisecond)
		holds(t, "after it", "+..", line)
		if d := line[0].at.Sub(begun); d > 22*time.Second+2*time.Millisecond {
			t.Errorf("the first waited %v", d)
		}
		b.pass(8*time.Second - 2*time.Millisecond)
		holds(t, "before the heartbeat's", "+..", line)
		b.pass(2 * time.Millisecond)
		holds(t, "after it", "++.", line)
	})
}

// Who has waited for as long as it would is told so, and when to try again.
func TestWaitIsOver(t *testing.T) {
	inBubble(t, bubbleOptions{pool: nodes(1)}, func(b *bubble) {
		b.acquired("one")
		line := b.queue(5*time.Second, "short")
		b.pass(4 * time.Second)
		line = append(line, b.queue(time.Minute, "long")...)
		b.pass(time.Second - time.Millisecond)
		holds(t, "before", "..", line)
		b.pass(time.Millisecond)
		line[0].failed(t, "the short wait", noFree)
		if d := retryAfter(t, line[0].err); d < 54*time.Second || d > 56*time.Second {
			t.Errorf("try again in %v, want the 55 s until deadline + quarantine", d)
		}
		b.pass(54 * time.Second)
		holds(t, "long before its time", "-.", line)
		b.pass(2 * time.Second)
		holds(t, "after it", "-+", line)
	})
}

// A place in the queue goes with its caller, wherever it is in the line.
func TestCallerGoneIsDropped(t *testing.T) {
	inBubble(t, bubbleOptions{pool: nodes(1)}, func(b *bubble) {
		one := b.acquired("one")
		line := b.queue(time.Minute, "a", "b", "c", "d")
		line[0].cancel()
		line[2].cancel()
		b.settle()
		if n := b.term().waiting.len(); n != 2 {
			t.Errorf("%d wait, want 2", n)
		}
		before := b.store.commitsSoFar()
		b.released(one)
		b.settle()
		holds(t, "after a release", "-+-.", line)
		if n := b.store.commitsSoFar() - before; n != 2 {
			t.Errorf("%d writes, want the release and one grant", n)
		}
		b.released(line[1].resp.Lease)
		holds(t, "after another", "-+-+", line)
	})
}

// The head goes just as an ID comes free: the next one is served, at once if
// the head was gone first, and else when the lease that nobody keeps is over.
func TestHeadGoneAtItsTurn(t *testing.T) {
	inBubble(t, bubbleOptions{pool: nodes(1)}, func(b *bubble) {
		for range 20 {
			one := b.acquired("one")
			line := b.queue(time.Minute, "a", "b")
			unused := one.FloorMs - 1
			go line[0].cancel()
			b.release(one, &unused)
			b.settle()
			if line[0].err == nil { // it was told before it went
				b.released(line[0].resp.Lease)
			}
			b.settle()
			if rec, _ := b.store.record(fencing.DefaultPool, 0); !line[1].ended() &&
				(rec.App != "a" || rec.Status != fencing.Live) {
				t.Fatalf("the second waits for %v", rec)
			}
			if !line[1].ended() {
				b.pass(time.Minute - time.Millisecond)
			}
			b.pass(time.Millisecond)
			b.released(line[1].done(t, "the second").Lease)
			b.pass(time.Minute)
		}
	})
}

// The head's wait is over just as an ID comes free: whoever gets it, nobody is
// left waiting beside a free ID.
func TestHeadTimesOutAtItsTurn(t *testing.T) {
	for n := range 20 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			inBubble(t, bubbleOptions{pool: nodes(1)}, func(b *bubble) {
				one := b.acquired("one")
				line := []*acquireCall{b.queue(10*time.Second, "short")[0],
					b.queue(time.Minute, "long")[0]}
				back := start(func(ctx context.Context) (*cirrusv1.ReleaseResponse, error) {
					time.Sleep(10 * time.Second)
					unused := one.FloorMs - 1
					return b.leases.Release(ctx, releaseRequest(one, &unused))
				})
				b.pass(10 * time.Second)
				back.done(t, "the release")
				if line[0].err == nil && line[0].ended() {
					b.released(line[0].resp.Lease)
				} else {
					line[0].failed(t, "the short wait",
						wanted{code: connect.CodeResourceExhausted,
							reason: fencing.ReasonNoFreeNodeID,
							retry:  retryAfter(t, line[0].err) > 0})
				}
				b.settle()
				line[1].done(t, "the long wait")
			})
		})
	}
}

// One instance in the queue twice gets one lease, told to both.
func TestSameInstanceTwice(t *testing.T) {
	inBubble(t, bubbleOptions{pool: nodes(1)}, func(b *bubble) {
		one := b.acquired("one")
		line := b.queue(time.Minute, "a", "b", "a", "c", "a")
		b.released(one)
		b.settle()
		holds(t, "after a release", "+.+.+", line)
		if line[0].resp.Lease.Epoch != line[2].resp.Lease.Epoch ||
			line[0].resp.Lease.Epoch != line[4].resp.Lease.Epoch {
			t.Error("one instance has several leases")
		}
		b.released(line[0].resp.Lease)
		holds(t, "after another", "+++.+", line)
	})
}

// An instance that asks on several connections has one place in line, which
// lasts until the last of them gives up.
func TestInstanceHasOnePlace(t *testing.T) {
	inBubble(t, bubbleOptions{pool: nodes(1)}, func(b *bubble) {
		one := b.acquired("one")
		line := b.queue(time.Minute, "a", "b", "a", "a")
		if got := b.metric("cirrus_waiting_requests"); got != 2 {
			t.Errorf("%v places in line, want 2", got)
		}
		line[0].cancel()
		b.settle()
		line[3].cancel()
		b.settle()
		b.released(one)
		b.settle()
		holds(t, "after a release", "-.+-", line)
		b.released(line[2].resp.Lease)
		holds(t, "after another", "-++-", line)
	})
}

// Who waits for the mark has its place in line meanwhile.
func TestWaitingForTheMarkKeepsTheTurn(t *testing.T) {
	inBubble(t, bubbleOptions{pool: nodes(1)}, func(b *bubble) {
		b.store.holdIf(func(batch fencing.Batch) bool { return batch.Meta != nil })
		b.pass(11 * time.Second) // the mark runs out
		line := b.queue(time.Minute, "a", "b")
		if got := b.metric("cirrus_waiting_requests"); got != 2 {
			t.Errorf("%v places in line, want 2", got)
		}
		b.store.holdIf(nil)
		b.oneHeld().let(nil)
		b.settle()
		holds(t, "after the mark", "+.", line)
	})
}

// Who doesn't want to wait for a free ID waits for the mark like the others, and
// is told as soon as there is none for it.
func TestWaitingForTheMarkWithoutQueue(t *testing.T) {
	inBubble(t, bubbleOptions{pool: nodes(2)}, func(b *bubble) {
		b.store.holdIf(func(batch fencing.Batch) bool { return batch.Meta != nil })
		b.pass(11 * time.Second) // the mark runs out
		calls := b.queue(time.Minute, "a")
		calls = append(calls, b.queue(0, "b", "c")...)
		b.store.holdIf(nil)
		b.oneHeld().let(nil)
		b.settle()
		b.pass(time.Second)
		holds(t, "after the mark", "++-", calls)
		calls[2].failed(t, "one too many", noFree)
	})
}

// The queue is bounded.
func TestQueueIsBounded(t *testing.T) {
	inBubble(t, bubbleOptions{pool: nodes(1)}, func(b *bubble) {
		one := b.acquired("one")
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		for i := range fencing.MaxQueue { // without a connection each
			start(func(context.Context) (fencing.Lease, error) {
				return b.term().acquire(ctx,
					fencing.AcquireRequest{Pool: fencing.DefaultPool,
						App: "w", Instance: fencing.InstanceID(fmt.Sprint(i)).Hash()}, time.Minute)
			})
		}
		b.settle()
		if got := b.metric("cirrus_waiting_requests"); got != fencing.MaxQueue {
			t.Fatalf("%v wait", got)
		}
		late := b.acquire("late", time.Minute)
		b.settle()
		late.failed(t, "one too many",
			wanted{code: connect.CodeResourceExhausted, reason: fencing.ReasonQueueFull,
				retry: true})
		b.heartbeatDone(one)
		cancel()
		b.settle()
		b.released(one)
		b.acquired("free")
	})
}

// A pool that grows has IDs for as many as it grew by, in their order.
func TestGrownPoolServesQueue(t *testing.T) {
	inBubble(t, bubbleOptions{pool: nodes(1)}, func(b *bubble) {
		b.acquired("one")
		line := b.queue(time.Minute, "a", "b", "c", "d")
		_, err := b.admin.UpdatePool(context.Background(),
			&cirrusv1.UpdatePoolRequest{Pool: &cirrusv1.Pool{NodeIds: &cirrusv1.NodeRange{Last: 3}}})
		if err != nil {
			t.Fatal(err)
		}
		b.settle()
		holds(t, "after three more IDs", "+++.", line)
		_, err = b.admin.UpdatePool(context.Background(),
			&cirrusv1.UpdatePoolRequest{Pool: &cirrusv1.Pool{NodeIds: &cirrusv1.NodeRange{Last: 4}}})
		if err != nil {
			t.Fatal(err)
		}
		b.settle()
		holds(t, "after one more", "++++", line)
	})
}

// The end of the service ends waits, and new requests are turned away.
func TestShutdownEndsWaits(t *testing.T) {
	inBubble(t, bubbleOptions{pool: nodes(1)}, func(b *bubble) {
		lease := b.acquired("one")
		line := b.queue(time.Minute, "a", "b")
		watch := b.watch("")
		b.store.holdIf(anyRecord)
		revoking := b.revoke(lease)
		held := b.oneHeld()
		beat := b.heartbeat(lease)
		b.settle()
		b.s.StopRequests()
		b.settle()
		for _, c := range line {
			c.failed(t, "a waiter", shuttingDown)
		}
		beat.failed(t, "a heartbeat that waited", shuttingDown)
		shuttingDown.check(t, "a watcher", watch.err(t))
		revoking.waits(t, "a write under way")
		held.let(nil)
		b.settle()
		revoking.done(t, "the write that was under way")
		b.allRefuse(lease, shuttingDown)
	})
}
