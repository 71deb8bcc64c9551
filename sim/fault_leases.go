package sim

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
	"github.com/cirrus-id/cirrus/sim/event"
	"github.com/cirrus-id/cirrus/sim/kernel"
	"github.com/cirrus-id/cirrus/store/pebble"
)

// Revoke, LongTTL, Double: leases that end early, last long, or are two.

// revoke revokes the lease that an app has, or had.
func (w *world) revoke(d kernel.Dice) {
	a := w.apps[d.Below(uint64(len(w.apps)))]
	if a.holder == nil {
		return
	}
	l := a.holder.Lease()
	if l.Epoch == 0 {
		return
	}
	w.admin(fmt.Sprintf("revoke node ID %d", l.Node),
		func(ctx context.Context, c cirrusv1connect.AdminServiceClient) error {
			_, err := c.Revoke(ctx, &cirrusv1.RevokeRequest{Pool: string(l.Pool),
				NodeId: uint32(l.Node), Epoch: uint64(l.Epoch)})
			return err
		})
}

// leaseLong is a client that can't heartbeat often: it takes a lease for as long
// as it gets one, uses nothing of it, and speaks of it once more or never.
func (w *world) leaseLong(d kernel.Dice) {
	w.longLeases++
	instance := fmt.Sprintf("a client with a long lease, the %d", w.longLeases)
	ttl := []time.Duration{w.plan.Longest, d.Duration(w.plan.MaxTTL,
		w.plan.Longest).Truncate(time.Millisecond)}[d.Below(2)]
	stays, ends := d.Duration(0, w.plan.Longest), d.Below(4)
	w.lease("a long lease", func(ctx context.Context, c cirrusv1connect.LeaseServiceClient) error {
		got, err := c.Acquire(ctx, &cirrusv1.AcquireRequest{AppId: "long", InstanceId: instance,
			Ttl: durationpb.New(ttl)})
		if err != nil {
			return err
		}
		w.saw("a lease with a long TTL was granted")
		l := got.GetLease()
		w.after(stays, "a long lease", func() {
			if ends == 0 || w.faultsEnded {
				return
			}
			w.lease("a long lease", func(ctx context.Context,
				c cirrusv1connect.LeaseServiceClient) error {
				if ends == 1 {
					_, err := c.Release(ctx, &cirrusv1.ReleaseRequest{Pool: l.GetPool(),
						NodeId: l.GetNodeId(), Epoch: l.GetEpoch(), InstanceId: instance})
					return err
				}
				_, err := c.Heartbeat(ctx, &cirrusv1.HeartbeatRequest{Pool: l.GetPool(),
					NodeId: l.GetNodeId(), Epoch: l.GetEpoch(), InstanceId: instance})
				return err
			})
		})
		return nil
	})
}

// double makes an instance have two live records, as no server writes them but
// a hand may: an older one is put into the store while nobody serves it. A load
// keeps the one with the higher epoch (S10), so the instance, when it asks once
// more, gets the lease that it has.
func (w *world) double(d kernel.Dice) {
	w.doubles++
	instance := fmt.Sprintf("an instance with two records, the %d", w.doubles)
	s, which, back := w.primary, d.Below(1<<20), d.Duration(w.plan.TTL/8, w.plan.TTL)
	ask := func(after func()) {
		w.lease("an instance that will have two records",
			func(ctx context.Context, c cirrusv1connect.LeaseServiceClient) error {
				_, err := c.Acquire(ctx, &cirrusv1.AcquireRequest{AppId: "double",
					InstanceId: instance})
				if err == nil {
					after()
				}
				return err
			})
	}
	ask(func() {
		s.restart(func() {
			if w.primary != s || s.disk == nil || w.faultsEnded ||
				!s.putOlder(fencing.InstanceID(instance).Hash(), which) {
				return
			}
			w.note(Record{Kind: RecordOperate, Machine: s.name(), Node: -1,
				Text: "an older record of an instance that has one is put into its store"})
			w.after(back, "asks again",
				func() {
					ask(
						func() { w.saw("an instance with two live records kept the newer one") })
				})
		})
	})
}

// putOlder writes another live record for an instance that has one, under an
// epoch from before the store, for a node ID without a record.
func (s *server) putOlder(instance fencing.InstanceHash, which uint64) bool {
	st, err := pebble.Open(dataDir, s.options())
	if err != nil {
		panic(err)
	}
	defer func() { _ = st.Close() }() // nothing is written after the commit
	snap, err := st.Load(context.Background())
	if err != nil {
		panic(err)
	}
	var older *fencing.Record
	taken := map[event.Key]bool{}
	for i := range snap.Records {
		r := &snap.Records[i]
		taken[event.KeyOf(r)] = true
		if r.Instance == instance && r.Status == fencing.Live {
			older = r
		}
	}
	if older == nil {
		return false
	}
	r := *older
	r.Epoch, r.Silence = fencing.Epoch(1+s.w.doubles), fencing.Silence{}
	pool, _ := s.w.oracle.Pool(r.Pool)
	span := uint64(pool.Last-pool.First) + 1
	for i := range min(span, 64) {
		r.Node = pool.First + nodeID(int((which+i)%span))
		if !taken[event.KeyOf(&r)] {
			if err := st.Commit(context.Background(),
				fencing.Batch{Records: []fencing.Record{r}}); err != nil {
				panic(err)
			}
			s.w.hear(event.Planted{Record: r})
			return true
		}
	}
	return false
}
