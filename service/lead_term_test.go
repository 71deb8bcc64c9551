package service

import (
	"context"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

// S6: a takeover keeps leases: same node ID, same epoch, same window's floor.
func TestTakeoverKeepsLeases(t *testing.T) {
	inFleet(t, []string{"a", "b"}, func(f *fleet) {
		a, b := f.all[0], f.all[1]
		f.makeLead(a)
		lease := a.acquired("app")
		if got := a.probe("/readyz"); got != "200 leading" {
			t.Errorf("/readyz says %s", got)
		}
		f.makeLead(b)
		got := after(f, b.heartbeat(lease), time.Second).done(t,
			"a heartbeat after the takeover").Lease
		sameLease(t, "the heartbeat", got, lease)
		again := after(f, b.acquire("app", 0), time.Second).done(t, "the instance's Acquire").Lease
		sameLease(t, "the Acquire", again, lease)
		other := b.acquired("other")
		if other.Epoch <= lease.Epoch || other.NodeId == lease.NodeId {
			t.Errorf("the next grant is %v after %v", other, lease)
		}
		if b.metric("cirrus_takeovers_total") != 1 || b.metric("cirrus_leading") != 1 ||
			a.metric("cirrus_leading") != 0 {
			t.Error("the metrics of the takeover are wrong")
		}
		checkTerm(t, b.s.state.Load().term)
	})
}

// S6: what a takeover grants everyone counts from the end of its loading.
func TestTakeoverCountsFromLoading(t *testing.T) {
	inFleet(t, []string{"a", "b"}, func(f *fleet) {
		a, b := f.all[0], f.all[1]
		f.makeLead(a)
		a.acquired("app")
		f.c.holdIf(opIs("load"))
		f.c.lose(a.member)
		f.c.lead(b.member)
		held := f.oneHeld()
		f.c.holdIf(nil)
		f.pass(8 * time.Second)
		held.let()
		f.settle()
		if left := b.list(
			"")[0].TimeLeft.AsDuration(); left != fencing.DefaultStride+fencing.DefaultTTL {
			t.Errorf("%v are left after the loading, want stride + TTL", left)
		}
	})
}

// S9, S10: a deposed leader's grant that is under way is not answered by it,
// whether or not the write landed before.
func TestDeposedLeadersGrant(t *testing.T) {
	for name, lands := range map[string]bool{"lands in time": true, "comes too late": false} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, []string{"a", "b"}, func(f *fleet) {
				a, b := f.all[0], f.all[1]
				f.makeLead(a)
				f.c.holdIf(grantOf)
				granted := a.acquire("app", 0)
				held := f.oneHeld()
				f.c.holdIf(nil)
				if lands {
					if err := held.do(); err != nil {
						t.Fatal(err)
					}
				}
				f.c.lead(b.member) // and a is not told that it has lost
				f.settle()
				granted.waits(t, "the grant")
				if lands {
					held.end(nil) // its answer comes late
				} else {
					held.let()
				}
				got := after(f, granted, 3*time.Second)
				lease := got.done(t, "the grant, by the new leader").Lease
				if lands && lease.Epoch != uint64(held.batch.Records[0].Epoch) {
					t.Errorf("the new leader gave %v, but had loaded %v", lease,
						held.batch.Records[0])
				}
				if rows := b.list(""); len(rows) != 1 || rows[0].Epoch != lease.Epoch {
					t.Errorf("the new leader lists %v after %v", rows, lease)
				}
			})
		})
	}
}

// S9: an unknown write drops the memory of the term, and the next one, under
// the same leadership, loads what the store has, landed or not.
func TestUnknownWriteDropsMemory(t *testing.T) {
	for name, lands := range map[string]bool{"landed": true, "lost": false} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, []string{"a"}, func(f *fleet) {
				a := f.all[0]
				f.makeLead(a)
				before := a.s.state.Load().term
				kept := a.acquired("kept")
				f.c.holdIf(grantOf)
				granted := a.acquire("app", 0)
				held := f.oneHeld()
				f.c.holdIf(nil)
				if lands {
					if err := held.do(); err != nil {
						t.Fatal(err)
					}
				}
				held.end(errTimeout)
				lease := after(f, granted, 3*time.Second).done(t,
					"the grant, by the next term").Lease
				if same := lease.Epoch == uint64(held.batch.Records[0].Epoch); same != lands &&
					lands {
					t.Errorf("the next term gave %v, the write was %v", lease,
						held.batch.Records[0])
				}
				if now := a.s.state.Load().term; now == before || before.cause() == nil {
					t.Error("the term goes on after an unknown write")
				}
				sameLease(t, "the heartbeat", a.heartbeatDone(kept), kept)
				if rows := a.list(""); len(rows) != 2 {
					t.Errorf("the listing shows %v", rows)
				}
				if err := held.do(); err == nil {
					t.Error("a write of the term before landed after the next one began")
				}
				if f.c.ops("take over") != 2 || a.member.resigned != 0 {
					t.Errorf("%d takeovers, %d resignations, want 2 under one leadership",
						f.c.ops("take over"), a.member.resigned)
				}
				select {
				case <-a.s.Failed():
					t.Error("Failed is closed")
				default:
				}
			})
		})
	}
}

// S9, S11: with a change that must not be made twice, the unknown is told.
func TestUnknownUpdateIsTold(t *testing.T) {
	inFleet(t, []string{"a"}, func(f *fleet) {
		a := f.all[0]
		f.makeLead(a)
		f.c.holdIf(func(o *clusterOp) bool { return o.op == "commit" && anyPool(o.batch) })
		updated := a.updatePool(40 * time.Second)
		held := f.oneHeld()
		f.c.holdIf(nil)
		held.end(errTimeout)
		f.settle()
		updated.failed(t, "the update",
			wanted{code: connect.CodeUnavailable, reason: fencing.ReasonStoreFailed, retry: true})
		f.pass(time.Second)
		if got := after(f, a.updatePool(40*time.Second), time.Second).done(t,
			"the update").Pool.Ttl.AsDuration(); got != 40*time.Second {
			t.Errorf("the TTL is %v", got)
		}
	})
}

// S10: a leader that was deposed and does not know it says no to nobody, and
// lists nothing: what it would say may be otherwise by now.
func TestDeposedLeaderDoesNotLie(t *testing.T) {
	data := newTestStore(newBatch(t, time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), true, nodes(3)))
	inFleetOf(t, data, []string{"a", "b"}, func(f *fleet) {
		a, b := f.all[0], f.all[1]
		f.makeLead(a)
		lost, kept, revoked := a.acquired("lost"), a.acquired("kept"), a.acquired("revoked")
		a.revoke(revoked)
		a.released(lost)
		f.pass(10 * time.Millisecond)
		spare := a.acquired("spare")
		// b takes over, and a still believes that it leads: its requests reach
		// the cluster late.
		f.inject("a", "b", faultCut)
		f.c.lead(b.member)
		f.settle()
		if a.s.state.Load().term == nil {
			t.Fatal("a knows")
		}
		unused := spare.FloorMs - 1
		after(f, b.release(spare, &unused), time.Second).done(t, "the release at b")
		f.c.failIf(opIs("confirm"), errTimeout) // so a is not told
		ctx := context.Background()
		for name, ask := range map[string]func() error{
			"LEASE_LOST": func() error {
				_,
					err := a.leases.Heartbeat(ctx, heartbeatRequest(lost))
				return err
			},
			"LEASE_LOST, old": func() error {
				_,
					err := a.leases.Release(ctx, releaseRequest(lost, nil))
				return err
			},
			"NO_FREE_NODE_ID": func() error {
				_,
					err := a.leases.Acquire(ctx, acquireRequest("", "new", 0))
				return err
			},
			"POOL_NOT_FOUND": func() error {
				_,
					err := a.leases.Acquire(ctx, acquireRequest("east", "new", 0))
				return err
			},
			"ALREADY_EXISTS": func() error {
				_, err := a.admin.CreatePool(ctx,
					&cirrusv1.CreatePoolRequest{Pool: &cirrusv1.Pool{Name: "default",
						Ttl: proto3(50 * time.Second)}})
				return err
			},
			"created already": func() error { // with the same settings
				_, err := a.admin.CreatePool(ctx,
					&cirrusv1.CreatePoolRequest{Pool: &cirrusv1.Pool{Name: "default",
						NodeIds: &cirrusv1.NodeRange{Last: 2}}})
				return err
			},
			"forbidden": func() error {
				_, err := a.admin.UpdatePool(ctx,
					&cirrusv1.UpdatePoolRequest{Pool: &cirrusv1.Pool{NodeIds: &cirrusv1.NodeRange{Last: 1}}})
				return err
			},
			"nothing to update": func() error {
				_, err := a.admin.UpdatePool(ctx, &cirrusv1.UpdatePoolRequest{})
				return err
			},
			"ListLeases": func() error {
				_,
					err := a.admin.ListLeases(ctx, &cirrusv1.ListLeasesRequest{})
				return err
			},
			"ListPools": func() error {
				_,
					err := a.admin.ListPools(ctx, &cirrusv1.ListPoolsRequest{})
				return err
			},
			"GetPool": func() error {
				_,
					err := a.admin.GetPool(ctx, &cirrusv1.GetPoolRequest{})
				return err
			},
			"Revoke": func() error {
				_, err := a.admin.Revoke(ctx, &cirrusv1.RevokeRequest{NodeId: 1, Epoch: 1})
				return err
			},
			"Free": func() error {
				_, err := a.admin.Free(ctx, &cirrusv1.FreeRequest{NodeId: 1, Epoch: 1})
				return err
			},
			"Revoke again": func() error {
				_, err := a.admin.Revoke(ctx,
					&cirrusv1.RevokeRequest{NodeId: revoked.NodeId, Epoch: revoked.Epoch})
				return err
			},
			"Watch": func() error {
				stream, err := a.admin.Watch(ctx, &cirrusv1.WatchRequest{})
				if err != nil {
					return err
				}
				defer stream.Close()
				if stream.Receive() {
					return nil
				}
				return stream.Err()
			},
		} {
			began := f.c.ops("confirm")
			notConfirmed.check(t, name+", unconfirmed", ask())
			if f.c.ops("confirm") != began+1 {
				t.Errorf("%s: %d Confirms, want 1", name, f.c.ops("confirm")-began)
			}
		}
		// What rests on the mark alone goes on until the mark lapses.
		if a.s.state.Load().term == nil {
			t.Fatalf("a knows that it was deposed:\n%s", a.log)
		}
		a.heartbeatDone(kept)
		if got := a.metric("cirrus_refusals_total", string(fencing.ReasonLeaseLost)); got != 0 {
			t.Errorf("LEASE_LOST was counted %v times", got)
		}

		// And once the cluster says so, a knows, and leads no more.
		f.c.failIf(opIs(), nil)
		lostBeat := a.heartbeat(lost)
		f.settle()
		if a.s.state.Load().term != nil {
			t.Error("a leads on")
		}
		after(f, lostBeat, 3*time.Second).failed(t, "LEASE_LOST at a deposed leader", noLeader)
		f.inject("a", "b", 0)
		after(f, a.heartbeat(lost), 3*time.Second).failed(t, "LEASE_LOST by the new leader",
			lostLease)
	})
}
