package service

import (
	"context"
	"errors"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

// S1: while a grant's write is under way, nothing shows of it, and whoever
// asks about the node ID waits; another node ID's requests don't.
func TestGrantShowsWhenDurable(t *testing.T) {
	inBubble(t, bubbleOptions{}, func(b *bubble) {
		other := b.acquired("other")
		watch := b.watch("")
		b.store.holdIf(anyRecord)
		granted := b.acquire("app", 0)
		held := b.oneHeld()
		rec := held.batch.Records[0]

		again := b.acquire("app", 0)
		foreseen := &cirrusv1.Lease{NodeId: uint32(rec.Node), Epoch: uint64(rec.Epoch),
			InstanceId: secret("app")}
		beat, back, taken := b.heartbeat(foreseen), b.release(foreseen, nil), b.revoke(foreseen)
		beside := b.heartbeat(other)
		b.settle()
		granted.waits(t, "the grant")
		again.waits(t, "the same instance's Acquire")
		beat.waits(t, "a heartbeat")
		back.waits(t, "a release")
		taken.waits(t, "a revoke")
		beside.done(t, "another node ID's heartbeat")
		if rows := b.list(""); len(rows) != 1 || rows[0].NodeId != other.NodeId {
			t.Errorf("the listing shows %v, want the durable lease alone", rows)
		}
		watch.sees(t, "PRESENT other held", "SYNCED")
		if got := b.metric("cirrus_grants_total"); got != 1 {
			t.Errorf("%v grants are counted, want the durable one alone", got)
		}
		back.cancel()
		taken.cancel()
		b.settle()

		b.pass(time.Second)
		b.store.holdIf(nil)
		held.let(nil)
		b.settle()
		lease := granted.done(t, "the grant").Lease
		if a := again.done(t, "the same instance").Lease; a.Epoch != lease.Epoch ||
			a.NodeId != lease.NodeId {
			t.Errorf("the same instance got %v, want %v", a, lease)
		}
		if beat.done(t, "the heartbeat").Lease.Epoch != uint64(rec.Epoch) {
			t.Errorf("the heartbeat got %v", beat.resp)
		}
		watch.sees(t, "GRANTED app held")
	})
}

// S1: a release, a revoke and a late note of the same node ID are one after
// another; everything about it waits for the write that is under way.
func TestWritesOfOneKeyWait(t *testing.T) {
	type asked struct {
		beat  *call[*cirrusv1.HeartbeatResponse]
		back  *call[*cirrusv1.ReleaseResponse]
		taken *call[*cirrusv1.RevokeResponse]
		again *acquireCall
	}
	for _, c := range []struct {
		name  string
		write func(b *bubble, l *cirrusv1.Lease)
		after func(t *testing.T, b *bubble, l *cirrusv1.Lease, a asked)
	}{
		{"release", func(b *bubble, l *cirrusv1.Lease) { b.release(l, nil) },
			func(t *testing.T, _ *bubble, l *cirrusv1.Lease, a asked) {
				a.beat.failed(t, "a heartbeat", lostLease)
				a.back.done(t, "a repeated release")
				a.taken.failed(t, "a revoke", lostLease)
				if n := a.again.done(t, "an Acquire").Lease; n.Epoch <= l.Epoch {
					t.Errorf("the instance got epoch %d again", n.Epoch)
				}
			}},
		{"revoke", func(b *bubble, l *cirrusv1.Lease) { b.revoke(l) },
			func(t *testing.T, _ *bubble, l *cirrusv1.Lease, a asked) {
				a.beat.failed(t, "a heartbeat", lostLease)
				a.back.done(t, "a release of a revoked lease")
				if n := a.again.done(t, "an Acquire").Lease; n.Epoch <= l.Epoch {
					t.Errorf("the instance got epoch %d again", n.Epoch)
				}
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, bubbleOptions{}, func(b *bubble) {
				lease, other := b.acquired("app"), b.acquired("other")
				b.store.holdIf(func(batch fencing.Batch) bool {
					return anyRecord(batch) && batch.Records[0].Node == 0
				})
				go c.write(b, lease)
				held := b.oneHeld()
				a := asked{b.heartbeat(lease), b.release(lease, nil), b.revoke(lease),
					b.acquire("app", 0)}
				beside := b.heartbeat(other)
				b.settle()
				gone := b.release(other, nil)
				b.settle()
				a.beat.waits(t, "a heartbeat")
				a.back.waits(t, "a release")
				a.taken.waits(t, "a revoke")
				a.again.waits(t, "the instance's Acquire")
				beside.done(t, "another node ID's heartbeat")
				gone.done(t, "another node ID's release")
				if row := b.list("")[0]; row.State != cirrusv1.LeaseState_LEASE_STATE_HELD ||
					row.Revoked {
					t.Errorf("the listing shows %v before it is durable", row)
				}
				b.store.holdIf(nil)
				held.let(nil)
				b.settle()
				c.after(t, b, lease, a)
			})
		})
	}
}

// S1: a pool shows once it is durable, and the same name waits meanwhile.
func TestPoolShowsWhenDurable(t *testing.T) {
	inBubble(t, bubbleOptions{}, func(b *bubble) {
		create := func(ttl time.Duration) *call[*cirrusv1.CreatePoolResponse] {
			return start(func(ctx context.Context) (*cirrusv1.CreatePoolResponse, error) {
				return b.admin.CreatePool(ctx,
					&cirrusv1.CreatePoolRequest{Pool: &cirrusv1.Pool{Name: "east",
						Ttl: proto3(ttl)}})
			})
		}
		b.store.holdIf(anyPool)
		first := create(20 * time.Second)
		held := b.oneHeld()
		same, different := create(20*time.Second), create(25*time.Second)
		b.settle()
		first.waits(t, "the creation")
		same.waits(t, "the same creation")
		different.waits(t, "another creation")
		_, err := b.admin.GetPool(context.Background(), &cirrusv1.GetPoolRequest{Name: "east"})
		wanted{code: connect.CodeNotFound, reason: fencing.ReasonPoolNotFound}.check(t,
			"GetPool", err)
		_, err = b.leases.Acquire(context.Background(), acquireRequest("east", "app", 0))
		wanted{code: connect.CodeNotFound, reason: fencing.ReasonPoolNotFound}.check(t,
			"Acquire", err)
		held.let(nil)
		b.settle()
		if p := first.done(t, "the creation").Pool; !p.Opened || p.OpensAtMs != 0 {
			t.Errorf("got %v, want an opened pool", p)
		}
		same.done(t, "the same creation")
		different.failed(t, "another creation",
			wanted{code: connect.CodeAlreadyExists, reason: fencing.ReasonPoolExists})
	})
}

// S9: a request that is given up does not take its write along.
func TestCallerGoneWriteStays(t *testing.T) {
	inBubble(t, bubbleOptions{}, func(b *bubble) {
		b.store.holdIf(anyRecord)
		granted := b.acquire("app", 0)
		held := b.oneHeld()
		granted.cancel()
		b.settle()
		if !granted.ended() {
			t.Fatal("the caller is not gone")
		}
		b.store.holdIf(nil)
		held.let(nil)
		b.settle()
		if rows := b.list(""); len(rows) != 1 || rows[0].AppId != "app" {
			t.Errorf("the listing shows %v, want the grant", rows)
		}
		if rec, ok := b.store.record("default", 0); !ok || rec.Status != fencing.Live {
			t.Errorf("the store has %v", rec)
		}
	})
}

// S9: after a failed write there are no promises, to nobody, and whoever waits
// or watches is told.
func TestFailedWriteEndsAll(t *testing.T) {
	inBubble(t, bubbleOptions{pool: nodes(3)}, func(b *bubble) {
		lease, spare := b.acquired("app"), b.acquired("spare")
		b.createPool("tiny", 1)
		b.acquiredIn("tiny", "first")
		queued := []*acquireCall{b.acquireIn("tiny", "second", time.Minute),
			b.acquireIn("tiny", "third", time.Minute)}
		watch := b.watch("")
		b.settle()

		b.store.holdIf(anyRecord)
		grant := b.acquire("late", 0)
		granting := b.oneHeld()
		back := b.release(spare, nil)
		releasing := b.oneHeld()
		kept := b.heartbeat(spare)
		b.settle()
		releasing.let(errDisk)
		b.settle()

		back.failed(t, "the release whose write failed", storeDown)
		kept.failed(t, "a heartbeat that waited for it", storeDown)
		for _, q := range queued {
			q.failed(t, "a waiter of another pool", storeDown)
		}
		if err := watch.err(t); err != nil {
			storeDown.check(t, "a watcher", err)
		}
		select {
		case <-b.s.Failed():
		default:
			t.Error("Failed is not closed")
		}
		if !errors.Is(b.s.Err(), errDisk) {
			t.Errorf("Err says %v", b.s.Err())
		}
		granting.let(nil) // durable, but no promise may follow
		b.settle()
		grant.failed(t, "a grant whose write was acknowledged after that", storeDown)
		b.allRefuse(lease, storeDown)
		b.metric("cirrus_grants_total") // metrics go on
	})
}

// A store that panics has failed like any other (S9).
func TestPanickingStore(t *testing.T) {
	inBubble(t, bubbleOptions{pool: nodes(3)}, func(b *bubble) {
		lease := b.acquired("app")
		b.store.failWith(errPanic)
		late := b.acquire("late", 0)
		b.settle()
		late.failed(t, "a grant whose write panics", storeDown)
		select {
		case <-b.s.Failed():
		default:
			t.Error("Failed is not closed")
		}
		b.allRefuse(lease, storeDown)
	})
}

// allRefuse sends every RPC and wants the same error from each.
func (b *bubble) allRefuse(l *cirrusv1.Lease, want wanted) {
	b.t.Helper()
	ctx := context.Background()
	for name, do := range map[string]func() error{
		"Acquire": func() error {
			_,
				err := b.leases.Acquire(ctx, acquireRequest("", "new", time.Second))
			return err
		},
		"Acquire again": func() error {
			_,
				err := b.leases.Acquire(ctx, acquireRequest("", "app", 0))
			return err
		},
		"Heartbeat": func() error {
			_,
				err := b.leases.Heartbeat(ctx, heartbeatRequest(l))
			return err
		},
		"Release": func() error {
			_,
				err := b.leases.Release(ctx, releaseRequest(l, nil))
			return err
		},
		"Revoke": func() error {
			_, err := b.admin.Revoke(ctx, &cirrusv1.RevokeRequest{NodeId: l.NodeId, Epoch: l.Epoch})
			return err
		},
		"Free": func() error {
			_, err := b.admin.Free(ctx, &cirrusv1.FreeRequest{NodeId: l.NodeId, Epoch: l.Epoch})
			return err
		},
		"CreatePool": func() error {
			_, err := b.admin.CreatePool(ctx,
				&cirrusv1.CreatePoolRequest{Pool: &cirrusv1.Pool{Name: "new"}})
			return err
		},
		"UpdatePool": func() error {
			_,
				err := b.admin.UpdatePool(ctx, &cirrusv1.UpdatePoolRequest{})
			return err
		},
		"GetPool": func() error {
			_,
				err := b.admin.GetPool(ctx, &cirrusv1.GetPoolRequest{})
			return err
		},
		"ListPools": func() error {
			_,
				err := b.admin.ListPools(ctx, &cirrusv1.ListPoolsRequest{})
			return err
		},
		"ListPools, past": func() error {
			_, err := b.admin.ListPools(ctx, &cirrusv1.ListPoolsRequest{PageToken: "zzz"})
			return err
		},
		"ListLeases": func() error {
			_,
				err := b.admin.ListLeases(ctx, &cirrusv1.ListLeasesRequest{})
			return err
		},
		"HeartbeatBatch": func() error {
			_, err := b.leases.HeartbeatBatch(ctx,
				&cirrusv1.HeartbeatBatchRequest{Heartbeats: []*cirrusv1.HeartbeatRequest{heartbeatRequest(l)}})
			return err
		},
		"HeartbeatBatch, empty": func() error {
			_, err := b.leases.HeartbeatBatch(ctx, &cirrusv1.HeartbeatBatchRequest{})
			return err
		},
		"Watch": func() error { return b.watch("").err(b.t) },
	} {
		want.check(b.t, name, do())
	}
}

// S10: the mark is the right to promise. While its write is held, promises go
// on until the last acknowledged one lapses, stop, and come back with the next.
func TestMarkHeld(t *testing.T) {
	inBubble(t, bubbleOptions{}, func(b *bubble) {
		lease := b.acquired("app")
		b.store.holdIf(anyMark)
		begun := time.Now()
		b.pass(7 * time.Second) // half a stride of 10 s, and then some
		held := b.oneHeld()
		b.heartbeatDone(lease)
		for time.Since(begun) < 9*time.Second {
			b.pass(time.Second / 2)
			b.heartbeatDone(lease)
		}
		b.pass(6 * time.Second)
		beat, again, fresh := b.heartbeat(lease), b.acquire("app", 0),
			b.acquire("fresh", time.Second)
		b.settle()
		beat.waits(t, "a heartbeat without the mark's lease")
		again.waits(t, "an Acquire again")
		fresh.waits(t, "a new Acquire")
		// What rests on durable records alone is answered.
		b.release(&cirrusv1.Lease{NodeId: 5, Epoch: 1, InstanceId: secret("nobody")}, nil).cancel()
		b.pass(20 * time.Second)
		beat.failed(t, "the heartbeat", storeSlow)
		again.failed(t, "the Acquire again", storeSlow)
		fresh.failed(t, "the new Acquire", storeSlow)

		beat, again, fresh = b.heartbeat(lease), b.acquire("app", 0),
			b.acquire("fresh", time.Second)
		b.settle()
		beat.waits(t, "a heartbeat, long after")
		b.store.holdIf(nil)
		held.let(nil) // sent longer than a stride ago: worth nothing any more
		b.settle()
		got := beat.done(t, "the heartbeat").Lease
		again.done(t, "the Acquire again")
		fresh.done(t, "the new Acquire")
		if mark := b.store.mark(); got.ServerTimeMs > mark {
			t.Errorf("promised at %d, above the durable mark %d", got.ServerTimeMs, mark)
		}
	})
}

// S10: a grant is looked at again when its own write is acknowledged.
func TestGrantLookedAtAgain(t *testing.T) {
	inBubble(t, bubbleOptions{}, func(b *bubble) {
		b.store.holdIf(func(fencing.Batch) bool { return true })
		b.pass(9 * time.Second)
		mark := b.oneHeld()
		granted := b.acquire("app", 0)
		record := b.oneHeld()
		b.pass(storeTimeout - time.Millisecond) // a stride of 10 s is over
		record.let(nil)
		b.settle()
		granted.waits(t, "a grant that is durable, but without the mark's lease")
		b.store.holdIf(nil)
		mark.let(nil)
		b.settle()
		if l := granted.done(t, "the grant").Lease; l.CeilingMs > b.store.mark()+30_000 ||
			l.ServerTimeMs > b.store.mark() {
			t.Errorf("promised %v above the mark %d", l, b.store.mark())
		}
	})
}

// Closing waits for what is being written, and lets nothing new begin.
func TestCloseWaitsForWrites(t *testing.T) {
	inBubble(t, bubbleOptions{}, func(b *bubble) {
		b.store.holdIf(anyRecord)
		granted := b.acquire("app", 0)
		held := b.oneHeld()
		closed := start(func(context.Context) (bool, error) { b.s.Close(); return true, nil })
		b.settle()
		closed.waits(t, "Close, with a write under way,")
		held.let(nil)
		b.settle()
		closed.done(t, "Close")
		if granted.ended() && granted.err != nil {
			shuttingDown.check(t, "the grant", granted.err)
		}
		before := b.store.commitsSoFar()
		err := b.term().commitAll([]*fencing.Write{{}})
		if !errors.Is(err, errStopping) || b.store.commitsSoFar() != before {
			t.Errorf("a write after Close: %v", err)
		}
	})
}

// S8, S10: when the wall clock leaps, server time goes with it, above the mark:
// who asks then waits for a new one, and not for the time at which it is due.
func TestLeapOfWallClock(t *testing.T) {
	inBubble(t, bubbleOptions{}, func(b *bubble) {
		lease := b.acquired("app")
		b.wall.lead.Store(int64(time.Minute))
		got := b.heartbeatDone(lease)
		if got.ServerTimeMs != time.Now().Add(time.Minute).UnixMilli() ||
			got.ServerTimeMs > b.store.mark() {
			t.Errorf("promised at %d, the mark is %d", got.ServerTimeMs, b.store.mark())
		}
		b.wall.lead.Store(int64(2 * time.Minute))
		b.acquired("another")
		b.wall.lead.Store(0) // and it goes back: server time does not
		if late := b.heartbeatDone(lease); late.ServerTimeMs < got.ServerTimeMs+60_000 {
			t.Errorf("server time went back to %d from %d", late.ServerTimeMs,
				got.ServerTimeMs+60_000)
		}
	})
}

// A wall clock that runs away is told once, whoever saw it first.
func TestClockAlarmTold(t *testing.T) {
	inBubble(t, bubbleOptions{}, func(b *bubble) {
		lease := b.acquired("app")
		b.wall.lead.Store(int64(time.Hour))
		b.heartbeatDone(lease) // sees it before the keeper does
		b.pass(time.Minute)
		if got := b.logged("the wall clock is far ahead"); got != 1 {
			t.Errorf("logged %d times, want 1:\n%s", got, b.log)
		}
		if got := b.metric("cirrus_clock_alarm"); got != 1 {
			t.Errorf("the alarm's metric is %v", got)
		}
		if got := b.metric("cirrus_clock_offset_seconds"); got < 3500 || got > 3600 {
			t.Errorf("the offset's metric is %v", got)
		}
	})
}

// S7: a pool of a suspicious store opens when it said that it would.
func TestSuspiciousPoolOpens(t *testing.T) {
	inBubble(t, bubbleOptions{suspicious: true,
		pool: func(p *fencing.Pool) { p.Quarantine = 12 * time.Second }}, func(b *bubble) {
		c := b.acquire("app", time.Minute)
		b.settle()
		c.failed(t, "an Acquire",
			wanted{code: connect.CodeUnavailable, reason: fencing.ReasonNotOpened, retry: true})
		opens := retryAfter(t, c.err)
		if opens != 52*time.Second {
			t.Errorf("it opens in %v, want TTL + quarantine + stride", opens)
		}
		shown, err := b.admin.GetPool(context.Background(), &cirrusv1.GetPoolRequest{})
		if err != nil || shown.Pool.Opened ||
			shown.Pool.OpensAtMs != time.Now().Add(opens).UnixMilli() {
			t.Errorf("GetPool says %v, %v", shown, err)
		}
		b.pass(opens - time.Millisecond)
		if len(b.s.Unopened()) != 1 {
			t.Error("it opened too early")
		}
		b.pass(time.Millisecond)
		if len(b.s.Unopened()) != 0 {
			t.Error("it did not open when it said that it would")
		}
		b.acquired("app")
	})
}
