package service

import (
	"context"
	"fmt"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/snowflake"
)

// hourly has TTLs so long that silence is noted between two heartbeats.
func hourly(p *fencing.Pool) {
	p.TTL, p.MaxTTL, p.Quarantine = time.Hour, time.Hour, 6*time.Minute
}

// silent acquires some leases and waits until they are noted as silent.
func (b *bubble) silent(n int) (leases []*cirrusv1.Lease) {
	b.t.Helper()
	for i := range n {
		leases = append(leases, b.acquired(fmt.Sprint("app-", i)))
	}
	b.pass(45 * time.Minute)
	for _, l := range leases {
		b.wantNoted(l, true)
	}
	return leases
}

func (b *bubble) wantNoted(l *cirrusv1.Lease, want bool) {
	b.t.Helper()
	if rec, _ := b.store.record(fencing.DefaultPool,
		snowflake.NodeID(l.NodeId)); rec.Silence.Noted != want {
		b.t.Fatalf("the silence note of node ID %d is %+v, want one: %v", l.NodeId, rec.Silence,
			want)
	}
}

// S5: a heartbeat and a repeated Acquire of a lease with a silence note are
// answered when the note is durably gone, and so are those that join.
func TestSilenceEndsBeforeTheAnswer(t *testing.T) {
	inBubble(t, bubbleOptions{pool: hourly}, func(b *bubble) {
		for _, again := range []bool{false, true} {
			l := b.silent(1)[0]
			b.store.holdIf(anyRecord)
			var answered func() bool
			if again {
				answered = b.acquire("app-0", 0).ended
			} else {
				answered = b.heartbeat(l).ended
			}
			held := b.oneHeld()
			b.pass(storeTimeout / 4)
			joined := b.heartbeat(l)
			b.pass(storeTimeout / 4)
			joined.waits(t, "a heartbeat that joins")
			if answered() {
				t.Fatal("an answer came before the note was gone")
			}
			b.store.holdIf(nil)
			held.let(nil)
			b.settle()
			if got := joined.done(t, "a heartbeat that joins").Lease.CeilingMs; !answered() ||
				got < time.Now().Add(time.Hour).UnixMilli() {
				t.Errorf("ceiling %d at %d, the first answered: %v", got, time.Now().UnixMilli(),
					answered())
			}
			b.wantNoted(l, false)
		}
		if grants := b.metric("cirrus_grants_total"); grants != 1 {
			t.Errorf("%v grants were counted, want 1", grants)
		}
	})
}

// A fleet that was away comes back in one batch: its notes go in few commits.
func TestSilenceOfABatchEndsTogether(t *testing.T) {
	inBubble(t, bubbleOptions{pool: hourly}, func(b *bubble) {
		leases := b.silent(300)
		req := &cirrusv1.HeartbeatBatchRequest{}
		for _, l := range leases {
			req.Heartbeats = append(req.Heartbeats, heartbeatRequest(l))
		}
		before := b.store.commitsSoFar()
		resp, err := b.leases.HeartbeatBatch(context.Background(), req)
		if err != nil {
			t.Fatal(err)
		}
		if commits := b.store.commitsSoFar() - before; commits != 3 {
			t.Errorf("%d commits for %d leases, want 3 of at most %d records", commits, len(leases),
				recordsTogether)
		}
		for i, r := range resp.Results {
			if r.GetLease().GetEpoch() != leases[i].Epoch {
				t.Errorf("heartbeat %d: %v", i, r)
			}
			b.wantNoted(leases[i], false)
		}
	})
}

// S9: where the note's write fails, no heartbeat of the batch is answered.
func TestSilenceThatDoesNotEnd(t *testing.T) {
	inBubble(t, bubbleOptions{pool: hourly}, func(b *bubble) {
		l := b.silent(1)[0]
		b.store.failWith(errDisk)
		failed := wanted{code: connect.CodeUnavailable, reason: fencing.ReasonStoreFailed}
		_, err := b.leases.HeartbeatBatch(context.Background(),
			&cirrusv1.HeartbeatBatchRequest{Heartbeats: []*cirrusv1.HeartbeatRequest{heartbeatRequest(l)}})
		failed.check(t, "a batch", err)
		_, err = b.leases.Heartbeat(context.Background(), heartbeatRequest(l))
		failed.check(t, "a heartbeat", err)
	})
}
