package service

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

// forged is a heartbeat that nobody's lease answers to.
func (r *replica) forged(node int) *call[*cirrusv1.HeartbeatResponse] {
	return r.heartbeat(&cirrusv1.Lease{NodeId: uint32(node), Epoch: 1,
		InstanceId: secret("forger")})
}

// leading is a fleet of one, which leads.
func leading(t *testing.T, test func(f *fleet, a *replica)) {
	t.Helper()
	inFleet(t, []string{"a"}, func(f *fleet) {
		f.makeLead(f.all[0])
		test(f, f.all[0])
	})
}

// S10: a Confirm that began before a request arrived proves nothing to it;
// those that come meanwhile share the next.
func TestConfirmIsSharedButNeverOld(t *testing.T) {
	leading(t, func(f *fleet, a *replica) {
		a.acquired("app")
		f.c.holdIf(opIs("confirm"))
		first := a.forged(0)
		one := f.oneHeld()
		var second []*call[*cirrusv1.HeartbeatResponse]
		for range 100 {
			second = append(second, a.forged(0))
		}
		list := start(func(ctx context.Context) (*cirrusv1.ListLeasesResponse, error) {
			return a.admin.ListLeases(ctx, &cirrusv1.ListLeasesRequest{})
		})
		f.settle()
		if n := len(f.c.takeHeld()); n != 0 {
			t.Fatalf("%d more Confirms are in flight, want one at a time", n)
		}
		one.let()
		f.settle()
		first.failed(t, "the first", lostLease)
		for _, c := range second {
			c.waits(t, "one that came after the Confirm had begun")
		}
		list.waits(t, "a listing that did")
		f.oneHeld().let()
		f.settle()
		for _, c := range second {
			c.failed(t, "one that gathered", lostLease)
		}
		if rows := list.done(t, "the listing").Leases; len(rows) != 1 {
			t.Errorf("the listing shows %v", rows)
		}
		if n := f.c.ops("confirm"); n != 2 {
			t.Errorf("%d Confirms, want 2", n)
		}
	})
}

// S10: a promise needs none.
func TestPromisesConfirmNothing(t *testing.T) {
	leading(t, func(f *fleet, a *replica) {
		lease := a.acquired("app")
		a.heartbeatDone(lease)
		again := a.acquire("app", 0)
		f.settle()
		again.done(t, "the Acquire again")
		a.release(lease, nil)
		a.revoke(a.acquired("other"))
		f.settle()
		if n := f.c.ops("confirm"); n != 0 {
			t.Errorf("%d Confirms", n)
		}
		// Nor does what is malformed.
		_, err := a.leases.Heartbeat(context.Background(),
			&cirrusv1.HeartbeatRequest{Epoch: 1, InstanceId: "short"})
		badInput("instance_id").check(t, "a malformed heartbeat", err)
		if n := f.c.ops("confirm"); n != 0 {
			t.Errorf("%d Confirms", n)
		}
	})
}

// A Confirm that fails, or never ends, is that request's bad luck, and no end
// of the term; one whose caller is gone goes on.
func TestConfirmFails(t *testing.T) {
	leading(t, func(f *fleet, a *replica) {
		lease := a.acquired("app")
		f.c.holdIf(opIs("confirm"))
		first := a.forged(0)
		f.settle()
		gone := a.forged(1)
		f.settle()
		gone.cancel()
		f.settle()
		f.oneHeld().end(errTimeout)
		f.settle()
		first.failed(t, "the one whose Confirm failed", notConfirmed)
		f.oneHeld().end(errTimeout) // nobody waits for this one
		never := a.forged(0)
		f.settle()
		f.pass(storeTimeout)
		never.failed(t, "the one whose Confirm hangs", notConfirmed)
		f.c.letAll()
		f.settle()
		a.forged(0).cancel()
		a.heartbeatDone(lease)
		if n := f.c.ops("take over"); n != 1 {
			t.Errorf("%d terms, want the one", n)
		}
	})
}

// S9: what a request waits for Confirm is part of its timeout, too.
func TestConfirmGetsWhatIsLeft(t *testing.T) {
	leading(t, func(f *fleet, a *replica) {
		lease := a.acquired("app")
		f.c.holdIf(func(o *clusterOp) bool { return grantOf(o) || o.op == "confirm" })
		a.release(lease, nil)
		held := f.oneHeld()
		beat := a.heartbeat(lease)
		f.pass(storeTimeout / 2)
		held.let()
		f.oneHeld() // the Confirm
		f.pass(storeTimeout/2 - time.Millisecond)
		beat.waits(t, "a heartbeat of what was released")
		f.pass(time.Millisecond)
		beat.failed(t, "a heartbeat of what was released", notConfirmed)
	})
}

// One Confirm serves all items of a batch, whose promises need none.
func TestBatchConfirmsOnce(t *testing.T) {
	leading(t, func(f *fleet, a *replica) {
		lease := a.acquired("app")
		var reqs []*cirrusv1.HeartbeatRequest
		for i := range 200 {
			reqs = append(reqs,
				&cirrusv1.HeartbeatRequest{NodeId: uint32(i), Epoch: 1,
					InstanceId: secret("forger")})
		}
		reqs = append(reqs, heartbeatRequest(lease),
			&cirrusv1.HeartbeatRequest{Epoch: 1, InstanceId: "short"})
		send := func() []*cirrusv1.HeartbeatResult {
			resp, err := a.leases.HeartbeatBatch(context.Background(),
				&cirrusv1.HeartbeatBatchRequest{Heartbeats: reqs})
			if err != nil {
				t.Fatal(err)
			}
			return resp.Results
		}
		reasons := func(want fencing.Reason) {
			t.Helper()
			results := send()
			for i, res := range results[:200] {
				if res.GetError().GetReason() != string(want) {
					t.Fatalf("item %d: %v, want %s", i, res, want)
				}
			}
			if results[200].GetLease().GetEpoch() != lease.Epoch ||
				results[201].GetError().GetReason() != string(fencing.ReasonInvalid) {
				t.Errorf("the others got %v", results[200:])
			}
		}
		reasons(fencing.ReasonLeaseLost)
		if n := f.c.ops("confirm"); n != 1 {
			t.Errorf("%d Confirms, want 1", n)
		}
		f.c.failIf(opIs("confirm"), errTimeout)
		reasons(reasonNotConfirmed)
	})
}

// What a Watch shows first, and what time alone brings to it, is confirmed
// after it came about.
func TestWatchConfirms(t *testing.T) {
	leading(t, func(f *fleet, a *replica) {
		a.acquired("app")
		f.c.holdIf(opIs("confirm"))
		w := a.watch("")
		w.sees(t)
		f.oneHeld().let()
		w.sees(t, "PRESENT app held", "SYNCED")
		a.acquired("other")
		w.sees(t, "GRANTED other held") // which rests on its write

		f.pass(31 * time.Second) // both expire
		w.sees(t)
		f.oneHeld().let()
		f.settle()
		for _, o := range f.c.takeHeld() { // the second event may have come later
			o.let()
		}
		w.sees(t, "EXPIRED app quarantined", "EXPIRED other quarantined")

		f.c.failIf(opIs("confirm"), errTimeout)
		f.pass(31 * time.Second)
		w.sees(t)
		notConfirmed.check(t, "the end of the stream", w.err(t))
	})
}

// Nobody has a turn while a Watch waits for the Confirm of its events (S14), even
// if no row of the page before was sent, since all are free.
func TestWatchConfirmsWithoutTurn(t *testing.T) {
	leading(t, func(f *fleet, a *replica) {
		var leases []*cirrusv1.Lease
		for i := range firstWatchPage + 1 {
			leases = append(leases, a.acquired(fmt.Sprint(i)))
		}
		for _, l := range leases {
			a.released(l)
		}
		f.pass(time.Second)
		f.c.holdIf(opIs("confirm"))
		w := a.watch("")
		page := f.oneHeld()
		a.released(a.acquired("0"))
		page.let()
		events := f.oneHeld()
		if n := len(a.s.turns); n != 0 {
			t.Errorf("%d turns are held while events are confirmed, want none", n)
		}
		f.c.holdIf(nil)
		events.let()
		f.settle()
		w.sees(t, "GRANTED 0 held", "RELEASED 0 free", "FREED 0 free", "SYNCED")
	})
}

// The end of its term ends a Watch.
func TestTakeoverEndsWatch(t *testing.T) {
	inFleet(t, []string{"a", "b"}, func(f *fleet) {
		a, b := f.all[0], f.all[1]
		f.makeLead(a)
		here, through := a.watch(""), b.watch("")
		a.acquired("app")
		here.sees(t, "SYNCED", "GRANTED app held")
		through.sees(t, "SYNCED", "GRANTED app held")
		f.makeLead(b)
		notLeading.check(t, "the leader's stream", here.err(t))
		notLeading.check(t, "the follower's stream", through.err(t))
		after := b.watch("")
		after.sees(t, "PRESENT app held", "SYNCED")
	})
}
