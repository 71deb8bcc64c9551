package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cirrus-id/cirrus/client"
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
	"github.com/cirrus-id/cirrus/sim/kernel"
	"github.com/cirrus-id/cirrus/sim/oracle"
	"github.com/cirrus-id/cirrus/sim/plan"
	"github.com/cirrus-id/cirrus/snowflake"
)

// endedBy tells of a holder that says that its lease has ended, or itself.
func (a *app) endedBy(p *kernel.Process, e client.Event) {
	switch e.Change {
	case client.Lost:
		a.w.hear(event.Loses{App: a.index, Process: named(p), Node: int(e.Lease.Node)})
	case client.Refused:
		a.w.hear(event.Ends{App: a.index, Process: named(p), Words: "takes itself for refused"})
	}
}

// app is a machine on which an app runs, one process after the other. Each
// process holds one lease after the other, with the product's holder, and
// mints with its generator.
type app struct {
	w         *world
	index     int
	machine   *kernel.Machine
	name      string // its app ID; twins have one
	pool      fencing.PoolName
	poolIndex int

	proc   *kernel.Process
	holder *client.Holder
	clock  *kernel.Clock
	// gone: it comes back no more.
	gone bool
	// How it behaves, drawn once.
	wait    time.Duration // in the queue
	ttl     time.Duration // that it asks for
	every   time.Duration // between bursts
	burst   int
	maxLead time.Duration
	life    time.Duration // how long it holds, typically
	polite  uint64        // of a thousand ends, how many release
	noLast  bool
	late    bool
	target  string // the addresses that it is given
	// stallFor makes the next check of the generator stand still for so long.
	stallFor time.Duration
	minting  *kernel.Task // set while the generator is asked
	ids      []snowflake.ID
}

func newApp(w *world, index int) *app {
	d := w.dice("app", index)
	a := &app{
		w: w, index: index, machine: w.machine(fmt.Sprintf("app-%d",
			index)), name: fmt.Sprintf("app-%d", index),
		pool: fencing.DefaultPool,
	}
	p := w.plan
	a.wait = []time.Duration{0, p.TTL, 3 * p.TTL}[d.Below(3)]
	if d.Below(4) == 3 {
		a.ttl = p.MaxTTL
	}
	a.every = d.Duration(p.TTL/40, p.TTL/8)
	a.burst = 1 + int(d.Below(60))
	if d.Below(20) == 19 {
		a.burst = 6000 // more than a millisecond's sequence has numbers
		a.every = 3 * p.TTL
	}
	a.maxLead = []time.Duration{0, 0, snowflake.NoLead, 20 * time.Millisecond}[d.Below(4)]
	a.life = d.Duration(p.TTL, 5*p.TTL)
	a.polite = []uint64{700, 1000, 300}[d.Below(3)]
	a.noLast = d.Below(8) == 7
	a.late = d.Below(2) == 1
	a.target = w.target(index)
	return a
}

// boot starts a process of the app.
func (a *app) boot() {
	if a.gone || a.proc != nil && !a.proc.Dead {
		return
	}
	w := a.w
	p := a.machine.Process()
	a.proc, a.holder, a.minting = p, nil, nil
	w.hear(event.AppStarted{App: a.index, Process: named(p), Pool: a.pool})
	a.clock = kernel.NewClock(p)
	a.clock.Before = a.check
	w.note(Record{Kind: RecordStart, Machine: a.machine.Name, Process: p.Number, Node: -1})
	p.Start("main", func() { a.main(p) })
}

// main is the app: it takes a lease, uses it for a while and gives it back, or
// just ends.
func (a *app) main(p *kernel.Process) {
	w := a.w
	d := w.dice("life", a.index)
	w.loop.Sleep(d.Duration(0, w.plan.TTL/2), "starting")
	for {
		h, err := a.hold(p)
		if err != nil {
			w.loop.Sleep(d.Duration(w.plan.TTL/4, w.plan.TTL), "waiting to ask again")
			continue
		}
		a.holder = h
		p.Start("minter", func() { a.mint(p, h) })
		w.loop.Sleep(d.Duration(a.life/4, a.life*2), "living")
		if w.faultsEnded {
			w.loop.Block() // from now on it keeps what it has
		}
		if d.Chance(1000 - a.polite) {
			break
		}
		if err := a.release(h); err != nil {
			w.saw("a release was not confirmed")
		}
		a.holder = nil
		w.loop.Sleep(d.Duration(0, w.plan.TTL), "pausing")
	}
	w.loop.At(w.now(), "exit", func() {
		if a.proc == p && !p.Dead {
			a.end(RecordExit, "without a release")
			w.after(d.Duration(0, 2*w.plan.TTL), "restart", a.boot)
		}
	})
	w.loop.Block()
}

// hold asks for a lease.
func (a *app) hold(p *kernel.Process) (*client.Holder, error) {
	w := a.w
	dice := w.dice("holder", a.index)
	random := func() uint64 { return dice.Below(1<<32)<<32 | dice.Below(1<<32) }
	if original := w.apps[0]; w.on(plan.TwinMemory) && a.index == 1 {
		if hi, lo, ok := original.memory(); ok && w.countFault() {
			random = remembered(random, hi, lo)
			w.saw("a holder's memory was copied in mid-lease")
		}
	}
	opts := []client.Option{
		client.WithPool(a.pool), client.WithTTL(a.ttl), client.WithWait(min(a.wait,
			time.Minute)), client.WithMaxLead(a.maxLead),
		client.WithHTTPClient(transport{w: w, proc: p,
			late: a.late}), client.WithRunner(clientRunner{p}),
		client.WithClock(a.clock), client.WithSteadyClock(a.clock.Steady()),
		client.WithRandom(random),
		client.OnChange(func(e client.Event) { a.changed(p, e) }),
	}
	if a.noLast {
		opts = append(opts, client.WithoutLastTimestamp())
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if d := w.dice("patience", a.index); d.Below(3) == 2 && !w.faultsEnded {
		w.after(d.Duration(w.plan.TTL, 6*w.plan.TTL), "timeout", func() {
			cancel()
			a.machine.Touch()
		})
	}
	w.hear(event.Asks{App: a.index})
	h, err := client.Hold(ctx, a.target, a.name, opts...)
	if err != nil && ctx.Err() == nil {
		w.hear(event.Ends{App: a.index, Process: named(p), Words: "gives up: " + err.Error()})
	}
	return h, err
}

// memory is what a copy of the app's memory, taken now, knows of its lease: the
// instance ID.
func (a *app) memory() (hi, lo uint64, ok bool) {
	l, ok := a.live()
	if !ok {
		return 0, 0, false
	}
	_, err := fmt.Sscanf(a.w.oracle.Instance(a.index, uint64(l.Epoch)), "%16x%16x", &hi, &lo)
	return hi, lo, err == nil
}

// remembered makes a process go on with an instance ID that another one has:
// as a machine does that was resumed twice. The copy asks for its lease once
// more where a true one would go on without; from then on there is no
// difference: both hold the lease, and mint.
func remembered(random func() uint64, hi, lo uint64) func() uint64 {
	words := []uint64{hi, lo}
	return func() uint64 {
		if len(words) == 0 {
			return random()
		}
		next := words[0]
		words = words[1:]
		return next
	}
}

func (a *app) release(h *client.Holder) error {
	w := a.w
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w.after(w.dice("release", a.index).Duration(w.plan.TTL/2, 3*w.plan.TTL), "timeout", func() {
		cancel()
		a.machine.Touch()
	})
	return h.Release(ctx)
}

// changed is the holder's OnChange.
func (a *app) changed(p *kernel.Process, e client.Event) {
	w := a.w
	a.endedBy(p, e)
	kind := RecordHold
	switch e.Change {
	case client.Revived:
		w.saw("a holder lived again under the same epoch")
	case client.Expired:
		kind = RecordLapse
		w.saw("a holder stopped at its deadline")
	case client.Lost:
		kind = RecordLapse
		w.saw("a holder lost its lease and stopped")
	case client.Released:
		kind = RecordLapse
	case client.Refused:
		kind = RecordLapse
	}
	l := e.Lease
	text := e.Change.String()
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	w.note(Record{Kind: kind, Machine: a.machine.Name, Process: p.Number, Pool: string(l.Pool),
		Node: int(l.Node), Epoch: uint64(l.Epoch), Floor: int64(l.Floor), Ceiling: int64(l.Ceiling),
		Until: a.machine.When(a.machine.Steady() + l.Remaining), Text: text})
}

// mint mints in bursts until the holder is over.
func (a *app) mint(p *kernel.Process, h *client.Holder) {
	w := a.w
	self := w.loop.Running
	d := w.dice("mint", a.index)
	for a.holder == h {
		w.loop.Sleep(a.every, "mint")
		n := 1 + int(d.Below(uint64(a.burst)))
		lease := h.Lease()
		if cap(a.ids) < n {
			a.ids = make([]snowflake.ID, n)
		}
		ids := a.ids[:n]
		var err error
		began := w.now()
		a.minting = self
		if d.Below(2) == 0 {
			n, err = h.Generator().NextN(ids)
		} else {
			n, err = a.oneByOne(h, ids)
		}
		a.minting = nil
		if n > 0 && w.now() == began && !h.Valid() {
			w.hear(event.MintedLate{App: a.index})
		}
		a.minted(h, lease, ids[:n])
		switch {
		case errors.Is(err, snowflake.ErrCeiling):
			w.saw("a generator stopped at its ceiling")
		case errors.Is(err, snowflake.ErrLeaseNotValid):
			w.saw("a generator refused without a valid lease")
		}
	}
}

func (a *app) oneByOne(h *client.Holder, ids []snowflake.ID) (int, error) {
	for i := range ids {
		id, err := h.Generator().Next()
		if err != nil {
			return i, err
		}
		ids[i] = id
	}
	return len(ids), nil
}

// minted tells of IDs, and uses them at the resource.
func (a *app) minted(h *client.Holder, lease client.Lease, ids []snowflake.ID) {
	if len(ids) == 0 {
		return
	}
	w := a.w
	w.hear(event.Minted{App: a.index, PoolIndex: a.poolIndex, IDs: ids})
	lo, _ := oracle.Split(ids[0])
	hi, node := oracle.Split(ids[len(ids)-1])
	w.stats.IDs += len(ids)
	w.note(Record{Kind: RecordMint, Machine: a.machine.Name, Process: a.proc.Number,
		Pool: string(a.pool), Node: node, Floor: lo, Ceiling: hi, Count: len(ids)})
	if !h.Valid() {
		w.saw("an ID was minted by a holder that was past its deadline by then")
	}
	if int(lease.Node) != node || lease.Epoch == 0 {
		return // the lease has changed in between; which epoch it was is not known
	}
	use := func() {
		w.hear(event.Used{App: a.index, Key: event.Key{Pool: string(a.pool), Node: node},
			Epoch: uint64(lease.Epoch)})
	}
	if w.on(plan.SlowUse) && w.fault(plan.SlowUse, a.index, 50) {
		w.after(w.dice("slow use", a.index).Tail(w.plan.TTL, 10*w.plan.TTL), "used late", use)
		return
	}
	use()
}

// check is called when the generator's check reads the clock: between its
// look at the lease and its taking the ID. It may stand still there.
func (a *app) check() {
	if a.stallFor == 0 || a.w.loop.Running == nil || a.w.loop.Running != a.minting {
		return
	}
	d := a.stallFor
	a.stallFor, a.minting = 0, nil
	w := a.w
	valid := a.holder != nil && a.holder.Valid()
	w.note(Record{Kind: RecordPause, Machine: a.machine.Name, Process: a.proc.Number, Node: -1,
		Until: w.now() + d, Text: "between check and ID"})
	if w.dice("stall", a.index).Below(2) == 0 {
		a.machine.Freeze(d)
	}
	w.loop.Sleep(d, "stalled")
	if valid && (a.holder == nil || !a.holder.Valid()) {
		w.saw("a holder was paused past its deadline between check and mint")
	}
}

// end ends the app's process.
func (a *app) end(kind RecordKind, why string) {
	w, p := a.w, a.proc
	w.note(Record{Kind: kind, Machine: a.machine.Name, Process: p.Number, Node: -1, Text: why})
	p.Kill()
	w.hear(event.ClientEnded{Process: named(p)})
	w.net.clientDied(p)
	a.holder, a.minting = nil, nil
}

// live is the lease that the app may use now by its holder's own rules.
func (a *app) live() (client.Lease, bool) {
	if a.holder == nil || a.proc == nil || a.proc.Dead {
		return client.Lease{}, false
	}
	l := a.holder.Lease()
	return l, l.Valid()
}

// clientRunner runs a holder as tasks of a process.
type clientRunner struct{ p *kernel.Process }

// Go implements client.Runner.
func (r clientRunner) Go(f func()) { r.p.Start("holder", f) }

// Wait implements client.Runner.
func (r clientRunner) Wait(timer <-chan time.Time, a, b <-chan struct{}) {
	r.p.Machine.Loop.Park(func() bool {
		return kernel.Ready(timer) || kernel.Ready(a) ||
			kernel.Ready(b)
	})
}
