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
)

// drawLongTTL draws how long the longest TTL is, and whether the pool allows it
// from the beginning.
func (p *plan) drawLongTTL(s kernel.Dice) {
	p.longest = p.maxTTL * time.Duration(2+s.Below(3))
	if p.poolMax = p.maxTTL; s.Below(2) == 1 {
		p.poolMax = p.longest
	}
	if !p.on[LongTTL] {
		p.longest, p.poolMax = p.maxTTL, p.maxTTL
	}
}

// driftOf is how much clocks may drift for leases of a TTL, in millionths: of
// what they drift apart over TTL + stride, less than the lease's quarantine;
// half of it is each side's, less a margin for coarse clocks.
func (p *plan) driftOf(ttl time.Duration) int64 {
	return int64(min(200_000, 300_000*max(p.quarantine, ttl/10)/(ttl*2+p.maxStride)))
}

// changeSettings sets what the default pool allows to anything that is allowed
// at all, shorter or longer than before, by an operator who doesn't look whether
// the pool is suspicious: by a call, or by the flags of the next start.
func (w *world) changeSettings(d kernel.Dice) {
	most := []time.Duration{w.plan.maxTTL, w.plan.longest, d.Duration(w.plan.maxTTL, w.plan.longest)}[d.Below(3)].Truncate(time.Millisecond)
	quarantine := d.Duration(w.plan.quarantine, 2*w.plan.quarantine).Truncate(time.Millisecond)
	ttl := d.Duration(max(w.plan.ttl/2, time.Second), w.plan.maxTTL).Truncate(time.Millisecond)
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
	w.after(d.Duration(0, 2*w.plan.ttl), "settings", func() {
		if !w.on(Settings) || !w.spend() {
			return
		}
		w.admin(fmt.Sprintf("max_ttl %v", w.plan.maxTTL), func(ctx context.Context, c cirrusv1connect.AdminServiceClient) error {
			_, err := c.UpdatePool(ctx, &cirrusv1.UpdatePoolRequest{Pool: &cirrusv1.Pool{Name: string(fencing.DefaultPool), MaxTtl: durationpb.New(w.plan.maxTTL)}})
			return err
		})
	})
}

// soonChanged changes the settings soon after a suspicious store has been
// started, or a little later.
func (w *world) soonChanged(back time.Duration) {
	if d := w.dice("settings of a suspicious store", 0); w.on(Settings) && d.Below(2) == 1 {
		w.after(back+d.Duration(0, 2*w.plan.ttl), "settings", func() {
			if w.on(Settings) && w.spend() {
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
	ttl := []time.Duration{w.plan.longest, d.Duration(w.plan.maxTTL, w.plan.longest).Truncate(time.Millisecond)}[d.Below(2)]
	stays, ends := d.Duration(0, w.plan.longest), d.Below(4)
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
	times, every := 2+d.Below(5), d.Duration(w.plan.ttl/10, w.plan.ttl)
	for i := range times {
		w.after(time.Duration(i)*every, "restart again", func() {
			if !w.on(Restarts) {
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
