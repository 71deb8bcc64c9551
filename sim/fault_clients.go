package sim

import (
	"context"
	"fmt"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
	"github.com/cirrus-id/cirrus/sim/event"
	"github.com/cirrus-id/cirrus/sim/kernel"
	"github.com/cirrus-id/cirrus/sim/plan"
)

// Impostor, Fumble, Nameless: clients of another make, and forgers.

// forgery is a lease that was put together from parts that don't belong to
// each other.
type forgery struct {
	what     string
	pool     string
	node     int
	epoch    uint64
	instance string
}

// impersonate speaks of a lease as somebody does who knows a part of what makes
// it: an instance ID that leaked, an epoch that was listed, a node ID that was
// mixed up.
func (w *world) impersonate(d kernel.Dice) {
	a := w.apps[d.Below(uint64(len(w.apps)))]
	releases := d.Below(2) == 1
	which, more := d.Below(6), d.Below(3)
	if a.holder == nil {
		return
	}
	l := a.holder.Lease()
	if l.Epoch == 0 {
		return
	}
	f, ok := w.forge(a, l.Lease, which, more)
	if !ok {
		return
	}
	w.sendForged(serviceName, f, releases)
}

// flood makes many such calls at the leader, around the moment at which it is
// about to be deposed: of what it then says, nothing may be true that was so
// only before.
func (w *world) flood() {
	s := w.leads
	if s == nil || !w.on(plan.Impostor) && !w.on(plan.Nameless) {
		return
	}
	d := w.dice("pester", 0)
	from := int(d.Below(uint64(len(w.apps))))
	for i := range w.apps {
		a := w.apps[(from+i)%len(w.apps)]
		if a.holder == nil || a.holder.Lease().Epoch == 0 {
			continue
		}
		if f, ok := w.forge(a, a.holder.Lease().Lease, 0, 0); ok {
			for range 12 {
				w.after(d.Duration(0, 8*time.Millisecond), "impostor",
					func() { w.sendForged(s.name(), f, false) })
			}
			return
		}
	}
}

// sendForged makes a call with a lease that was put together.
func (w *world) sendForged(host string, f forgery, releases bool) {
	w.leaseAt(host, fmt.Sprintf("impostor of node ID %d, with %s", f.node, f.what),
		func(ctx context.Context, c cirrusv1connect.LeaseServiceClient) error {
			if releases {
				_, err := c.Release(ctx,
					&cirrusv1.ReleaseRequest{Pool: f.pool, NodeId: uint32(f.node),
						Epoch: f.epoch, InstanceId: f.instance})
				return err
			}
			_, err := c.Heartbeat(ctx,
				&cirrusv1.HeartbeatRequest{Pool: f.pool, NodeId: uint32(f.node),
					Epoch: f.epoch, InstanceId: f.instance})
			return err
		})
}

// forge makes a lease that is almost the app's.
func (w *world) forge(a *app, l fencing.Lease, which, more uint64) (forgery, bool) {
	f := forgery{pool: string(l.Pool), node: int(l.Node), epoch: uint64(l.Epoch)}
	mine := w.oracle.InstanceOf(event.Key{Pool: f.pool, Node: f.node}, f.epoch)
	if mine == "" {
		return f, false
	}
	f.instance = mine
	switch which {
	case 0:
		f.what, f.instance = "an instance that holds nothing", "an instance that holds nothing"
	case 1:
		f.what = "another holder's instance"
		other := w.apps[(a.index+1+int(more))%len(w.apps)]
		if had := w.oracle.RecentInstance(other.index, 0); other != a && had != "" {
			f.instance = had
		}
		return f, f.instance != mine
	case 2:
		f.what = "an instance that it had before"
		if had := w.oracle.RecentInstance(a.index, 1); had != "" {
			f.instance = had
		}
		return f, f.instance != mine
	case 3:
		f.what = "an older epoch"
		f.epoch -= 1 + more
		if !w.oracle.WasSent(l.Pool, f.epoch) {
			w.hear(event.Forged{}) // it may lie between what was loaded and the base (S12)
		}
	case 4:
		// It looks as if the store had lost a write (S12), so that alarm says nothing any more.
		f.what = "an epoch to come"
		f.epoch += 1 + more
		w.hear(event.Forged{})
		return f, w.plan.Profile != plan.Vows
	case 5:
		f.what = "another node ID"
		f.node = (f.node + 1 + int(more)) % 1024
		w.hear(event.Forged{}) // to that node ID its epoch may be one to come
		return f, w.plan.Profile != plan.Vows
	}
	return f, true
}

// fumble is a client of another make: it takes a lease, uses nothing of it, and
// gives it back with a last timestamp from before it was granted.
func (w *world) fumble(d kernel.Dice) {
	w.fumbles++
	instance := fmt.Sprintf("a client of another make, the %d", w.fumbles)
	early := d.Duration(0, 2*w.plan.TTL).Milliseconds()
	stays := d.Duration(0, w.plan.TTL/2)
	w.lease("a client of another make", func(ctx context.Context,
		c cirrusv1connect.LeaseServiceClient) error {
		got, err := c.Acquire(ctx, &cirrusv1.AcquireRequest{AppId: "another", InstanceId: instance})
		if err != nil {
			return err
		}
		w.loop.Sleep(stays, "holding")
		l := got.GetLease()
		last := l.GetFloorMs() - early
		_, err = c.Release(ctx, &cirrusv1.ReleaseRequest{Pool: l.GetPool(), NodeId: l.GetNodeId(),
			Epoch: l.GetEpoch(), InstanceId: instance, LastTimestampMs: &last})
		return err
	})
}

// ask is a client of another make, which has no instance ID of its own and
// lets the service make one, and somebody who looks at who holds what.
func (w *world) ask(d kernel.Dice) {
	stays := d.Duration(0, w.plan.TTL/2)
	w.lease("a client without an instance ID",
		func(ctx context.Context, c cirrusv1connect.LeaseServiceClient) error {
			got, err := c.Acquire(ctx, &cirrusv1.AcquireRequest{AppId: "nameless"})
			if err != nil {
				return err
			}
			w.loop.Sleep(stays, "holding")
			l := got.GetLease()
			_, err = c.Release(ctx,
				&cirrusv1.ReleaseRequest{Pool: l.GetPool(), NodeId: l.GetNodeId(),
					Epoch: l.GetEpoch(), InstanceId: l.GetInstanceId()})
			return err
		})
	w.admin("list leases", func(ctx context.Context, c cirrusv1connect.AdminServiceClient) error {
		_, err := c.ListLeases(ctx, &cirrusv1.ListLeasesRequest{})
		return err
	})
}
