package service

import (
	"context"
	"testing"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

const lostMetric = "cirrus_forgotten_writes_total"

// wantLost wants so many lost writes to have been counted, and so many lines of
// the log about them.
func (b *bubble) wantLost(count float64, lines int) {
	b.t.Helper()
	if got := b.metric(lostMetric); got != count {
		b.t.Errorf("%v lost writes were counted, want %v", got, count)
	}
	if got := b.logged("the store has lost a write"); got != lines {
		b.t.Errorf("%d lines of the log tell of them, want %d:\n%s", got, lines, b.log)
	}
}

// beyond is a heartbeat of which the store ought to know, and doesn't.
func beyond(l *cirrusv1.Lease, node uint32) *cirrusv1.HeartbeatRequest {
	return &cirrusv1.HeartbeatRequest{NodeId: node, Epoch: l.Epoch + 1000,
		InstanceId: secret("beyond")}
}

func (b *bubble) batch(reqs ...*cirrusv1.HeartbeatRequest) *call[*cirrusv1.HeartbeatBatchResponse] {
	return start(func(ctx context.Context) (*cirrusv1.HeartbeatBatchResponse, error) {
		return b.leases.HeartbeatBatch(ctx, &cirrusv1.HeartbeatBatchRequest{Heartbeats: reqs})
	})
}

// S12: a heartbeat from beyond what the store knows is told once for a node ID
// and epoch.
func TestLostWriteIsTold(t *testing.T) {
	inBubble(t, bubbleOptions{}, func(b *bubble) {
		lease := b.acquired("app")
		ahead := &cirrusv1.Lease{NodeId: lease.NodeId, Epoch: lease.Epoch + 1,
			InstanceId: secret("ahead")}
		unknown := &cirrusv1.Lease{NodeId: 7, Epoch: lease.Epoch + 2, InstanceId: secret("unknown")}
		for range 3 {
			for _, l := range []*cirrusv1.Lease{ahead, unknown} {
				c := b.heartbeat(l)
				b.settle()
				c.failed(t, "a heartbeat from the future", lostLease)
				b.pass(lostPause)
			}
		}
		b.wantLost(2, 2)
		b.heartbeatDone(lease) // it changed nothing
	})
}

// S12: all lost writes are counted at once, and told in a line a second at most,
// which says how many there were. The last ones are told, too.
func TestLostWritesShareALine(t *testing.T) {
	inBubble(t, bubbleOptions{}, func(b *bubble) {
		lease := b.acquired("app")
		for node := range uint32(21) {
			c := b.batch(beyond(lease, node))
			b.settle()
			c.done(t, "a batch")
		}
		b.wantLost(21, 1)
		b.pass(lostPause)
		b.wantLost(21, 2)
		if b.logged("since_last_told=20") != 1 {
			t.Errorf("no line tells of 20:\n%s", b.log)
		}
		b.pass(10 * lostPause)
		b.wantLost(21, 2)
	})
}

// S12: what a batch shows is told although its caller leaves while another
// heartbeat of it waits.
func TestLostWriteOfABatchLeft(t *testing.T) {
	test := func(b *bubble, lease *cirrusv1.Lease) {
		c := b.batch(heartbeatRequest(lease), beyond(lease, 7))
		b.settle()
		c.waits(t, "a batch, for its first heartbeat,")
		b.wantLost(1, 1)
		c.cancel()
		b.settle()
		b.wantLost(1, 1)
	}
	inBubble(t, bubbleOptions{}, func(b *bubble) {
		lease := b.acquired("app")
		b.store.holdIf(anyRecord)
		b.release(lease, nil)
		held := b.oneHeld()
		test(b, lease)
		b.store.holdIf(nil)
		held.let(nil)
	})
	leading(t, func(f *fleet, a *replica) {
		lease := a.acquired("app")
		f.c.holdIf(opIs("commit"))
		a.release(lease, nil)
		held := f.oneHeld()
		test(a.bubble, lease)
		f.c.holdIf(opIs())
		held.let()
	})
}

// S12: what a batch shows is told before the silence notes of its other leases
// are gone.
func TestLostWriteBesideSilence(t *testing.T) {
	inBubble(t, bubbleOptions{pool: hourly}, func(b *bubble) {
		lease := b.silent(1)[0]
		b.store.holdIf(anyRecord)
		c := b.batch(heartbeatRequest(lease), beyond(lease, 7))
		held := b.oneHeld()
		c.waits(t, "a batch, for the silence note,")
		b.wantLost(1, 1)
		b.store.holdIf(nil)
		held.let(nil)
		b.settle()
		c.done(t, "the batch")
	})
}

// S12: that the store has lost a write is told by one who still leads, once,
// and not forgotten because a Confirm failed, or because the caller left.
func TestLostWriteIsConfirmed(t *testing.T) {
	leading(t, func(f *fleet, a *replica) {
		f.c.failIf(opIs("confirm"), errTimeout)
		beat := a.forged(3)
		f.settle()
		beat.failed(t, "a heartbeat from the future", notConfirmed)
		a.wantLost(0, 0)
		f.c.failIf(opIs(), nil)
		for range 2 {
			beat = a.forged(3)
			f.settle()
			beat.failed(t, "a heartbeat from the future", lostLease)
		}
		a.wantLost(1, 1)
		f.pass(lostPause)

		f.c.holdIf(opIs("confirm"))
		beat = a.forged(4)
		held := f.oneHeld()
		beat.cancel()
		f.settle()
		a.wantLost(1, 1)
		held.let()
		f.settle()
		a.wantLost(2, 2)
	})
}

// S12: a Confirm that began before the heartbeat proves nothing about it: another
// term may have begun between them, and granted what this one doesn't know of.
func TestLostWriteIsConfirmedAfterwards(t *testing.T) {
	leading(t, func(f *fleet, a *replica) {
		f.c.holdIf(opIs("confirm"))
		lists := start(func(ctx context.Context) (*cirrusv1.ListLeasesResponse, error) {
			return a.admin.ListLeases(ctx, &cirrusv1.ListLeasesRequest{})
		})
		before := f.oneHeld()
		a.forged(3)
		f.settle()
		before.let()
		f.settle()
		lists.done(t, "a listing")
		a.wantLost(0, 0)
		f.oneHeld().let()
		f.settle()
		a.wantLost(1, 1)
	})
}
