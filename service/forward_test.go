package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"google.golang.org/protobuf/proto"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

// following is a fleet in which a leads and b follows.
func following(t *testing.T, test func(f *fleet, a, b *replica)) {
	t.Helper()
	inFleet(t, []string{"a", "b"}, func(f *fleet) {
		f.makeLead(f.all[0])
		test(f, f.all[0], f.all[1])
	})
}

// Every RPC is passed on, and answered as the leader answers; the answer says
// who that is.
func TestEveryRPCIsPassedOn(t *testing.T) {
	following(t, func(f *fleet, a, b *replica) {
		ctx := context.Background()
		ask := func(what string, do func() error) {
			t.Helper()
			before := f.called("b", "a")
			if err := do(); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			if got := b.answeredBy(); got != "http://a" {
				t.Errorf("%s: answered by %q", what, got)
			}
			if n := f.called("b", "a") - before; n != 1 {
				t.Errorf("%s: %d calls to the leader", what, n)
			}
		}
		var lease *cirrusv1.Lease
		ask("Acquire", func() error {
			resp, err := b.leases.Acquire(ctx, acquireRequest("", "app", 0))
			lease = resp.GetLease()
			return err
		})
		ask("Heartbeat", func() error {
			resp, err := b.leases.Heartbeat(ctx, heartbeatRequest(lease))
			sameLease(t, "Heartbeat", resp.GetLease(), lease)
			return err
		})
		ask("HeartbeatBatch", func() error {
			resp, err := b.leases.HeartbeatBatch(ctx,
				&cirrusv1.HeartbeatBatchRequest{Heartbeats: []*cirrusv1.HeartbeatRequest{heartbeatRequest(lease)}})
			sameLease(t, "HeartbeatBatch", resp.GetResults()[0].GetLease(), lease)
			return err
		})
		ask("CreatePool", func() error {
			resp, err := b.admin.CreatePool(ctx,
				&cirrusv1.CreatePoolRequest{Pool: &cirrusv1.Pool{Name: "east"}})
			if resp.GetPool().GetName() != "east" {
				t.Errorf("CreatePool answers %v", resp)
			}
			return err
		})
		ask("UpdatePool", func() error {
			_, err := b.admin.UpdatePool(ctx,
				&cirrusv1.UpdatePoolRequest{Pool: &cirrusv1.Pool{Name: "east",
					MaxTtl: proto3(time.Minute)}})
			return err
		})
		ask("GetPool", func() error {
			resp, err := b.admin.GetPool(ctx, &cirrusv1.GetPoolRequest{Name: "east"})
			if resp.GetPool().GetMaxTtl().AsDuration() != time.Minute {
				t.Errorf("GetPool answers %v", resp)
			}
			return err
		})
		ask("ListPools", func() error {
			resp, err := b.admin.ListPools(ctx, &cirrusv1.ListPoolsRequest{PageSize: 1})
			if len(resp.GetPools()) != 1 || resp.GetNextPageToken() == "" {
				t.Errorf("ListPools answers %v", resp)
			}
			return err
		})
		ask("ListLeases", func() error {
			resp, err := b.admin.ListLeases(ctx, &cirrusv1.ListLeasesRequest{})
			if len(resp.GetLeases()) != 1 {
				t.Errorf("ListLeases answers %v", resp)
			}
			return err
		})
		w := b.watch("")
		w.sees(t, "PRESENT app held", "SYNCED")
		if got := b.answeredBy(); got != "http://a" {
			t.Errorf("Watch: answered by %q", got)
		}
		ask("Revoke", func() error {
			resp, err := b.admin.Revoke(ctx,
				&cirrusv1.RevokeRequest{NodeId: lease.NodeId, Epoch: lease.Epoch})
			if !resp.GetLease().GetRevoked() {
				t.Errorf("Revoke answers %v", resp)
			}
			return err
		})
		w.sees(t, "REVOKED app quarantined revoked")
		ask("Free", func() error {
			last := lease.FloorMs - 1
			resp, err := b.admin.Free(ctx,
				&cirrusv1.FreeRequest{NodeId: lease.NodeId, Epoch: lease.Epoch,
					LastTimestampMs: &last})
			if resp.GetLease().GetState() != cirrusv1.LeaseState_LEASE_STATE_FREE {
				t.Errorf("Free answers %v", resp)
			}
			return err
		})
		w.sees(t, "RELEASED app free", "FREED app free")
		ask("Release", func() error {
			_, err := b.leases.Release(ctx, releaseRequest(lease, nil))
			return err
		})
		if got := b.metric("cirrus_forwarded_requests_total", "ok"); got != 11 {
			t.Errorf("%v calls are counted, want 11", got)
		}
		a.acquired("direct")
		if got := a.answeredBy(); got != "" {
			t.Errorf("the leader says that %q answered", got)
		}
		w.cancel()
	})
}

// Errors come back as the leader gives them: code, sentence and details.
func TestErrorsArePassedOn(t *testing.T) {
	data := newTestStore(newBatch(t, time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), true, nodes(1)))
	inFleetOf(t, data, []string{"a", "b"}, func(f *fleet) {
		a, b := f.all[0], f.all[1]
		f.makeLead(a)
		lease := a.acquired("app")
		ctx := context.Background()
		for name, ask := range map[string]func(r *replica) error{
			"no free node ID": func(r *replica) error {
				_,
					err := r.leases.Acquire(ctx, acquireRequest("", "other", 0))
				return err
			},
			"malformed app ID": func(r *replica) error {
				_, err := r.leases.Acquire(ctx, &cirrusv1.AcquireRequest{AppId: letters(300)})
				return err
			},
			"ttl too long": func(r *replica) error {
				_, err := r.leases.Acquire(ctx,
					&cirrusv1.AcquireRequest{AppId: "a", Ttl: proto3(time.Hour)})
				return err
			},
			"no such pool": func(r *replica) error {
				_,
					err := r.leases.Acquire(ctx, acquireRequest("west", "a", 0))
				return err
			},
			"lease lost": func(r *replica) error {
				_, err := r.leases.Heartbeat(ctx,
					&cirrusv1.HeartbeatRequest{NodeId: 0, Epoch: lease.Epoch,
						InstanceId: secret("thief")})
				return err
			},
			"heartbeat, malformed instance": func(r *replica) error {
				_, err := r.leases.Heartbeat(ctx,
					&cirrusv1.HeartbeatRequest{Epoch: 1, InstanceId: "short"})
				return err
			},
			"heartbeat, no instance": func(r *replica) error {
				_, err := r.leases.Heartbeat(ctx, &cirrusv1.HeartbeatRequest{Epoch: 1})
				return err
			},
			"heartbeat, malformed pool": func(r *replica) error {
				_, err := r.leases.Heartbeat(ctx,
					&cirrusv1.HeartbeatRequest{Pool: "A", Epoch: 1, InstanceId: secret("x")})
				return err
			},
			"heartbeat, node ID too large": func(r *replica) error {
				_, err := r.leases.Heartbeat(ctx,
					&cirrusv1.HeartbeatRequest{NodeId: 1 << 20, Epoch: 1, InstanceId: secret("x")})
				return err
			},
			"heartbeat, epoch 0": func(r *replica) error {
				_, err := r.leases.Heartbeat(ctx,
					&cirrusv1.HeartbeatRequest{InstanceId: secret("x")})
				return err
			},
			"heartbeat, no such pool": func(r *replica) error {
				_, err := r.leases.Heartbeat(ctx,
					&cirrusv1.HeartbeatRequest{Pool: "west", Epoch: 1, InstanceId: secret("x")})
				return err
			},
			"too many heartbeats": func(r *replica) error {
				_, err := r.leases.HeartbeatBatch(ctx,
					&cirrusv1.HeartbeatBatchRequest{Heartbeats: make([]*cirrusv1.HeartbeatRequest,
						MaxBatch+1)})
				return err
			},
			"release of another's": func(r *replica) error {
				_, err := r.leases.Release(ctx,
					&cirrusv1.ReleaseRequest{Epoch: lease.Epoch, InstanceId: secret("thief")})
				return err
			},
			"watch of no pool": func(r *replica) error { return watchError(ctx, r, "west") },
			"pool exists": func(r *replica) error {
				_, err := r.admin.CreatePool(ctx,
					&cirrusv1.CreatePoolRequest{Pool: &cirrusv1.Pool{}})
				return err
			},
			"forbidden change": func(r *replica) error {
				_, err := r.admin.UpdatePool(ctx,
					&cirrusv1.UpdatePoolRequest{Pool: &cirrusv1.Pool{Layout: &cirrusv1.Layout{TimestampBits: 42, NodeBits: 10, SequenceBits: 10}}})
				return err
			},
		} {
			direct, through := ask(a), ask(b)
			sameError(t, name, through, direct)
			// What is malformed a replica may tell by itself.
			if by := metaOf(through).Get(LeaderHeader); connect.CodeOf(
				through) != connect.CodeInvalidArgument && by != "http://a" {
				t.Errorf("%s: the answer says that %q led", name, by)
			}
		}
		f.c.failIf(opIs("confirm"), errTimeout)
		ask := func(r *replica) error {
			_, err := r.leases.Heartbeat(ctx,
				&cirrusv1.HeartbeatRequest{NodeId: 0, Epoch: 1, InstanceId: secret("thief")})
			return err
		}
		direct, through := ask(a), ask(b)
		sameError(t, "not confirmed", through, direct)
		f.c.failIf(opIs(), nil)
		f.c.holdIf(opIs("commit"))
		f.pass(12 * time.Second)
		one, two := a.heartbeat(lease), b.heartbeat(lease)
		f.pass(2 * storeTimeout)
		sameError(t, "store slow", two.err, one.err)
		storeSlow.check(t, "store slow", two.err)
	})
}

// metaOf is what comes beside an error.
func metaOf(err error) http.Header {
	var e *connect.Error
	if errors.As(err, &e) {
		return e.Meta()
	}
	return http.Header{}
}

func watchError(ctx context.Context, r *replica, pool string) error {
	stream, err := r.admin.Watch(ctx, &cirrusv1.WatchRequest{Pool: pool})
	if err != nil {
		return err
	}
	defer stream.Close()
	for stream.Receive() {
	}
	return stream.Err()
}

func sameError(t testing.TB, what string, got, want error) {
	t.Helper()
	g, w := new(connect.Error), new(connect.Error)
	if !errors.As(got, &g) || !errors.As(want, &w) {
		t.Errorf("%s: got %v, want %v", what, got, want)
		return
	}
	if g.Code() != w.Code() || g.Message() != w.Message() {
		t.Errorf("%s: got %v, want %v", what, g, w)
	}
	gi, gr, gb := details(t, g)
	wi, wr, wb := details(t, w)
	for _, pair := range [][2]proto.Message{{gi, wi}, {gr, wr}, {gb, wb}} {
		if !proto.Equal(pair[0], pair[1]) {
			t.Errorf("%s: got the detail %v, want %v", what, pair[0], pair[1])
		}
	}
	if got, want := g.Meta().Values("Content-Type"), w.Meta().Values("Content-Type"); len(
		got) != len(want) {
		t.Errorf("%s: the headers were passed on, too: %v", what, g.Meta())
	}
}

// A request's deadline goes along, and its end ends it at the leader, too.
func TestDeadlineAndCancelArePassedOn(t *testing.T) {
	data := newTestStore(newBatch(t, time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), true, nodes(1)))
	inFleetOf(t, data, []string{"a", "b"}, func(f *fleet) {
		a, b := f.all[0], f.all[1]
		f.makeLead(a)
		a.acquired("app")
		waiting := func() int {
			of := a.s.state.Load().term
			of.mu.Lock()
			defer of.mu.Unlock()
			return of.waiting.len()
		}
		queued := b.acquire("patient", time.Minute)
		late := start(func(ctx context.Context) (*cirrusv1.AcquireResponse, error) {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			return b.leases.Acquire(ctx, acquireRequest("", "hurried", time.Minute))
		})
		f.settle()
		if n := waiting(); n != 2 {
			t.Fatalf("%d wait at the leader, want 2", n)
		}
		f.pass(5 * time.Second)
		late.failed(t, "the one with a deadline", wanted{code: connect.CodeDeadlineExceeded})
		if n := waiting(); n != 1 {
			t.Errorf("%d wait at the leader after the deadline, want 1", n)
		}
		queued.cancel()
		f.settle()
		if n := waiting(); n != 0 {
			t.Errorf("%d wait at the leader after the cancellation, want 0", n)
		}
		w := b.watch("")
		w.sees(t, "PRESENT app held", "SYNCED")
		w.cancel()
		f.settle()
		of := a.s.state.Load().term
		of.mu.Lock()
		defer of.mu.Unlock()
		if n := len(of.watchers); n != 0 {
			t.Errorf("%d watch at the leader, want 0", n)
		}
	})
}

// S10: an empty instance ID is filled in before the request goes on, so that an
// answer that is lost costs no second lease.
func TestEmptyInstanceIDIsFilledIn(t *testing.T) {
	following(t, func(f *fleet, a, b *replica) {
		f.inject("b", "a", faultMute)
		c := start(func(ctx context.Context) (*cirrusv1.AcquireResponse, error) {
			return b.leases.Acquire(ctx, &cirrusv1.AcquireRequest{AppId: "app"})
		})
		f.settle()
		c.waits(t, "the Acquire")
		f.pass(3 * retryPause)
		f.inject("b", "a", 0)
		lease := after(f, c, time.Second).done(t, "the Acquire").Lease
		if f.called("b", "a") < 3 {
			t.Errorf("it was sent %d times", f.called("b", "a"))
		}
		if rows := a.list(""); len(rows) != 1 || rows[0].Epoch != lease.Epoch ||
			lease.InstanceId == "" {
			t.Errorf("the leader has %v, the app %v", rows, lease)
		}
	})
}

// What must not be done twice is not sent again once the leader may have seen
// it; it is if the leader surely has not.
func TestUpdateIsSentOnce(t *testing.T) {
	following(t, func(f *fleet, a, b *replica) {
		f.inject("b", "a", faultMute)
		c := b.updatePool(40 * time.Second)
		f.settle()
		c.failed(t, "the update",
			wanted{code: connect.CodeUnavailable, reason: reasonNoLeader, retry: true,
				words: "not known whether this was done"})
		if n := f.called("b", "a"); n != 1 {
			t.Errorf("it was sent %d times", n)
		}
		if got := a.getPool().Ttl.AsDuration(); got != 40*time.Second {
			t.Errorf("the TTL is %v", got)
		}
		f.inject("b", "a", faultCut)
		c = b.updatePool(45 * time.Second)
		f.pass(3 * retryPause)
		c.waits(t, "the update that could not be sent")
		f.inject("b", "a", 0)
		after(f, c, time.Second).done(t, "the update that could not be sent")

		f.c.lose(a.member)
		f.settle()
		c = b.updatePool(50 * time.Second)
		f.settle()
		c.waits(t, "the update without a leader")
		f.c.lead(a.member)
		after(f, c, time.Second).done(t, "the update")
	})
}

// Without a leader a request waits a while, and then hears so; news of one
// wakes it at once. Its own deadline comes first.
func TestWaitsForALeader(t *testing.T) {
	inFleet(t, []string{"a", "b"}, func(f *fleet) {
		a, b := f.all[0], f.all[1]
		begun := time.Now()
		c := b.acquire("app", 0)
		hurried := start(func(ctx context.Context) (*cirrusv1.ListPoolsResponse, error) {
			ctx, cancel := context.WithTimeout(ctx, leaderTimeout/2)
			defer cancel()
			return b.admin.ListPools(ctx, &cirrusv1.ListPoolsRequest{})
		})
		f.pass(leaderTimeout / 2)
		hurried.failed(t, "one with a deadline", wanted{code: connect.CodeDeadlineExceeded})
		f.pass(leaderTimeout/2 - time.Millisecond)
		c.waits(t, "an Acquire")
		f.pass(2 * time.Millisecond)
		c.failed(t, "an Acquire without a leader", noLeader)
		if took := c.at.Sub(begun); took != leaderTimeout {
			t.Errorf("it waited %v", took)
		}
		c = b.acquire("app", 0)
		f.pass(leaderTimeout / 2)
		f.makeLead(a)
		// which may not have begun its term yet when asked
		after(f, c, leaderTimeout).done(t, "an Acquire as one leads")
		watched := b.metric("cirrus_refusals_total", string(reasonNoLeader))
		if watched != 1 {
			t.Errorf("%v refusals are counted", watched)
		}

		// One that leads itself in the end answers itself.
		f.c.lose(a.member)
		f.settle()
		c = b.acquire("more", 0)
		f.pass(leaderTimeout / 2)
		f.makeLead(b)
		after(f, c, 2*retryPause).done(t, "an Acquire as this one leads")
	})
}

// Where nobody has led for longer than a session lasts, a request hears so at
// once, until there is news.
func TestLongWithoutALeader(t *testing.T) {
	inFleet(t, []string{"a", "b"}, func(f *fleet) {
		a, b := f.all[0], f.all[1]
		f.pass(b.member.SessionTTL() + time.Millisecond)
		c := b.acquire("app", 0)
		f.settle()
		c.failed(t, "an Acquire where nobody leads", noLeader)
		f.makeLead(a)
		after(f, b.acquire("app", 0), leaderTimeout).done(t, "an Acquire as one leads")
		f.c.lose(a.member)
		f.settle()
		c = b.acquire("more", 0)
		f.settle()
		c.waits(t, "an Acquire where one has led just now")
		f.pass(leaderTimeout)
		c.failed(t, "an Acquire where one has led just now", noLeader)
	})
}

// How long nobody has led counts from the start of this replica, not of its
// machine.
func TestWaitsForALeaderAfterStart(t *testing.T) {
	inFleet(t, nil, func(f *fleet) {
		a := f.start("a", func(c *Config) { c.Steady = steadyClock{time.Now().Add(-time.Hour)} })
		c := a.acquire("app", 0)
		f.settle()
		c.waits(t, "an Acquire where nobody leads yet")
		f.makeLead(a)
		after(f, c, leaderTimeout).done(t, "an Acquire as one leads")
	})
}

// A leader that can't be reached is as good as none; the request that it may
// have seen goes to the next.
func TestLeaderCantBeReached(t *testing.T) {
	inFleet(t, []string{"a", "b", "c"}, func(f *fleet) {
		a, b, c := f.all[0], f.all[1], f.all[2]
		f.makeLead(a)
		lease := b.acquired("app")
		f.inject("b", "a", faultCut)
		cut := b.heartbeat(lease)
		after(f, cut, 3*time.Second).failed(t, "a heartbeat that can't be forwarded", noLeader)

		f.inject("b", "a", 0)
		f.pass(2 * probePauseMax)
		after(f, b.heartbeat(lease), time.Second).done(t, "a heartbeat once the way is clear")
		f.inject("b", "a", faultStalled)
		stalled, listing := b.heartbeat(lease),
			start(func(ctx context.Context) (*cirrusv1.ListLeasesResponse, error) {
				return b.admin.ListLeases(ctx, &cirrusv1.ListLeasesRequest{})
			})
		f.pass(10 * time.Second)
		stalled.waits(t, "a heartbeat at a leader that is stopped")
		f.makeLead(c)
		sameLease(t, "the heartbeat", after(f, stalled, time.Second).done(t, "the heartbeat").Lease,
			lease)
		after(f, listing, time.Second).done(t, "the listing")
		if got := b.answeredBy(); got != "http://c" {
			t.Errorf("answered by %q", got)
		}
	})
}

// One probe finds out for all who wait whether a leader leads. After a session's
// TTL the replica says that it is not ready, and why, and refuses at once.
func TestLeaderInDoubt(t *testing.T) {
	inFleet(t, []string{"a", "b"}, func(f *fleet) {
		a, b := f.all[0], f.all[1]
		f.makeLead(a)
		b.acquired("app")
		f.c.lose(a.member)
		f.settle()
		f.c.sees(b.member, a.member.self) // which leads no more
		f.settle()
		before, begun := f.called("b", "a"), time.Now()
		var all []*acquireCall
		for i := range 100 {
			all = append(all, b.acquire(fmt.Sprint("app-", i), 0))
		}
		f.pass(leaderTimeout + time.Millisecond)
		for _, c := range all {
			c.failed(t, "an Acquire without a leader", noLeader)
		}
		// Those that came before the first answer, and the probes.
		if n := f.called("b", "a") - before; n > 110 {
			t.Errorf("%d calls for 100 requests within %v", n, leaderTimeout)
		}
		before = f.called("b", "a")
		for i := range 100 {
			b.acquire(fmt.Sprint("more-", i), 0)
		}
		f.pass(leaderTimeout + time.Millisecond)
		if n := f.called("b", "a") - before; n > 5 {
			t.Errorf("%d calls for 100 requests at a leader in doubt", n)
		}
		_, ready, news := b.s.State()
		if !ready {
			t.Errorf("it is not ready after %v of doubt", time.Since(begun))
		}
		f.pass(b.member.SessionTTL() - time.Since(begun) + 2*probePauseMax)
		select {
		case <-news:
		default:
			t.Error("that it is no longer ready was no news")
		}
		if text, ready, _ := b.s.State(); ready || !strings.Contains(text, "following http://a") ||
			!strings.Contains(text, "does not lead") {
			t.Errorf("ready is %v: %q", ready, text)
		}
		asked := time.Now()
		late := b.acquire("late", 0)
		f.settle()
		late.failed(t, "an Acquire at a leader that has long been in doubt", noLeader)
		if took := late.at.Sub(asked); took != 0 {
			t.Errorf("it was refused after %v", took)
		}
		if n := b.logged("can't be forwarded"); n != 1 {
			t.Errorf("it was told %d times", n)
		}
		f.makeLead(a)
		f.pass(2 * probePauseMax)
		if text, ready, _ := b.s.State(); !ready || text != "following http://a" {
			t.Errorf("ready is %v: %q", ready, text)
		}
		b.acquired("again")
	})
}

// A dial that times out is no deadline of the asker's: the leader can't be
// reached.
func TestDialTimesOut(t *testing.T) {
	following(t, func(f *fleet, a, b *replica) {
		lease := b.acquired("app")
		f.inject("b", "a", faultLost)
		after(f, b.heartbeat(lease), 3*time.Second).failed(t, "a heartbeat", noLeader)
		after(f, b.acquire("other", 0), 3*time.Second).failed(t, "an Acquire", noLeader)
		if text, _, _ := b.s.State(); !strings.Contains(text, "nothing can be forwarded") {
			t.Errorf("it is %q", text)
		}
	})
}

// A call that took too long casts no doubt on a leader that answers probes. It is
// not the asker's deadline either.
func TestSlowAnswerIsNoDoubt(t *testing.T) {
	following(t, func(f *fleet, a, b *replica) {
		lease := b.acquired("app")
		f.inject("b", "a", faultSlow)
		beat := b.heartbeat(lease)
		f.pass(2 * retryPause)
		if text, _, _ := b.s.State(); text != "following http://a" {
			t.Errorf("it is %q", text)
		}
		f.inject("b", "a", 0)
		after(f, beat, leaderTimeout).done(t, "the heartbeat")
	})
}

// A leader whose store is slow does lead: it answers a probe when it has waited
// for its store.
func TestSlowStoreIsNoDoubt(t *testing.T) {
	following(t, func(f *fleet, a, b *replica) {
		f.c.holdIf(opIs("confirm"))
		before := f.called("b", "a")
		for passed := time.Duration(
			0); passed < 3*b.member.SessionTTL(); passed += 100 * time.Millisecond {
			f.pass(100 * time.Millisecond)
			if text, _, _ := b.s.State(); text != "following http://a" {
				t.Fatalf("after %v it is %q", passed, text)
			}
		}
		if f.called("b", "a")-before < 2 {
			t.Error("the leader was not asked")
		}
	})
}

// What nobody asks for, a replica that follows finds out by itself.
func TestIdleFollower(t *testing.T) {
	inFleet(t, []string{"a", "b"}, func(f *fleet) {
		a, b := f.all[0], f.all[1]
		f.makeLead(a)
		f.inject("b", "a", faultCut)
		f.pass(2*b.member.SessionTTL() + 2*probePauseMax)
		if text, ready, _ := b.s.State(); ready ||
			!strings.Contains(text, "following http://a, to which nothing can be forwarded: ") {
			t.Errorf("ready is %v: %q", ready, text)
		}
		if b.logged("can't be forwarded") != 1 {
			t.Error("why was not told once")
		}
	})
}

// A wait for a free ID goes on at the next leader, with what is left of it.
func TestQueueAcrossTakeover(t *testing.T) {
	data := newTestStore(newBatch(t, time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), true, nodes(1)))
	inFleetOf(t, data, []string{"a", "b", "c"}, func(f *fleet) {
		a, b, c := f.all[0], f.all[1], f.all[2]
		f.makeLead(a)
		lease := a.acquired("app")
		queued, short := b.acquire("patient", time.Minute), b.acquire("short", 20*time.Second)
		f.pass(15 * time.Second)
		f.makeLead(c)
		f.pass(4 * time.Second)
		short.waits(t, "a wait of 20 s after 19")
		f.pass(time.Second + retryPause)
		short.failed(t, "a wait of 20 s", noFree)
		unused := lease.FloorMs - 1
		c.release(lease, &unused)
		f.settle()
		if got := queued.done(t, "the one that waits").Lease; got.Epoch <= lease.Epoch {
			t.Errorf("got %v after %v", got, lease)
		}
	})
}

// No request goes round: what one replica passes on, another does not.
func TestNoLoops(t *testing.T) {
	inFleet(t, []string{"a", "b"}, func(f *fleet) {
		a, b := f.all[0], f.all[1]
		f.c.sees(a.member, b.member.self)
		f.c.sees(b.member, a.member.self)
		f.settle()
		c := a.acquire("app", 0)
		after(f, c, 3*time.Second).failed(t, "an Acquire", noLeader)
		if sent, back := f.called("a", "b"), f.called("b", "a"); back != 0 || sent < 2 ||
			sent > int(leaderTimeout/retryPause)+1 {
			t.Errorf("%d calls to b, %d back", sent, back)
		}
		if got := b.metric("cirrus_forwarded_requests_total"); got != 0 {
			t.Errorf("b passed on %v requests", got)
		}
		if w := watchError(context.Background(), a, ""); reasonOf(w) != reasonNoLeader {
			t.Errorf("Watch: %v", w)
		}
	})
}

// A replica of another store is refused. It says so as an error, and is not ready.
func TestWrongStore(t *testing.T) {
	inFleet(t, []string{"a", "b"}, func(f *fleet) {
		a, b := f.all[0], f.all[1]
		b.member.id = "store-2"
		b.stop() // its peer is made anew with the other ID
		b2 := f.startAt("b2", "http://b2",
			func(c *Config) { c.Cluster.(*testMember).id = "store-2" })
		f.makeLead(a)
		wrong := wanted{code: connect.CodeUnavailable, reason: reasonWrongStore,
			words: "another store"}
		for range 2 {
			c := b2.acquire("app", 0)
			f.settle()
			c.failed(t, "an Acquire", wrong)
			beat := b2.forged(0)
			f.pass(gatherTime)
			beat.failed(t, "a heartbeat", wrong)
		}
		asked := f.called("b2", "a")
		f.pass(time.Minute)
		if n := f.called("b2", "a") - asked; n < 10 || n > int(2*time.Minute/probePauseMax) {
			t.Errorf("the leader was asked %d times in a minute whether it serves this store", n)
		}
		if a.logged("store-2") == 0 || a.logged("level=ERROR") != 0 ||
			b2.logged("leads to a replica of another store") != 1 {
			t.Errorf("the logs don't say so:\n%s\n%s", a.log, b2.log)
		}
		if got := b2.metric("cirrus_refusals_total",
			string(reasonWrongStore)); got != float64(f.called("b2", "a")) {
			t.Errorf("the metrics count %v", got)
		}
		if text, ready, _ := b2.s.State(); ready ||
			!strings.Contains(text,
				"following http://a, to which nothing can be forwarded: a replica of another store") {
			t.Errorf("ready is %v: %q", ready, text)
		}
		if n := len(a.list("")); n != 0 {
			t.Errorf("the leader granted %d leases", n)
		}
	})
}

// What a leader answers again that served another store is no longer its
// follower's doubt.
func TestWrongStoreEnds(t *testing.T) {
	inFleet(t, []string{"a", "b"}, func(f *fleet) {
		a, b := f.all[0], f.all[1]
		f.c.mu.Lock()
		b.member.id = "store-2"
		f.c.mu.Unlock()
		f.makeLead(a)
		f.pass(2 * b.member.SessionTTL()) // an idle follower finds out by itself
		if b.s.Ready() || b.logged("leads to a replica of another store") != 1 {
			t.Errorf("ready is %v; the log:\n%s", b.s.Ready(), b.log)
		}
		f.c.mu.Lock()
		b.member.id = a.member.id
		f.c.mu.Unlock()
		f.pass(2 * probePauseMax)
		if text, ready, _ := b.s.State(); !ready || text != "following http://a" {
			t.Errorf("ready is %v: %q", ready, text)
		}
	})
}

// Anybody can send the headers of a replica of another store. That is refused,
// and rings no alarm.
func TestHeadersOfAnotherStore(t *testing.T) {
	leading(t, func(f *fleet, a *replica) {
		for range 100 {
			req := must(http.NewRequest(http.MethodPost,
				"http://cirrus/cirrus.v1.AdminService/GetPool", strings.NewReader("{}")))
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set(memberHeader, "x")
			req.Header.Set(storeHeader, letters(1000))
			resp, err := a.http.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body := must(io.ReadAll(resp.Body))
			if err := resp.Body.Close(); err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != http.StatusServiceUnavailable ||
				!strings.Contains(string(body), string(reasonWrongStore)) {
				t.Fatalf("%s: %s", resp.Status, body)
			}
		}
		if a.logged("another store") != 1 || a.logged("level=ERROR") != 0 ||
			a.logged(letters(1000)) != 0 {
			t.Errorf("the log says:\n%s", a.log)
		}
		if got := a.metric("cirrus_refusals_total", string(reasonWrongStore)); got != 0 {
			t.Errorf("the alarm's metric counts %v of them", got)
		}
		if got := a.metric("cirrus_foreign_requests_total"); got != 100 {
			t.Errorf("%v are counted, want 100", got)
		}
	})
}

// The store's ID is asked for when it counts: a replica that starts before its
// store knows of none.
func TestStoreIDIsKnownLate(t *testing.T) {
	inFleet(t, nil, func(f *fleet) {
		unborn := func(c *Config) { c.Cluster.(*testMember).unborn = true }
		a, b := f.start("a", unborn), f.start("b", unborn)
		f.settle()
		f.c.sees(b.member, a.member.self)
		early := b.acquire("early", 0)
		after(f, early, 3*time.Second).failed(t, "an Acquire at one that knows no store", noLeader)
		f.c.mu.Lock()
		a.member.unborn, b.member.unborn = false, false
		f.c.mu.Unlock()
		f.makeLead(a)
		c := b.acquire("app", 0)
		after(f, c, time.Second).done(t, "an Acquire")
	})
}

// Two that advertise one address are told apart by their IDs: the one that does
// not lead says so, and does not call itself.
func TestSameAddress(t *testing.T) {
	inFleet(t, []string{"a"}, func(f *fleet) {
		a := f.all[0]
		twin := f.startAt("twin", "http://a/")
		f.makeLead(a)
		if twin.logged("advertises the same address") != 1 {
			t.Errorf("the log does not say so:\n%s", twin.log)
		}
		c := twin.acquire("app", 0)
		after(f, c, 3*time.Second).failed(t, "an Acquire", noLeader)
		if n := f.called("twin", "a"); n != 0 {
			t.Errorf("it called itself %d times", n)
		}
		if got := twin.probe("/readyz"); got != "503 no leader known" {
			t.Errorf("/readyz says %s", got)
		}
	})
}

// A follower that stops lets what is under way end.
func TestFollowerStops(t *testing.T) {
	following(t, func(f *fleet, a, b *replica) {
		f.c.holdIf(grantOf)
		granted := b.acquire("app", 0)
		f.settle()
		watch := b.watch("")
		held := f.oneHeld()
		b.s.StopRequests()
		f.pass(stopGrace / 2)
		granted.waits(t, "the grant")
		held.let()
		f.settle()
		granted.done(t, "the grant that was under way")
		f.pass(stopGrace)
		shuttingDown.check(t, "the stream", watch.err(t))
		if a.member.resigned != 0 {
			t.Error("the leader resigned")
		}
	})
}

// The metrics of replicas are well named, too.
func TestMetricsOfReplicas(t *testing.T) {
	following(t, func(f *fleet, a, b *replica) {
		b.acquired("app")
		c := b.forged(0)
		f.pass(gatherTime)
		c.failed(t, "a heartbeat", lostLease)
		trips := NewRoundTrips()
		r := f.start("c", func(cfg *Config) { cfg.RoundTrips = trips })
		trips.Observe("commit", time.Millisecond, nil)
		trips.Observe("commit", time.Second, errTimeout)
		for _, of := range []*replica{a, b, r} {
			problems, err := promlint.NewWithMetricFamilies(must(of.s.registry().Gather())).Lint()
			if err != nil || len(problems) != 0 {
				t.Errorf("%s: %v, %v", of.name, problems, err)
			}
		}
		shown := r.probe("/metrics")
		for _, name := range []string{"cirrus_leading 0", "cirrus_takeovers_total 0",
			"cirrus_takeover_seconds_count 0",
			`cirrus_etcd_round_trip_seconds_count{operation="commit",outcome="error"} 1`,
			"cirrus_mark_left_seconds 0"} {
			if !strings.Contains(shown, name) {
				t.Errorf("the metrics have no %q:\n%s", name, shown)
			}
		}
		if got := b.metric("cirrus_forwarded_requests_total", "/cirrus.v1.LeaseService/Acquire",
			"ok"); got != 1 {
			t.Errorf("%v Acquires are counted", got)
		}
		grants := a.metric("cirrus_grants_total")
		f.makeLead(b)
		f.makeLead(a)
		if a.metric("cirrus_grants_total") != grants || a.metric("cirrus_takeovers_total") != 2 {
			t.Error("the metrics did not survive the term")
		}
	})
}
