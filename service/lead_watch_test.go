package service

import (
	"context"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

// A watcher sees what is present, then what happens, as it happens.
func TestWatchLife(t *testing.T) {
	inBubble(t, bubbleOptions{pool: nodes(4)}, func(b *bubble) {
		a, gone := b.acquired("a"), b.acquired("gone")
		b.released(gone)
		w := b.watch("")
		w.sees(t, "PRESENT a held", "SYNCED")

		second := b.acquired("b")
		w.sees(t, "GRANTED b held")
		b.release(second, nil) // the promised window is waited out
		w.sees(t, "RELEASED b quarantined")
		b.pass(2 * time.Second)
		b.revoke(a)
		w.sees(t, "REVOKED a quarantined revoked")
		third := b.acquired("c")
		w.sees(t, "GRANTED c held")
		b.released(third)
		w.sees(t, "RELEASED c free", "FREED c free")

		b.pass(28*time.Second + time.Millisecond) // b's ceiling is past
		w.sees(t, "FREED b free")
		b.pass(30 * time.Second) // a's deadline + quarantine, and its ceiling
		w.sees(t, "FREED a free revoked")
	})
}

// S11: a lease that an operator frees ends as its holder's release would end it,
// for those who watch, too.
func TestWatchFreed(t *testing.T) {
	inBubble(t, bubbleOptions{pool: nodes(4)}, func(b *bubble) {
		dead, unused, taken := b.acquired("dead"), b.acquired("unused"), b.acquired("taken")
		revoking := b.revoke(taken)
		b.settle()
		revoking.done(t, "a revoke")
		w := b.watch("")
		w.sees(t, "PRESENT dead held", "PRESENT unused held", "PRESENT taken quarantined revoked",
			"SYNCED")
		free := func(l *cirrusv1.Lease, last *int64) {
			resp, err := b.admin.Free(context.Background(),
				&cirrusv1.FreeRequest{NodeId: l.NodeId, Epoch: l.Epoch, LastTimestampMs: last})
			if err != nil || resp.Lease.GetNodeId() != l.NodeId ||
				resp.Lease.GetEpoch() != l.Epoch {
				t.Fatalf("Free of %s: %v, %v", l.AppId, resp, err)
			}
		}
		free(dead, nil) // the promised window is waited out
		w.sees(t, "RELEASED dead quarantined")
		last := unused.FloorMs - 1
		free(unused, &last)
		w.sees(t, "RELEASED unused free", "FREED unused free")
		free(taken, &last)
		w.sees(t, "RELEASED taken free", "FREED taken free")
		beat := b.heartbeat(dead)
		b.settle()
		beat.failed(t, "a heartbeat of a freed lease", lostLease)
		b.pass(30*time.Second + time.Millisecond)
		w.sees(t, "FREED dead free")
	})
}

// Expiry is told on time without anybody asking, and so is a revival.
func TestWatchExpiryAndRevival(t *testing.T) {
	inBubble(t, bubbleOptions{}, func(b *bubble) {
		lease := b.acquired("a")
		w := b.watch("")
		w.sees(t, "PRESENT a held", "SYNCED")
		b.pass(10 * time.Second)
		b.heartbeatDone(lease)
		b.pass(30*time.Second - time.Millisecond)
		w.sees(t)
		b.pass(time.Millisecond)
		w.sees(t, "EXPIRED a quarantined")
		late := b.watch("")
		late.sees(t, "PRESENT a quarantined", "SYNCED")
		b.pass(10 * time.Second)
		b.heartbeatDone(lease)
		w.sees(t, "GRANTED a held")
		late.sees(t, "GRANTED a held")
		b.pass(30 * time.Second)
		w.sees(t, "EXPIRED a quarantined")
		b.pass(30*time.Second + time.Millisecond)
		w.sees(t, "FREED a free")
		if epochs := w.raw; epochs[len(epochs)-1].Lease.Epoch != lease.Epoch {
			t.Errorf("the events are of another epoch: %v", epochs)
		}
		if free := w.raw[len(w.raw)-1].Lease; free.TimeLeft != nil {
			t.Errorf("%v is free for a time", free)
		}
		for i, e := range w.raw[1:] {
			if e.ServerTimeMs < w.raw[i].ServerTimeMs {
				t.Errorf("server time goes back in %v", w.raw)
			}
		}
	})
}

// What a new watcher is shown as present is not told to it again as news, even
// if it was its own listing that brought it to light.
func TestWatchTellsOnce(t *testing.T) {
	inBubble(t, bubbleOptions{}, func(b *bubble) {
		b.pass(2 * time.Second)
		b.acquired("a")
		begin := func() (*watcher, []fencing.LeaseStatus) {
			w, r := b.term().startWatch(fencing.DefaultPool)
			if r != nil {
				t.Fatal(r)
			}
			rows, _, r := b.term().page(w)
			if r != nil || !w.synced {
				t.Fatalf("%d rows, %v, want a page that is all", len(rows), r)
			}
			return w, rows
		}
		first, _ := begin()
		b.pass(31 * time.Second) // between two looks of the keeper
		second, rows := begin()
		if len(rows) != 1 || rows[0].State != fencing.Quarantined || len(second.events) != 0 {
			t.Errorf("shown %v, and then told of %d events", rows, len(second.events))
		}
		if len(first.events) != 1 {
			t.Errorf("the first watcher was told of %d events, want the expiry", len(first.events))
		}
		b.term().endWatch(first)
		b.term().endWatch(second)
	})
}

// Nobody hears of another pool, and a pool that nobody watches has no events.
func TestWatchedPoolsOnly(t *testing.T) {
	inBubble(t, bubbleOptions{}, func(b *bubble) {
		b.createPool("east", 4)
		w, both := b.watch("east"), b.watch("")
		b.acquired("elsewhere")
		w.sees(t, "SYNCED")
		b.acquiredIn("east", "here")
		w.sees(t, "GRANTED here held")
		both.sees(t, "SYNCED", "GRANTED elsewhere held")
		both.cancel()
		w.cancel()
		b.settle()
		b.acquiredIn("east", "unseen")
		b.term().mu.Lock()
		defer b.term().mu.Unlock()
		if events := b.term().core.TakeEvents(); len(events) != 0 || len(b.term().watchers) != 0 {
			t.Errorf("%d events are kept for %d watchers", len(events), len(b.term().watchers))
		}
	})
}

// A watcher who is too far behind is cut off and told so; nobody waits for it,
// and the others see everything.
func TestSlowWatcherCutOff(t *testing.T) {
	inBubble(t, bubbleOptions{}, func(b *bubble) {
		quick := b.watch("")
		stream, err := b.admin.Watch(context.Background(), &cirrusv1.WatchRequest{})
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		const rounds = MaxWatchBehind // of two events and more each
		for range rounds {
			b.released(b.acquired("a"))
		}
		quick.mu.Lock()
		if n := len(quick.lines); n < 3*rounds {
			t.Errorf("the quick watcher saw %d events, want %d", n, 3*rounds)
		}
		quick.mu.Unlock()
		if n := len(b.term().watchers); n != 1 {
			t.Errorf("%d watchers are left, want the quick one", n)
		}
		seen := 0
		for stream.Receive() {
			seen++
		}
		tooBehind.check(t, "the slow watcher", stream.Err())
		if seen < MaxWatchBehind || seen > 3*rounds {
			t.Errorf("the slow watcher saw %d events", seen)
		}
	})
}

// The number of streams is bounded, and a place is free again when one ends.
func TestWatchesBounded(t *testing.T) {
	inBubble(t, bubbleOptions{}, func(b *bubble) {
		for range MaxWatches - 1 {
			if _, r := b.term().startWatch(fencing.DefaultPool); r != nil {
				t.Fatal(r)
			}
		}
		last := b.watch("")
		last.sees(t, "SYNCED")
		wanted{code: connect.CodeResourceExhausted, reason: reasonTooMany}.check(t, "one too many",
			b.watch("").err(t))
		last.cancel()
		b.settle()
		b.watch("").cancel()
		b.settle()
		b.term().mu.Lock()
		clear(b.term().watchers)
		b.term().mu.Unlock()
	})
}

// A watch of no pool, of a bad one, and of one after its caller is gone.
func TestWatchRefused(t *testing.T) {
	inBubble(t, bubbleOptions{}, func(b *bubble) {
		wanted{code: connect.CodeNotFound, reason: fencing.ReasonPoolNotFound}.check(t,
			"an unknown pool", b.watch("west").err(t))
		badInput("pool").check(t, "a bad name", b.watch("W EST").err(t))
		w := b.watch("")
		w.cancel()
		b.settle()
		if n := len(b.term().watchers); n != 0 {
			t.Errorf("%d watchers are left behind", n)
		}
	})
}
