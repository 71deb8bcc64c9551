package service

import (
	"context"
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

// S9: a write that the store doesn't acknowledge in time is answered
// STORE_SLOW, and counts all the same when it is acknowledged later.
func TestSlowWrites(t *testing.T) {
	inBubble(t, bubbleOptions{}, func(b *bubble) {
		kept, freed, taken := b.acquired("kept"), b.acquired("freed"), b.acquired("taken")
		watch := b.watch("")
		b.settle()
		grants := b.metric("cirrus_grants_total")
		b.store.holdIf(func(batch fencing.Batch) bool { return anyRecord(batch) || anyPool(batch) })
		granted, back, revoked := b.acquire("app", time.Minute), b.release(freed, nil),
			b.revoke(taken)
		made := start(func(ctx context.Context) (*cirrusv1.CreatePoolResponse, error) {
			return b.admin.CreatePool(ctx,
				&cirrusv1.CreatePoolRequest{Pool: &cirrusv1.Pool{Name: "east"}})
		})
		b.pass(storeTimeout - time.Millisecond)
		granted.waits(t, "a grant")
		b.pass(time.Millisecond)
		granted.failed(t, "a grant", storeSlow)
		back.failed(t, "a release", storeSlow)
		revoked.failed(t, "a revocation", storeSlow)
		made.failed(t, "a pool's creation", storeSlow)

		again := b.acquire("app", 0)
		beat := b.heartbeat(freed)
		b.heartbeatDone(kept) // which needs no write
		b.pass(storeTimeout)
		again.failed(t, "the same instance's Acquire", storeSlow)
		beat.failed(t, "a heartbeat of what is being released", storeSlow)
		watch.sees(t, "PRESENT kept held", "PRESENT freed held", "PRESENT taken held", "SYNCED")

		b.store.letAll()
		b.settle()
		if got := b.metric("cirrus_grants_total") - grants; got != 1 {
			t.Errorf("%v grants are counted, want the late one", got)
		}
		if commits := b.store.commitsSoFar(); b.acquired("app").NodeId != 3 ||
			b.store.commitsSoFar() != commits {
			t.Error("the instance didn't get the lease that was granted late")
		}
		lost := b.heartbeat(freed)
		b.settle()
		lost.failed(t, "a heartbeat of what was released", lostLease)
		b.acquiredIn("east", "someone") // it was opened, too
	})
}

// S9: a request waits for the store for storeTimeout altogether, whatever it
// waits for; what it waits in the queue is not counted.
func TestTimeoutIsOne(t *testing.T) {
	inBubble(t, bubbleOptions{pool: nodes(1)}, func(b *bubble) {
		lease := b.acquired("app")
		b.store.holdIf(anyMark)
		b.pass(11 * time.Second)
		mark := b.oneHeld()
		next := b.acquire("next", time.Minute)
		b.pass(storeTimeout / 2)
		b.store.holdIf(nil)
		mark.let(nil) // too late for a promise, but the next one is not
		b.pass(10 * time.Second)
		next.waits(t, "a request in the queue")
		b.store.holdIf(anyRecord)
		unused := lease.FloorMs - 1
		b.release(lease, &unused)
		b.oneHeld().let(nil)
		b.pass(storeTimeout/2 - time.Millisecond)
		next.waits(t, "a grant whose write is held")
		b.pass(time.Millisecond)
		next.failed(t, "a grant whose write is held", storeSlow)
	})
}

// S9: with a Cluster, a batch waits for no further write when its time is over.
// The write is made all the same.
func TestSlowNotesWithACluster(t *testing.T) {
	inFleetOf(
		t, newTestStore(newBatch(t, time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), true, hourly)),
		[]string{"a"}, func(f *fleet) {
			a := f.all[0]
			f.makeLead(a)
			a.store = f.c.data
			req := &cirrusv1.HeartbeatBatchRequest{}
			for _, l := range a.silent(3*recordsTogether + 1) {
				req.Heartbeats = append(req.Heartbeats, heartbeatRequest(l))
			}
			f.c.holdIf(grantOf)
			batch := start(func(ctx context.Context) (*cirrusv1.HeartbeatBatchResponse, error) {
				return a.leases.HeartbeatBatch(ctx, req)
			})
			for range 2 { // the second one ends too late for a third
				held := f.oneHeld()
				f.pass(storeTimeout * 3 / 4)
				batch.waits(t, "the batch")
				held.let()
				f.settle()
			}
			results := batch.done(t, "the batch").Results
			for i, res := range results {
				if want := i < 2*recordsTogether; (res.GetLease() != nil) != want || !want &&
					res.GetError().GetReason() != string(reasonStoreSlow) {
					t.Fatalf("heartbeat %d got %v", i, res)
				}
			}
			f.c.letAll()
			f.settle()
			for _, h := range req.Heartbeats {
				a.wantNoted(&cirrusv1.Lease{NodeId: h.NodeId}, false)
			}
		})
}

// S9, S14: a silence note that the store doesn't take away in time holds up the
// other heartbeats of the batch, but doesn't cost them their answers.
func TestSlowNoteInABatch(t *testing.T) {
	inBubble(t, bubbleOptions{pool: hourly}, func(b *bubble) {
		noted := b.silent(2 * recordsTogether)
		fresh := b.acquired("fresh")
		b.store.holdIf(anyRecord)
		req := &cirrusv1.HeartbeatBatchRequest{}
		for _, l := range append(noted, fresh) {
			req.Heartbeats = append(req.Heartbeats, heartbeatRequest(l))
		}
		batch := start(func(ctx context.Context) (*cirrusv1.HeartbeatBatchResponse, error) {
			return b.leases.HeartbeatBatch(ctx, req)
		})
		b.pass(storeTimeout)
		results := batch.done(t, "the batch").Results
		for i, res := range results[:len(noted)] {
			if res.GetError().GetReason() != string(reasonStoreSlow) {
				t.Fatalf("heartbeat %d got %v, want %s", i, res, reasonStoreSlow)
			}
		}
		if results[len(noted)].GetLease().GetEpoch() != fresh.Epoch {
			t.Errorf("the heartbeat that needs no write got %v", results[len(noted)])
		}
		b.store.letAll()
		b.settle()
		for _, l := range noted {
			b.wantNoted(l, false)
		}
	})
}
