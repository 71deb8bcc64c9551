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
	"github.com/cirrus-id/cirrus/sim/plan"
)

// changeSettings sets what the default pool allows to anything that is allowed
// at all, shorter or longer than before, by an operator who doesn't look whether
// the pool is suspicious: by a call, or by the flags of the next start.
func (w *world) changeSettings(d kernel.Dice) {
	most := []time.Duration{w.plan.MaxTTL, w.plan.Longest, d.Duration(w.plan.MaxTTL, w.plan.Longest)}[d.Below(3)].Truncate(time.Millisecond)
	quarantine := d.Duration(w.plan.Quarantine, 2*w.plan.Quarantine).Truncate(time.Millisecond)
	ttl := d.Duration(max(w.plan.TTL/2, time.Second), w.plan.MaxTTL).Truncate(time.Millisecond)
	pool := &cirrusv1.Pool{Name: string(fencing.DefaultPool), MaxTtl: durationpb.New(most)}
	change := fencing.PoolChange{MaxTTL: &most}
	if d.Below(3) > 0 {
		pool.Quarantine, change.Quarantine = durationpb.New(quarantine), &quarantine
		w.pool.Quarantine = max(w.pool.Quarantine, quarantine)
	}
	if d.Below(3) == 0 {
		pool.Ttl, change.TTL = durationpb.New(ttl), &ttl
	}
	w.pool.MaxTTL = max(w.pool.MaxTTL, most) // whoever makes a store again knows what there has been
	w.hear(event.Described{MaxTTL: w.pool.MaxTTL})
	if s := w.primary; !w.replicated() && d.Below(3) == 0 {
		s.restart(func() {
			s.flags = change
			w.note(Record{Kind: RecordOperate, Machine: s.name(), Node: -1, Text: fmt.Sprintf("its flags say max_ttl %v", most)})
		})
		return
	}
	w.admin(fmt.Sprintf("max_ttl %v, quarantine %v", most, change.Quarantine), func(ctx context.Context, c cirrusv1connect.AdminServiceClient) error {
		_, err := c.UpdatePool(ctx, &cirrusv1.UpdatePoolRequest{Pool: pool})
		return err
	})
}

// lowerSoon lowers the default pool's max_ttl early in a world with long leases:
// of those that it allowed, only its longest TTL tells from then on.
func (w *world) lowerSoon() {
	d := w.dice("max_ttl is lowered", 0)
	w.after(d.Duration(0, 2*w.plan.TTL), "settings", func() {
		if !w.on(plan.Settings) || !w.spend() {
			return
		}
		w.admin(fmt.Sprintf("max_ttl %v", w.plan.MaxTTL), func(ctx context.Context, c cirrusv1connect.AdminServiceClient) error {
			_, err := c.UpdatePool(ctx, &cirrusv1.UpdatePoolRequest{Pool: &cirrusv1.Pool{Name: string(fencing.DefaultPool), MaxTtl: durationpb.New(w.plan.MaxTTL)}})
			return err
		})
	})
}

// soonChanged changes the settings soon after a suspicious store has been
// started, or a little later.
func (w *world) soonChanged(back time.Duration) {
	if d := w.dice("settings of a suspicious store", 0); w.on(plan.Settings) && d.Below(2) == 1 {
		w.after(back+d.Duration(0, 2*w.plan.TTL), "settings", func() {
			if w.on(plan.Settings) && w.spend() {
				w.changeSettings(d)
			}
		})
	}
}

// leaseLong is a client that can't heartbeat often: it takes a lease for as long
// as it gets one, uses nothing of it, and speaks of it once more or never.
func (w *world) leaseLong(d kernel.Dice) {
	w.longLeases++
	instance := fmt.Sprintf("a client with a long lease, the %d", w.longLeases)
	ttl := []time.Duration{w.plan.Longest, d.Duration(w.plan.MaxTTL, w.plan.Longest).Truncate(time.Millisecond)}[d.Below(2)]
	stays, ends := d.Duration(0, w.plan.Longest), d.Below(4)
	w.lease("a long lease", func(ctx context.Context, c cirrusv1connect.LeaseServiceClient) error {
		got, err := c.Acquire(ctx, &cirrusv1.AcquireRequest{AppId: "long", InstanceId: instance, Ttl: durationpb.New(ttl)})
		if err != nil {
			return err
		}
		w.saw("a lease with a long TTL was granted")
		l := got.GetLease()
		w.after(stays, "a long lease", func() {
			if ends == 0 || w.healed {
				return
			}
			w.lease("a long lease", func(ctx context.Context, c cirrusv1connect.LeaseServiceClient) error {
				if ends == 1 {
					_, err := c.Release(ctx, &cirrusv1.ReleaseRequest{Pool: l.GetPool(), NodeId: l.GetNodeId(), Epoch: l.GetEpoch(), InstanceId: instance})
					return err
				}
				_, err := c.Heartbeat(ctx, &cirrusv1.HeartbeatRequest{Pool: l.GetPool(), NodeId: l.GetNodeId(), Epoch: l.GetEpoch(), InstanceId: instance})
				return err
			})
		})
		return nil
	})
}

// restartOften restarts who serves a few times in quick succession: told to
// stop, killed, or by a takeover.
func (w *world) restartOften(d kernel.Dice) {
	times, every := 2+d.Below(5), d.Duration(w.plan.TTL/10, w.plan.TTL)
	for i := range times {
		w.after(time.Duration(i)*every, "restart again", func() {
			if !w.on(plan.Restarts) {
				return
			}
			if s := w.victim(d); d.Below(2) == 0 {
				s.crash("one of many restarts")
			} else {
				s.restart(func() {})
			}
		})
	}
}
