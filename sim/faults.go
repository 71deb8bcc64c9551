package sim

import (
	"time"

	"github.com/cirrus-id/cirrus/sim/kernel"
	"github.com/cirrus-id/cirrus/sim/plan"
)

// faulty reports whether faults may still happen.
func (w *world) faulty() bool {
	return !w.faultsEnded && w.config.Faults >= 0 &&
		(w.config.Faults == 0 || w.faults < w.config.Faults)
}

// on reports whether a kind of fault may happen now.
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
	return d.Chance(n) && w.countFault()
}

// countFault counts a fault, unless there have been enough.
func (w *world) countFault() bool {
	if !w.faulty() {
		return false
	}
	w.faults++
	return true
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
		{plan.SilentTail, 3 * w.plan.TTL, w.loseSilently},
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
		{plan.OtherStore, 3 * w.plan.TTL, w.misdirect},
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
		if w.on(k) && w.countFault() {
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
