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

// Timings, Settings, Stride, NewPool, Grow: an operator changes what holds.

// changeTimings changes TTL and quarantine, never below what the clocks of
// this world need.
func (w *world) changeTimings(d kernel.Dice) {
	ttl := d.Duration(max(w.plan.TTL/2, time.Second), w.plan.MaxTTL).Truncate(time.Millisecond)
	quarantine := d.Duration(w.plan.Quarantine, 2*w.plan.Quarantine).Truncate(time.Millisecond)
	pool := &cirrusv1.Pool{Name: string(fencing.DefaultPool), Ttl: durationpb.New(ttl),
		Quarantine: durationpb.New(quarantine)}
	w.admin(fmt.Sprintf("ttl %v, quarantine %v", ttl, quarantine),
		func(ctx context.Context, c cirrusv1connect.AdminServiceClient) error {
			_, err := c.UpdatePool(ctx, &cirrusv1.UpdatePoolRequest{Pool: pool})
			return err
		})
	w.pool.Quarantine = max(w.pool.Quarantine, quarantine)
}

// changeSettings sets what the default pool allows to anything that is allowed
// at all, shorter or longer than before, by an operator who doesn't look whether
// the pool is suspicious: by a call, or by the flags of the next start.
func (w *world) changeSettings(d kernel.Dice) {
	most := []time.Duration{w.plan.MaxTTL, w.plan.Longest,
		d.Duration(w.plan.MaxTTL, w.plan.Longest)}[d.Below(3)].Truncate(time.Millisecond)
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
	// whoever makes a store again knows what there has been
	w.pool.MaxTTL = max(w.pool.MaxTTL, most)
	w.hear(event.Described{MaxTTL: w.pool.MaxTTL})
	if s := w.primary; !w.replicated() && d.Below(3) == 0 {
		s.restart(func() {
			s.flags = change
			w.note(Record{Kind: RecordOperate, Machine: s.name(), Node: -1,
				Text: fmt.Sprintf("its flags say max_ttl %v", most)})
		})
		return
	}
	w.admin(fmt.Sprintf("max_ttl %v, quarantine %v", most, change.Quarantine),
		func(ctx context.Context, c cirrusv1connect.AdminServiceClient) error {
			_, err := c.UpdatePool(ctx, &cirrusv1.UpdatePoolRequest{Pool: pool})
			return err
		})
}

// lowerSoon lowers the default pool's max_ttl early in a world with long leases:
// of those that it allowed, only its longest TTL tells from then on.
func (w *world) lowerSoon() {
	d := w.dice("max_ttl is lowered", 0)
	w.after(d.Duration(0, 2*w.plan.TTL), "settings", func() {
		if !w.on(plan.Settings) || !w.countFault() {
			return
		}
		w.admin(fmt.Sprintf("max_ttl %v", w.plan.MaxTTL),
			func(ctx context.Context, c cirrusv1connect.AdminServiceClient) error {
				_, err := c.UpdatePool(ctx,
					&cirrusv1.UpdatePoolRequest{Pool: &cirrusv1.Pool{Name: string(
						fencing.DefaultPool),
						MaxTtl: durationpb.New(w.plan.MaxTTL)}})
				return err
			})
	})
}

// soonChanged changes the settings soon after a suspicious store has been
// started, or a little later.
func (w *world) soonChanged(back time.Duration) {
	if d := w.dice("settings of a suspicious store", 0); w.on(plan.Settings) && d.Below(2) == 1 {
		w.after(back+d.Duration(0, 2*w.plan.TTL), "settings", func() {
			if w.on(plan.Settings) && w.countFault() {
				w.changeSettings(d)
			}
		})
	}
}

func (w *world) changeStride(d kernel.Dice) {
	s := w.victim(d)
	stride := d.Duration(max(w.plan.MaxStride/3, 100*time.Millisecond),
		w.plan.MaxStride).Truncate(time.Millisecond)
	s.restart(func() {
		w.stride = stride
		w.note(Record{Kind: RecordOperate, Machine: s.name(), Node: -1,
			Text: fmt.Sprintf("stride %v", stride)})
		w.saw("the stride was changed")
	})
}

// createPool creates a pool, and some apps move to it at their next start.
func (w *world) createPool(d kernel.Dice) {
	p := w.newPool("second")
	w.admin("create pool second", func(ctx context.Context,
		c cirrusv1connect.AdminServiceClient) error {
		_, err := c.CreatePool(ctx, &cirrusv1.CreatePoolRequest{Pool: &cirrusv1.Pool{
			Name: string(p.Name), Ttl: durationpb.New(p.TTL), MaxTtl: durationpb.New(p.MaxTTL),
			Quarantine: durationpb.New(p.Quarantine),
			NodeIds:    &cirrusv1.NodeRange{First: uint32(p.First), Last: uint32(p.Last)},
		}})
		return err
	})
	a := w.apps[d.Below(uint64(len(w.apps)))]
	if _, known := w.oracle.Pool("second"); known && a.proc != nil && !a.proc.Dead &&
		a.holder == nil {
		a.end(RecordExit, "moves to pool second")
		a.pool, a.poolIndex = "second", 1
		w.after(0, "restart", a.boot)
	}
}

func (w *world) grow(kernel.Dice) {
	last := min(w.pool.Last+1, 1023)
	w.admin(fmt.Sprintf("grow to node ID %d", last),
		func(ctx context.Context, c cirrusv1connect.AdminServiceClient) error {
			_, err := c.UpdatePool(ctx, &cirrusv1.UpdatePoolRequest{Pool: &cirrusv1.Pool{
				Name:    string(fencing.DefaultPool),
				NodeIds: &cirrusv1.NodeRange{First: uint32(w.pool.First), Last: uint32(last)},
			}})
			if err == nil {
				w.pool.Last = max(w.pool.Last, last)
			}
			return err
		})
}
