package service

import (
	"context"
	"testing"
	"time"

	"connectrpc.com/connect"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/snowflake"
	"github.com/cirrus-id/cirrus/store"
)

// S7: where there is no store, the leader makes a suspicious one, with the pool
// that it is told; a second replica takes what it finds.
func TestStoreIsCreated(t *testing.T) {
	inFleetOf(t, nil, nil, func(f *fleet) {
		ttl, last := 25*time.Second, snowflake.NodeID(9)
		pool := func(c *Config) {
			c.DefaultPool = fencing.PoolChange{TTL: &ttl, MaxTTL: &ttl,
				Last: &last}
		}
		a := f.start("a", pool)
		f.makeLead(a)
		if meta := f.c.data.meta; meta.Vouched || meta.ID == (fencing.StoreID{}) ||
			len(f.c.data.pools) != 1 {
			t.Errorf("the store is %+v with %v", meta, f.c.data.pools)
		}
		got := a.getPool()
		if got.Ttl.AsDuration() != ttl || got.NodeIds.Last != 9 || got.Opened {
			t.Errorf("the pool is %v", got)
		}
		if a.logged("there was no store") != 1 || a.logged("grants nothing yet") != 1 {
			t.Errorf("the log does not say so:\n%s", a.log)
		}
		early := a.acquire("app", 0)
		f.settle()
		early.failed(t, "an Acquire",
			wanted{code: connect.CodeUnavailable, reason: fencing.ReasonNotOpened, retry: true})
		if opens := a.s.Unopened()[fencing.DefaultPool]; opens != ttl+30*time.Second+10*time.Second {
			t.Errorf("it opens in %v", opens)
		}

		// A takeover is a restart: it begins to count anew. What a replica's
		// own flags say holds while it leads.
		f.pass(30 * time.Second)
		longer := 40 * time.Second
		b := f.start("b",
			func(c *Config) { c.DefaultPool = fencing.PoolChange{TTL: &longer, MaxTTL: &longer} })
		f.makeLead(b)
		if got := b.getPool(); got.Ttl.AsDuration() != longer || got.NodeIds.Last != 9 {
			t.Errorf("the pool is %v", got)
		}
		if opens := b.s.Unopened()[fencing.DefaultPool]; opens != longer+30*time.Second+10*time.Second {
			t.Errorf("it opens in %v", opens)
		}
	})
}

func (r *replica) getPool() *cirrusv1.Pool {
	r.t.Helper()
	resp, err := r.admin.GetPool(context.Background(), &cirrusv1.GetPoolRequest{})
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.Pool
}

// Two that create at once: the second finds a store, and serves that.
func TestStoreIsCreatedOnce(t *testing.T) {
	inFleetOf(t, nil, []string{"a"}, func(f *fleet) {
		f.c.holdIf(opIs("create"))
		f.c.lead(f.all[0].member)
		created := f.oneHeld()
		f.c.data = newTestStore(newBatch(t, time.Now(), true, nil)) // cirrus init, meanwhile
		f.c.holdIf(nil)
		created.let()
		f.settle()
		f.all[0].acquired("app")
	})
}

// What the default pool can't be is logged, and not in the way.
func TestDefaultPoolThatCantBe(t *testing.T) {
	inFleet(t, nil, func(f *fleet) {
		first := snowflake.NodeID(5)
		a := f.start("a", func(c *Config) { c.DefaultPool.First = &first })
		f.makeLead(a)
		a.acquired("app")
		if a.logged("the default pool stays as it is stored") != 1 {
			t.Errorf("it is not logged:\n%s", a.log)
		}
	})
}

// A start that the rules refuse lets others lead, says why, and tries again.
func TestRefusedStarts(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(f *fleet, a *replica)
		mend  func(f *fleet, a *replica)
		words string
	}{
		"wall clock": {
			func(_ *fleet, a *replica) { a.wall.lead.Store(-int64(48 * time.Hour)) },
			func(_ *fleet, a *replica) { a.wall.lead.Store(0) },
			"wall clock",
		},
		"session TTL": {
			func(_ *fleet, a *replica) { a.member.session = 8 * time.Second },
			func(_ *fleet, a *replica) { a.member.session = 7 * time.Second },
			"session TTL",
		},
		"damaged": {
			func(f *fleet, _ *replica) { f.c.failIf(opIs("load"), store.ErrDamaged) },
			func(f *fleet, _ *replica) { f.c.failIf(opIs(), nil) },
			store.ErrDamaged.Error(),
		},
		"unfinished": {
			func(f *fleet, _ *replica) { f.c.failIf(opIs("load"), store.ErrUnfinished) },
			func(f *fleet, _ *replica) { f.c.failIf(opIs(), nil) },
			store.ErrUnfinished.Error(),
		},
		"newer format": {
			func(f *fleet, _ *replica) { f.c.failIf(opIs("load"), store.ErrNewerFormat) },
			func(f *fleet, _ *replica) { f.c.failIf(opIs(), nil) },
			store.ErrNewerFormat.Error(),
		},
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, []string{"a"}, func(f *fleet) {
				a := f.all[0]
				c.spoil(f, a)
				f.c.lead(a.member)
				f.settle()
				if a.logged("level=ERROR") != 1 || a.logged(c.words) == 0 {
					t.Errorf("the log does not say it once:\n%s", a.log)
				}
				if a.member.resigned != 1 {
					t.Error("it did not resign")
				}
				if got := a.probe("/readyz"); got != "503 no leader known" {
					t.Errorf("/readyz says %s", got)
				}
				f.c.next()
				f.settle()
				if n := f.c.ops("take over"); n != 1 {
					t.Errorf("it took over %d times: it stood for election again at once", n)
				}
				c.mend(f, a)
				f.pass(refusedPause)
				f.c.next()
				f.settle()
				a.acquired("app")
			})
		})
	}
}

// S11: a pool that would not outlive a takeover is refused.
func TestShortTTLIsRefused(t *testing.T) {
	leading(t, func(f *fleet, a *replica) {
		forbidden := wanted{code: connect.CodeFailedPrecondition, reason: fencing.ReasonForbidden,
			words: "20s"}
		create := func(ttl time.Duration) error {
			_, err := a.admin.CreatePool(context.Background(),
				&cirrusv1.CreatePoolRequest{Pool: &cirrusv1.Pool{Name: "east", Ttl: proto3(ttl)}})
			return err
		}
		forbidden.check(t, "CreatePool", create(20*time.Second-1))
		if err := create(20 * time.Second); err != nil {
			t.Error(err)
		}
		short := a.updatePool(19 * time.Second)
		f.settle()
		short.failed(t, "UpdatePool", forbidden)
	})
}

// A leader that is told to stop resigns within moments, after which it promises
// nothing; what is under way may end first.
func TestStopResigns(t *testing.T) {
	inFleet(t, []string{"a", "b"}, func(f *fleet) {
		a, b := f.all[0], f.all[1]
		f.makeLead(a)
		lease := a.acquired("app")
		f.c.holdIf(grantOf)
		granted := a.acquire("late", 0)
		held := f.oneHeld()
		f.c.holdIf(nil)
		term := a.s.state.Load().term
		begun := time.Now()
		a.s.StopRequests()
		f.settle()
		if a.member.resigned != 0 || term.cause() != nil {
			t.Error("it resigned while a write was under way")
		}
		f.pass(20 * time.Millisecond)
		held.let()
		f.settle()
		granted.done(t, "the grant that was under way")
		if a.member.resigned != 1 || term.cause() == nil {
			t.Fatalf("it resigned %d times; the term ended with %v", a.member.resigned,
				term.cause())
		}
		f.c.next()
		f.settle()
		got := after(f, b.heartbeat(lease), time.Second).done(t,
			"a heartbeat at the next leader").Lease
		sameLease(t, "the heartbeat", got, lease)
		if took := time.Since(begun); took > 500*time.Millisecond {
			t.Errorf("another led after %v", took)
		}
		refused := a.heartbeat(lease)
		f.settle()
		refused.failed(t, "a heartbeat at the one that stops", shuttingDown)
	})
}

// So may a request that writes nothing, or whose write is done already.
func TestStopLetsAnswersOut(t *testing.T) {
	leading(t, func(f *fleet, a *replica) {
		lease := a.acquired("app")
		for range cap(a.s.turns) {
			a.s.turns <- struct{}{}
		}
		many := make([]*cirrusv1.HeartbeatRequest, batchTurn+1)
		for i := range many {
			many[i] = heartbeatRequest(lease)
		}
		answer := start(func(ctx context.Context) (*cirrusv1.HeartbeatBatchResponse, error) {
			return a.leases.HeartbeatBatch(ctx, &cirrusv1.HeartbeatBatchRequest{Heartbeats: many})
		})
		f.settle()
		a.s.StopRequests()
		f.settle()
		if a.member.resigned != 0 {
			t.Error("it resigned while a request was under way")
		}
		f.pass(stopGrace / 2)
		for range cap(a.s.turns) {
			<-a.s.turns
		}
		f.settle()
		for i, got := range answer.done(t, "the batch that was under way").Results {
			if got.GetLease() == nil {
				t.Fatalf("heartbeat %d: %v", i, got.GetError())
			}
		}
		if a.member.resigned != 1 {
			t.Errorf("it resigned %d times, want once, when all was answered", a.member.resigned)
		}
	})
}

// A write that hangs holds up no resignation; nor does a cluster that does not
// answer hold up the end for long.
func TestStopWithoutTheCluster(t *testing.T) {
	leading(t, func(f *fleet, a *replica) {
		f.c.holdIf(opIs("commit", "resign"))
		granted := a.acquire("app", 0)
		f.settle()
		begun := time.Now()
		a.stop()
		if took := time.Since(begun); took < resignTime || took > resignTime+time.Second {
			t.Errorf("it took %v to stop", took)
		}
		f.settle()
		if !granted.ended() || granted.err == nil {
			t.Errorf("the grant was answered: %v", granted.resp)
		}
	})
}

// The term ends before the resignation is asked for: safety never rests on it.
func TestStopsPromisingBeforeResigning(t *testing.T) {
	leading(t, func(f *fleet, a *replica) {
		lease := a.acquired("app")
		term := a.s.state.Load().term
		f.c.holdIf(func(o *clusterOp) bool {
			if o.op == "resign" {
				_, err := term.heartbeat(context.Background(), heartbeatRequest(lease),
					&storeWait{t: term})
				notLeading.check(t, "a heartbeat as it resigns", toWire(err))
			}
			return false
		})
		a.stop()
		if a.member.resigned != 1 {
			t.Errorf("it resigned %d times", a.member.resigned)
		}
	})
}

// Whoever loses the leadership leads no more, and stands for election again.
func TestLeadershipLost(t *testing.T) {
	leading(t, func(f *fleet, a *replica) {
		lease := a.acquired("app")
		f.c.lose(a.member)
		f.settle()
		if got := a.probe("/readyz"); got != "503 no leader known" {
			t.Errorf("/readyz says %s", got)
		}
		f.c.next()
		f.settle()
		sameLease(t, "the heartbeat",
			after(f, a.heartbeat(lease), time.Second).done(t, "a heartbeat").Lease, lease)
	})
}

// A takeover that fails is tried again under the same leadership, a few times, and
// then others may try.
func TestTakeoverFails(t *testing.T) {
	inFleet(t, []string{"a", "b"}, func(f *fleet) {
		a, b := f.all[0], f.all[1]
		f.c.failIf(func(o *clusterOp) bool { return o.who == a.member.self.ID && o.op == "commit" },
			errTimeout)
		f.c.lead(a.member)
		f.pass(time.Second)
		if n := f.c.ops("take over"); n != termTries || a.member.resigned != 1 {
			t.Fatalf("%d takeovers and %d resignations, want %d and 1", n, a.member.resigned,
				termTries)
		}
		f.c.next()
		f.settle()
		b.acquired("app")
	})
}

// S10: one that has lost the store stops promising within a stride, answers
// that it can't, in time, and comes back by itself.
func TestLostStore(t *testing.T) {
	leading(t, func(f *fleet, a *replica) {
		lease := a.acquired("app")
		f.c.holdIf(opIs("commit"))
		f.pass(9 * time.Second)
		a.heartbeatDone(lease)
		f.pass(time.Second)
		beat, fresh := a.heartbeat(lease), a.acquire("fresh", time.Minute)
		batch := start(func(ctx context.Context) (*cirrusv1.HeartbeatBatchResponse, error) {
			return a.leases.HeartbeatBatch(ctx,
				&cirrusv1.HeartbeatBatchRequest{Heartbeats: []*cirrusv1.HeartbeatRequest{heartbeatRequest(lease), heartbeatRequest(lease)}})
		})
		f.settle()
		beat.waits(t, "a heartbeat past the mark")
		if got := a.metric("cirrus_mark_left_seconds"); got != 0 {
			t.Errorf("%v s are left on the mark", got)
		}
		f.pass(storeTimeout)
		beat.failed(t, "a heartbeat past the mark", storeSlow)
		fresh.failed(t, "an Acquire past the mark", storeSlow)
		for _, res := range batch.done(t, "a batch past the mark").Results {
			if res.GetError().GetReason() != string(reasonStoreSlow) {
				t.Errorf("the batch got %v", res)
			}
		}
		f.c.letAll() // the mark's write is acknowledged, late
		f.settle()
		a.heartbeatDone(lease)
		if got := a.metric("cirrus_mark_left_seconds"); got <= 0 || got > 10 {
			t.Errorf("%v s are left on the mark", got)
		}
	})
}

// gRPC health tells each change.
func TestHealthOfReplicas(t *testing.T) {
	inFleet(t, []string{"a", "b"}, func(f *fleet) {
		a, b := f.all[0], f.all[1]
		watched := b.healthWatch("")
		f.settle()
		if got := b.probe("/readyz"); got != "503 no leader known" {
			t.Errorf("/readyz says %s", got)
		}
		f.makeLead(a)
		if got := b.probe("/readyz"); got != "200 following http://a" {
			t.Errorf("/readyz says %s", got)
		}
		f.c.lose(a.member)
		f.settle()
		resp, err := healthClient(b.http, "http://cirrus",
			healthCheckProcedure).CallUnary(context.Background(),
			connect.NewRequest(&healthv1.HealthCheckRequest{}))
		if err != nil || resp.Msg.Status != healthv1.HealthCheckResponse_NOT_SERVING {
			t.Errorf("health without a leader: %v, %v", resp, err)
		}
		f.makeLead(b)
		b.s.StopRequests()
		f.settle()
		if got := b.probe("/readyz"); got != "503 stopping" {
			t.Errorf("/readyz says %s", got)
		}
		if got := watched.done(t,
			"the health stream"); got != "NOT_SERVING SERVING NOT_SERVING SERVING NOT_SERVING" {
			t.Errorf("the stream told %s", got)
		}
	})
}
