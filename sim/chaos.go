package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
	"github.com/cirrus-id/cirrus/sim/event"
	"github.com/cirrus-id/cirrus/sim/kernel"
	"github.com/cirrus-id/cirrus/sim/plan"
	"github.com/cirrus-id/cirrus/snowflake"
	"github.com/cirrus-id/cirrus/store"
)

func nodeID(n int) snowflake.NodeID { return snowflake.NodeID(n) }

// faulty says whether faults may still happen.
func (w *world) faulty() bool {
	return !w.healed && w.config.Faults >= 0 && (w.config.Faults == 0 || w.spent < w.config.Faults)
}

// on says whether a kind of fault may happen now.
func (w *world) on(k plan.Kind) bool { return w.plan.On[k] && w.faulty() }

type faultKey struct {
	kind   plan.Kind
	entity int
}

// fault decides whether a fault happens here, in so many of a thousand cases.
func (w *world) fault(k plan.Kind, entity int, n uint64) bool {
	key := faultKey{k, entity}
	d, ok := w.faultDices[key]
	if !ok {
		d = w.dice("fault:"+string(k), entity)
		w.faultDices[key] = d
	}
	return d.Chance(n) && w.spend()
}

// spend counts a fault, unless there have been enough.
func (w *world) spend() bool {
	if !w.faulty() {
		return false
	}
	w.spent++
	return true
}

// setClocks gives every machine its clock.
func (w *world) setClocks() {
	for i, m := range w.machines {
		d := w.dice("clock", i)
		rate := int64(d.Below(uint64(2*w.plan.Drift+1))) - w.plan.Drift
		offset := d.Duration(0, time.Hour) - 30*time.Minute
		coarse := []time.Duration{time.Millisecond, 15 * time.Millisecond, w.plan.Quarantine / 20}[d.Below(3)]
		if w.on(plan.Rate) || w.on(plan.WildRate) {
			m.Rate = rate
		}
		if w.on(plan.Offset) {
			m.Offset = offset
		}
		if w.on(plan.Coarse) {
			m.Resolution = min(coarse, w.plan.Quarantine/20)
		}
	}
}

// startFaults plans the faults that come by time. Each kind comes after a
// while of its own, again and again.
func (w *world) startFaults() {
	for _, f := range []struct {
		kind  plan.Kind
		every time.Duration
		do    func(d kernel.Dice)
	}{
		{plan.Cut, 4 * w.plan.TTL, w.cut},
		{plan.Step, 3 * w.plan.TTL, w.stepClock},
		{plan.Rate, 6 * w.plan.TTL, w.changeRate},
		{plan.Suspend, 5 * w.plan.TTL, func(d kernel.Dice) { w.suspend(d, true) }},
		{plan.BlindSuspend, 5 * w.plan.TTL, func(d kernel.Dice) { w.suspend(d, false) }},
		{plan.Pause, 2 * w.plan.TTL, w.pause},
		{plan.Stall, w.plan.TTL, w.stall},
		{plan.AppCrash, 2 * w.plan.TTL, w.crashApp},
		{plan.ServerCrash, 4 * w.plan.TTL, func(d kernel.Dice) { w.victim(d).crash("") }},
		{plan.OldCopy, 8 * w.plan.TTL, func(d kernel.Dice) { w.restore(d, true) }},
		{plan.LostVolume, 3 * w.plan.TTL, w.moveVolume},
		{plan.BareCopy, 5 * w.plan.TTL, func(d kernel.Dice) { w.restore(d, false) }},
		{plan.LostDisk, 12 * w.plan.TTL, func(d kernel.Dice) { w.loseDisk(d, false) }},
		{plan.FalseInit, 6 * w.plan.TTL, func(d kernel.Dice) { w.loseDisk(d, true) }},
		{plan.BadBit, 4 * w.plan.TTL, w.turnBit},
		{plan.LostTail, 6 * w.plan.TTL, w.loseTail},
		{plan.SilentTail, 3 * w.plan.TTL, w.loseUntold},
		{plan.Timings, 4 * w.plan.TTL, w.changeTimings},
		{plan.Stride, 4 * w.plan.TTL, w.changeStride},
		{plan.Settings, 4 * w.plan.TTL, w.changeSettings},
		{plan.LongTTL, 3 * w.plan.TTL, w.leaseLong},
		{plan.Restarts, 8 * w.plan.TTL, w.restartOften},
		{plan.Revoke, 3 * w.plan.TTL, w.revoke},
		{plan.NewPool, 5 * w.plan.TTL, w.createPool},
		{plan.Grow, 5 * w.plan.TTL, w.grow},
		{plan.WrongWall, 5 * w.plan.TTL, w.startWithWrongWall},
		{plan.Impostor, w.plan.TTL / 2, w.impersonate},
		{plan.Fumble, 2 * w.plan.TTL, w.fumble},
		{plan.EtcdCut, 3 * w.plan.TTL, w.cutEtcd},
		{plan.EtcdOutage, 5 * w.plan.TTL, func(d kernel.Dice) { w.etcd.outage(d) }},
		{plan.EtcdSlow, 4 * w.plan.TTL, func(d kernel.Dice) { w.etcd.slowDown(d) }},
		{plan.EtcdFull, 5 * w.plan.TTL, func(d kernel.Dice) { w.etcd.fill(d) }},
		{plan.EtcdRestart, 3 * w.plan.TTL, func(d kernel.Dice) { w.etcd.restart(d) }},
		{plan.EtcdMember, 4 * w.plan.TTL, func(d kernel.Dice) { w.etcd.silence(d) }},
		{plan.Double, 2 * w.plan.TTL, w.double},
		{plan.LeaderCut, 3 * w.plan.TTL, w.cutReplica},
		{plan.LeaderPause, 2 * w.plan.TTL, w.pauseLeader},
		{plan.LeaderCrash, 3 * w.plan.TTL, w.crashLeader},
		{plan.LeaderStop, 3 * w.plan.TTL, w.stopLeader},
		{plan.OtherStore, 3 * w.plan.TTL, w.leadAstray},
		{plan.Nameless, w.plan.TTL, w.ask},
	} {
		if w.on(f.kind) {
			w.again(f.kind, f.every, f.do)
		}
	}
	if w.on(plan.Settings) && w.on(plan.LongTTL) {
		w.lowerSoon()
	}
	if w.on(plan.Twins) {
		w.apps[1].name = w.apps[0].name
	}
}

func (w *world) again(k plan.Kind, every time.Duration, do func(kernel.Dice)) {
	d := w.dice("chaos:"+string(k), 0)
	w.after(d.Duration(every/8, 2*every), string(k), func() {
		if w.on(k) && w.spend() {
			do(d)
			w.again(k, every, do)
		}
	})
}

// anyMachine draws a machine; the server twice as often as an app, or each of
// those that serve.
func (w *world) anyMachine(d kernel.Dice) *kernel.Machine {
	i := int(d.Below(uint64(len(w.apps) + len(w.servers))))
	if i < len(w.apps) {
		return w.apps[i].machine
	}
	if s := w.servers[i-len(w.apps)]; s.running() {
		return s.machine
	}
	return w.primary.machine
}

func (w *world) cut(d kernel.Dice) {
	name := w.apps[d.Below(uint64(len(w.apps)))].machine.Name
	until := w.now() + d.Tail(w.plan.TTL, 4*w.plan.TTL)
	ways := d.Below(3)
	text := []string{"both ways", "to the server", "from the server"}[ways]
	if ways != 2 {
		w.net.toServer[name] = until
	}
	if ways != 1 {
		w.net.fromServer[name] = until
	}
	w.note(Record{Kind: RecordNetwork, Machine: name, Peer: "server", Node: -1, Until: until, Text: "cut off " + text})
}

func (w *world) stepClock(d kernel.Dice) {
	m := w.anyMachine(d)
	by := []time.Duration{w.plan.TTL, w.plan.Quarantine, time.Second, 10 * time.Minute, time.Hour}[d.Below(5)]
	by = d.Duration(by/2, by*3/2)
	if d.Below(2) == 0 {
		by = -by
	}
	if w.plan.Behind {
		by = -max(by, -by)
	}
	if off := m.Offset + by; off > -6*time.Hour && off < 6*time.Hour {
		m.Offset = off
		w.note(Record{Kind: RecordClock, Machine: m.Name, Node: -1, Text: fmt.Sprintf("the wall clock is set by %v", by)})
	}
}

func (w *world) changeRate(d kernel.Dice) {
	m := w.anyMachine(d)
	m.SetRate(int64(d.Below(uint64(2*w.plan.Drift+1))) - w.plan.Drift)
	defer w.clockChanged(m)
	w.note(Record{Kind: RecordClock, Machine: m.Name, Node: -1, Text: fmt.Sprintf("the clock goes %+d ppm", m.Rate)})
}

func (w *world) suspend(d kernel.Dice, counts bool) {
	m := w.anyMachine(d)
	if m.IsFrozen() {
		return
	}
	t := d.Tail(w.plan.TTL, 4*w.plan.TTL)
	m.Suspend(t, counts)
	w.note(Record{Kind: RecordPause, Machine: m.Name, Node: -1, Until: m.Frozen, Text: "asleep"})
}

func (w *world) pause(d kernel.Dice) {
	m := w.anyMachine(d)
	m.Freeze(d.Tail(w.plan.TTL/2, 4*w.plan.TTL))
	w.note(Record{Kind: RecordPause, Machine: m.Name, Node: -1, Until: m.Frozen, Text: "stands still"})
}

func (w *world) stall(d kernel.Dice) {
	a := w.apps[d.Below(uint64(len(w.apps)))]
	a.stallFor = d.Tail(w.plan.TTL, 8*w.plan.TTL)
}

func (w *world) crashApp(d kernel.Dice) {
	a := w.apps[d.Below(uint64(len(w.apps)))]
	back := d.Duration(0, 3*w.plan.TTL)
	stays := d.Chance(150)
	if a.proc == nil || a.proc.Dead {
		return
	}
	a.end(RecordCrash, "")
	a.gone = stays
	w.after(back, "restart", a.boot)
}

// keepCopy keeps the disk as it is, as a backup does.
func (w *world) keepCopy() {
	if s := w.primary; s.proc != nil && !s.proc.Dead && s.store != nil { // an empty disk is no copy
		s.copies = append(s.copies, cloneDisk(s.disk, 0))
	}
}

func (w *world) restore(d kernel.Dice, recovers bool) {
	s := w.primary
	w.keepCopy()
	if len(s.copies) < 2 || s.proc == nil || s.proc.Dead {
		return
	}
	from := s.copies[d.Below(uint64(len(s.copies)-1))]
	back := d.Duration(0, w.plan.TTL)
	s.end(RecordCrash, "its disk is replaced", 0)
	s.disk = cloneDisk(from, 0)
	w.note(Record{Kind: RecordOperate, Machine: s.name(), Node: -1, Text: map[bool]string{true: "an old copy is restored and recovered", false: "an old copy is restored, and not recovered"}[recovers]})
	if recovers {
		s.wallWasWrong() // who recovers looks at the clock
		if err := s.recover(); err != nil {
			panic(err)
		}
		if w.on(plan.WrongWall) && d.Below(2) == 1 {
			s.machine.Offset = -d.Duration(0, time.Hour)
		}
		w.saw("an old copy was recovered")
	} else {
		snap, _ := s.peek() // whatever is left
		w.hear(event.StoreIs{Snapshot: snap})
	}
	s.copies = nil
	w.after(back, "restart", s.boot)
	w.soonChanged(back)
}

func (w *world) loseDisk(d kernel.Dice, vouched bool) {
	s := w.primary
	back := d.Duration(0, w.plan.TTL)
	if s.proc == nil || s.proc.Dead {
		return
	}
	s.end(RecordCrash, "its disk is lost", 0)
	s.disk = newDisk()
	s.copies = nil
	w.hear(event.StoreIs{})
	s.wallWasWrong()
	w.note(Record{Kind: RecordOperate, Machine: s.name(), Node: -1, Text: map[bool]string{true: "a lost disk is replaced, with init", false: "a lost disk is replaced"}[vouched]})
	if vouched {
		if err := s.create(true); err != nil {
			panic(err)
		}
	}
	w.saw("a disk was lost")
	w.after(back, "restart", s.boot)
	w.soonChanged(back)
}

func (w *world) turnBit(d kernel.Dice) {
	s := w.primary
	at := d.Below(1 << 20)
	if s.proc == nil || s.proc.Dead {
		return
	}
	s.end(RecordCrash, "a bit of its disk turns over", 0)
	if !s.turnBit(at) {
		w.after(0, "restart", s.boot)
		return
	}
	back := d.Duration(0, w.plan.TTL)
	if snap, err := s.peek(); !errors.Is(err, store.ErrLostWrites) { // S13: then the start will be refused
		w.hear(event.StoreIs{Snapshot: snap})
	}
	w.hear(event.StoreDamaged{})
	w.after(back, "restart", s.boot)
}

// admin makes a call of the operator's, in a process of its own.
func (w *world) admin(what string, call func(context.Context, cirrusv1connect.AdminServiceClient) error) {
	w.operate(what, func(ctx context.Context, t transport) error {
		return call(ctx, cirrusv1connect.NewAdminServiceClient(t, "http://server", connect.WithAcceptCompression("gzip", nil, nil)))
	})
}

// lease makes a call as holders do, in a process of the operator's.
func (w *world) lease(what string, call func(context.Context, cirrusv1connect.LeaseServiceClient) error) {
	w.leaseAt(serviceName, what, call)
}

// leaseAt is lease, at one server.
func (w *world) leaseAt(host, what string, call func(context.Context, cirrusv1connect.LeaseServiceClient) error) {
	w.operate(what, func(ctx context.Context, t transport) error {
		return call(ctx, cirrusv1connect.NewLeaseServiceClient(t, "http://"+host, connect.WithAcceptCompression("gzip", nil, nil)))
	})
}

func (w *world) operate(what string, call func(context.Context, transport) error) {
	p := w.operator.Process()
	p.Start(what, func() {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		w.after(2*w.plan.TTL, "impatience", func() {
			cancel()
			w.operator.Touch()
		})
		err := call(ctx, transport{w: w, proc: p})
		text := what
		if err != nil {
			text += ": " + err.Error()
		} else {
			w.saw("an operator changed something")
		}
		w.note(Record{Kind: RecordOperate, Machine: "operator", Node: -1, Text: text})
	})
}

// changeTimings changes TTL and quarantine, never below what the clocks of
// this world need.
func (w *world) changeTimings(d kernel.Dice) {
	ttl := d.Duration(max(w.plan.TTL/2, time.Second), w.plan.MaxTTL).Truncate(time.Millisecond)
	quarantine := d.Duration(w.plan.Quarantine, 2*w.plan.Quarantine).Truncate(time.Millisecond)
	pool := &cirrusv1.Pool{Name: string(fencing.DefaultPool), Ttl: durationpb.New(ttl), Quarantine: durationpb.New(quarantine)}
	w.admin(fmt.Sprintf("ttl %v, quarantine %v", ttl, quarantine), func(ctx context.Context, c cirrusv1connect.AdminServiceClient) error {
		_, err := c.UpdatePool(ctx, &cirrusv1.UpdatePoolRequest{Pool: pool})
		return err
	})
	w.pool.Quarantine = max(w.pool.Quarantine, quarantine)
}

func (w *world) changeStride(d kernel.Dice) {
	s := w.victim(d)
	stride := d.Duration(max(w.plan.MaxStride/3, 100*time.Millisecond), w.plan.MaxStride).Truncate(time.Millisecond)
	s.restart(func() {
		w.stride = stride
		w.note(Record{Kind: RecordOperate, Machine: s.name(), Node: -1, Text: fmt.Sprintf("stride %v", stride)})
		w.saw("the stride was changed")
	})
}

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
	w.admin(fmt.Sprintf("revoke node ID %d", l.Node), func(ctx context.Context, c cirrusv1connect.AdminServiceClient) error {
		_, err := c.Revoke(ctx, &cirrusv1.RevokeRequest{Pool: string(l.Pool), NodeId: uint32(l.Node), Epoch: uint64(l.Epoch)})
		return err
	})
}

// createPool creates a pool, and some apps move to it at their next start.
func (w *world) createPool(d kernel.Dice) {
	p := w.newPool("second")
	w.admin("create pool second", func(ctx context.Context, c cirrusv1connect.AdminServiceClient) error {
		_, err := c.CreatePool(ctx, &cirrusv1.CreatePoolRequest{Pool: &cirrusv1.Pool{
			Name: string(p.Name), Ttl: durationpb.New(p.TTL), MaxTtl: durationpb.New(p.MaxTTL), Quarantine: durationpb.New(p.Quarantine),
			NodeIds: &cirrusv1.NodeRange{First: uint32(p.First), Last: uint32(p.Last)},
		}})
		return err
	})
	a := w.apps[d.Below(uint64(len(w.apps)))]
	if _, known := w.oracle.Pool("second"); known && a.proc != nil && !a.proc.Dead && a.holder == nil {
		a.end(RecordExit, "moves to pool second")
		a.pool, a.poolIndex = "second", 1
		w.after(0, "restart", a.boot)
	}
}

func (w *world) grow(kernel.Dice) {
	last := min(w.pool.Last+1, 1023)
	w.admin(fmt.Sprintf("grow to node ID %d", last), func(ctx context.Context, c cirrusv1connect.AdminServiceClient) error {
		_, err := c.UpdatePool(ctx, &cirrusv1.UpdatePoolRequest{Pool: &cirrusv1.Pool{
			Name: string(fencing.DefaultPool), NodeIds: &cirrusv1.NodeRange{First: uint32(w.pool.First), Last: uint32(last)},
		}})
		if err == nil {
			w.pool.Last = max(w.pool.Last, last)
		}
		return err
	})
}

// startWithWrongWall restarts the server's machine, which comes up with a
// wall clock that nobody has set.
func (w *world) startWithWrongWall(d kernel.Dice) {
	by := []time.Duration{w.plan.TTL, time.Hour, 20 * time.Hour, 48 * time.Hour}[d.Below(4)]
	if d.Below(2) == 0 || by > 20*time.Hour || w.plan.Behind {
		by = -by
	}
	if s := w.victim(d); s.proc != nil && !s.proc.Dead {
		s.crash("its machine restarts, with a wrong wall clock")
		s.machine.Offset = by
		w.note(Record{Kind: RecordClock, Machine: s.name(), Node: -1, Text: fmt.Sprintf("the wall clock is off by %v", by)})
	}
}
