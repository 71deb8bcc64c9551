package service

import (
	"context"
	"fmt"
	"testing"
	"time"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

// A lone heartbeat waits a millisecond for company, and no longer; those that
// are alone after it don't wait, until one has company again.
func TestLoneHeartbeat(t *testing.T) {
	following(t, func(f *fleet, a, b *replica) {
		leases := a.leasesOf(3)
		waits := func(lease *cirrusv1.Lease) {
			t.Helper()
			c := b.heartbeat(lease)
			f.pass(gatherTime - time.Microsecond)
			c.waits(t, "a lone heartbeat")
			f.pass(time.Microsecond)
			sameLease(t, "the heartbeat", c.done(t, "a lone heartbeat").Lease, lease)
			f.pass(time.Second)
		}
		one, other := b.heartbeat(leases[1]), b.heartbeat(leases[2])
		f.pass(gatherTime)
		one.done(t, "one of two")
		other.done(t, "the other")
		waits(leases[1])
		for range 3 {
			c := b.heartbeat(leases[1])
			f.settle()
			sameLease(t, "the heartbeat", c.done(t, "one that is alone again").Lease, leases[1])
			f.pass(time.Second)
		}
		// Another is under way for long, and two that come meanwhile go together.
		f.c.holdIf(grantOf)
		back := a.release(leases[0], nil)
		held := f.oneHeld()
		f.c.holdIf(nil)
		slow := b.heartbeat(leases[0])
		f.settle()
		one, other = b.heartbeat(leases[1]), b.heartbeat(leases[2])
		f.pass(gatherLong)
		one.done(t, "one of two")
		other.done(t, "the other")
		held.let()
		f.settle()
		back.done(t, "the release")
		slow.failed(t, "the slow one", lostLease)
		waits(leases[1])
	})
}

// leasesOf are so many leases.
func (r *replica) leasesOf(n int) (leases []*cirrusv1.Lease) {
	r.t.Helper()
	for i := range n {
		leases = append(leases, r.acquired(fmt.Sprintf("app-%d", i)))
	}
	return leases
}

// What comes within a millisecond goes in one call, and what comes while one is
// in flight in the next, at once.
func TestHeartbeatsGather(t *testing.T) {
	following(t, func(f *fleet, a, b *replica) {
		leases := a.leasesOf(60)
		var all []*call[*cirrusv1.HeartbeatResponse]
		beat := func(of []*cirrusv1.Lease) {
			for _, l := range of {
				all = append(all, b.heartbeat(l))
			}
			f.settle()
		}
		// A batch that takes a while: one of its records has a write under way.
		f.c.holdIf(grantOf)
		back := a.release(leases[0], nil)
		held := f.oneHeld()
		f.c.holdIf(nil)

		beat(leases[:10])
		f.pass(gatherTime / 2)
		beat(leases[10:20])
		f.pass(gatherTime / 2)
		if n := f.called("b", "a"); n != 1 {
			t.Fatalf("%d calls, want 1", n)
		}
		beat(leases[20:40])
		f.pass(2 * gatherTime)
		if n := f.called("b", "a"); n != 1 {
			t.Fatalf("%d calls while the first is in flight, want 1", n)
		}
		held.let()
		f.settle()
		if n := f.called("b", "a"); n != 2 {
			t.Fatalf("%d calls once the first is answered, want 2", n)
		}
		back.done(t, "the release")
		all[0].failed(t, "the heartbeat of the released lease", lostLease)
		for i, c := range all[1:] {
			sameLease(t, "a heartbeat", c.done(t, "a heartbeat").Lease, leases[i+1])
		}
		if got := b.histogram("cirrus_gathered_heartbeats"); got != [2]float64{2, 40} {
			t.Errorf("the metric counts %v, want 2 calls of 40", got)
		}
	})
}

// A call that takes long holds up those that come after it for 10 ms only.
func TestSlowBatchHoldsUpNoOther(t *testing.T) {
	following(t, func(f *fleet, a, b *replica) {
		leases := a.leasesOf(2)
		f.c.holdIf(grantOf)
		a.release(leases[0], nil)
		held := f.oneHeld()
		f.c.holdIf(nil)
		slow := b.heartbeat(leases[0])
		f.pass(gatherTime)
		for range 3 {
			begun := time.Now()
			quick := b.heartbeat(leases[1])
			after(f, quick, 20*time.Millisecond).done(t, "another heartbeat")
			if took := quick.at.Sub(begun); took > gatherLong {
				t.Errorf("it took %v", took)
			}
		}
		slow.waits(t, "the slow one")
		held.let()
		f.settle()
		slow.failed(t, "the slow one", lostLease)
	})
}

// More than a batch may have go in several.
func TestGatheredBatchIsBounded(t *testing.T) {
	crowd := gatherer{waiting: make([]*beat, MaxBatch+500)}
	if first, second := len(crowd.take()), len(crowd.next()); first != MaxBatch || second != 500 {
		t.Errorf("%d went, and then %d", first, second)
	}
	following(t, func(f *fleet, a, b *replica) {
		var all []*call[*cirrusv1.HeartbeatResponse]
		for i := range MaxBatch + 500 {
			all = append(all, b.forged(i%1024))
		}
		f.pass(10 * gatherTime)
		for _, c := range all {
			c.failed(t, "a heartbeat", lostLease)
		}
		if got := b.histogram("cirrus_gathered_heartbeats"); got[0] < 2 || got[1] != MaxBatch+500 {
			t.Errorf("the metric counts %v", got)
		}
	})
}

// What is malformed is refused where it arrives.
func TestMalformedHeartbeatGoesNoFurther(t *testing.T) {
	following(t, func(f *fleet, _, b *replica) {
		_, err := b.leases.Heartbeat(context.Background(),
			&cirrusv1.HeartbeatRequest{Epoch: 1, InstanceId: "short"})
		badInput("instance_id").check(t, "a malformed heartbeat", err)
		if n := f.called("b", "a"); n != 0 {
			t.Errorf("it cost the leader %d calls", n)
		}
	})
}

// Whoever gives up leaves alone.
func TestGaveUpLeavesAlone(t *testing.T) {
	following(t, func(f *fleet, a, b *replica) {
		handlers := leases{b.s}
		leases := a.leasesOf(2)
		stays := b.heartbeat(leases[1])
		gone := start(func(ctx context.Context) (*cirrusv1.HeartbeatResponse, error) {
			// no connection between that would end for it
			return handlers.Heartbeat(ctx, heartbeatRequest(leases[0]))
		})
		f.settle()
		gone.cancel()
		f.settle()
		if !gone.ended() {
			t.Error("it waits for the batch")
		}
		f.pass(gatherTime)
		stays.done(t, "the other")
		if got := b.histogram("cirrus_gathered_heartbeats"); got != [2]float64{1, 2} {
			t.Errorf("the metric counts %v", got)
		}
	})
}

// Each gets the answer that is its own.
func TestBatchesAreAnsweredOneByOne(t *testing.T) {
	following(t, func(f *fleet, a, b *replica) {
		leases := a.leasesOf(3)
		unused := leases[1].FloorMs - 1
		a.release(leases[1], &unused)
		f.settle()
		var all []*call[*cirrusv1.HeartbeatResponse]
		for _, l := range leases {
			all = append(all, b.heartbeat(l))
		}
		f.pass(gatherTime)
		sameLease(t, "the first", all[0].done(t, "the first").Lease, leases[0])
		all[1].failed(t, "the second", lostLease)
		sameLease(t, "the third", all[2].done(t, "the third").Lease, leases[2])
	})
}

// A leader that ends fails the whole batch, which goes to the next.
func TestBatchGoesToTheNextLeader(t *testing.T) {
	inFleet(t, []string{"a", "b", "c"}, func(f *fleet) {
		a, b, c := f.all[0], f.all[1], f.all[2]
		f.makeLead(a)
		leases := a.leasesOf(5)
		f.c.lead(c.member) // a is not told
		f.settle()
		f.c.failIf(func(o *clusterOp) bool { return o.who == a.member.self.ID }, errTimeout)
		f.c.sees(b.member, a.member.self)
		var all []*call[*cirrusv1.HeartbeatResponse]
		f.c.lose(a.member)
		for _, l := range leases {
			all = append(all, b.heartbeat(l))
		}
		f.pass(100 * time.Millisecond)
		for _, call := range all {
			call.waits(t, "a heartbeat at one that leads no more")
		}
		f.c.sees(b.member, c.member.self)
		f.pass(100 * time.Millisecond)
		for i, call := range all {
			sameLease(t, "a heartbeat", call.done(t, "a heartbeat").Lease, leases[i])
		}
	})
}

// histogram is a histogram's count and sum.
func (r *replica) histogram(name string) (got [2]float64) {
	r.t.Helper()
	for _, fam := range must(r.s.registry().Gather()) {
		if fam.GetName() == name {
			h := fam.Metric[0].GetHistogram()
			got = [2]float64{float64(h.GetSampleCount()), h.GetSampleSum()}
		}
	}
	return got
}

// A batch at a follower is passed on as it is.
func TestBatchIsPassedOnAsItIs(t *testing.T) {
	following(t, func(f *fleet, a, b *replica) {
		leases := a.leasesOf(3)
		var reqs []*cirrusv1.HeartbeatRequest
		for _, l := range leases {
			reqs = append(reqs, heartbeatRequest(l))
		}
		reqs[1].InstanceId = "short"
		resp, err := b.leases.HeartbeatBatch(context.Background(),
			&cirrusv1.HeartbeatBatchRequest{Heartbeats: reqs})
		if err != nil || len(resp.Results) != 3 {
			t.Fatalf("got %v, %v", resp, err)
		}
		sameLease(t, "the first", resp.Results[0].GetLease(), leases[0])
		if resp.Results[1].GetError().GetCode() != "invalid_argument" {
			t.Errorf("the second got %v", resp.Results[1])
		}
		if got := b.histogram("cirrus_gathered_heartbeats"); got[0] != 0 {
			t.Errorf("it was gathered: %v", got)
		}
	})
}
