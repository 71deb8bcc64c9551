package service

import (
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/fencing"
)

// S6: a takeover keeps leases: same node ID, same epoch, same window's floor.
func TestTakeoverKeepsLeases(t *testing.T) {
	inFleet(t, []string{"a", "b"}, func(f *fleet) {
		a, b := f.all[0], f.all[1]
		f.leads(a)
		lease := a.acquired("app")
		if got := a.probe("/readyz"); got != "200 leading" {
			t.Errorf("/readyz says %s", got)
		}
		f.leads(b)
		got := after(f, b.heartbeat(lease), time.Second).done(t, "a heartbeat after the takeover").Lease
		sameLease(t, "the heartbeat", got, lease)
		again := after(f, b.acquire("app", 0), time.Second).done(t, "the instance's Acquire").Lease
		sameLease(t, "the Acquire", again, lease)
		other := b.acquired("other")
		if other.Epoch <= lease.Epoch || other.NodeId == lease.NodeId {
			t.Errorf("the next grant is %v after %v", other, lease)
		}
		if b.metric("cirrus_takeovers_total") != 1 || b.metric("cirrus_leading") != 1 || a.metric("cirrus_leading") != 0 {
			t.Error("the metrics of the takeover are wrong")
		}
		checkTerm(t, b.s.role.Load().term)
	})
}

// S9, S10: a deposed leader's grant that is under way is not answered by it,
// whether or not the write landed before.
func TestDeposedLeadersGrant(t *testing.T) {
	for name, lands := range map[string]bool{"lands in time": true, "comes too late": false} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, []string{"a", "b"}, func(f *fleet) {
				a, b := f.all[0], f.all[1]
				f.leads(a)
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
					t.Errorf("the new leader gave %v, but had loaded %v", lease, held.batch.Records[0])
				}
				if rows := b.list(""); len(rows) != 1 || rows[0].Epoch != lease.Epoch {
					t.Errorf("the new leader lists %v after %v", rows, lease)
				}
			})
		})
	}
}

var _ = connect.CodeUnavailable
var _ fencing.Epoch
