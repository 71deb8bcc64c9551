package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cirrus-id/cirrus/client"
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

// app is a machine on which an app runs, one process after the other. Each
// process holds one lease after the other, with the product's holder, and
// mints with its generator.
type app struct {
	w         *world
	index     int
	machine   *machine
	name      string // its app ID; twins have one
	pool      fencing.PoolName
	poolIndex int

	proc   *process
	holder *client.Holder
	clock  *clock
	// leases are those that the process was told of.
	leases []*window
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
	minting  *task         // set while the generator is asked
	noes     int           // that the service has told the process since it asked for a holder
	losses   int           // that it has told it, and no holder has spoken of
	asking   time.Duration // since when it has asked for a lease; −1: it holds one or doesn't want any
	ids      []snowflake.ID
	lives    int
	// seen and deadline are the lease and its deadline when last looked at.
	seen     fencing.Lease
	deadline time.Duration
	// shown is the deadline that the trace has of the lease of the epoch shownFor.
	shown    time.Duration
	shownFor fencing.Epoch
}

// window is what one process was told of one lease.
type window struct {
	key            nodeKey
	epoch          uint64
	instance       string
	floor, ceiling int64
	// deadline is the latest, by the machine's steady clock, that answers allow.
	deadline time.Duration
}

func newApp(w *world, index int) *app {
	d := w.dice("app", index)
	a := &app{
		w: w, index: index, machine: w.machine(fmt.Sprintf("app-%d", index)), name: fmt.Sprintf("app-%d", index),
		pool: fencing.DefaultPool, asking: -1,
	}
	p := w.plan
	a.wait = []time.Duration{0, p.ttl, 3 * p.ttl}[d.Below(3)]
	if d.Below(4) == 3 {
		a.ttl = p.maxTTL
	}
	a.every = d.duration(p.ttl/40, p.ttl/8)
	a.burst = 1 + int(d.Below(60))
	if d.Below(20) == 19 {
		a.burst = 6000 // more than a millisecond's sequence has numbers
		a.every = 3 * p.ttl
	}
	a.maxLead = []time.Duration{0, 0, snowflake.NoLead, 20 * time.Millisecond}[d.Below(4)]
	a.life = d.duration(p.ttl, 5*p.ttl)
	a.polite = []uint64{700, 1000, 300}[d.Below(3)]
	a.noLast = d.Below(8) == 7
	a.late = d.Below(2) == 1
	a.target = w.target(index)
	return a
}

// boot starts a process of the app.
func (a *app) boot() {
	if a.gone || a.proc != nil && !a.proc.dead {
		return
	}
	w := a.w
	p := a.machine.process()
	a.proc, a.holder, a.leases, a.minting, a.seen = p, nil, nil, nil, fencing.Lease{}
	a.clock = newClock(p)
	a.clock.before = a.check
	a.lives++
	w.note(Record{Kind: RecordStart, Machine: a.machine.name, Process: p.number, Node: -1})
	p.start("main", func() { a.main(p) })
}

// main is the app: it takes a lease, uses it for a while and gives it back, or
// just ends.
func (a *app) main(p *process) {
	w := a.w
	d := w.dice("life", a.index)
	w.loop.sleep(d.duration(0, w.plan.ttl/2), "starting")
	for {
		h, err := a.hold(p)
		if err != nil {
			w.loop.sleep(d.duration(w.plan.ttl/4, w.plan.ttl), "waiting to ask again")
			continue
		}
		a.holder = h
		p.start("minter", func() { a.mint(p, h) })
		w.loop.sleep(d.duration(a.life/4, a.life*2), "living")
		if w.healed {
			w.loop.hang() // from now on it keeps what it has
		}
		if d.of(1000 - a.polite) {
			break
		}
		if err := a.release(h); err != nil {
			w.saw("a release was not confirmed")
		}
		a.holder = nil
		w.loop.sleep(d.duration(0, w.plan.ttl), "pausing")
	}
	w.loop.at(w.now(), "exit", func() {
		if a.proc == p && !p.dead {
			a.end(RecordExit, "without a release")
			w.after(d.duration(0, 2*w.plan.ttl), "restart", a.boot)
		}
	})
	w.loop.hang()
}

// hold asks for a lease.
func (a *app) hold(p *process) (*client.Holder, error) {
	w := a.w
	dice := w.dice("holder", a.index)
	random := func() uint64 { return dice.Below(1<<32)<<32 | dice.Below(1<<32) }
	if original := w.apps[0]; w.on(TwinMemory) && a.index == 1 {
		if hi, lo, ok := original.memory(); ok && w.spend() {
			random = remembered(random, hi, lo)
			w.saw("a holder's memory was copied in mid-lease")
		}
	}
	opts := []client.Option{
		client.WithPool(a.pool), client.WithTTL(a.ttl), client.WithWait(min(a.wait, time.Minute)), client.WithMaxLead(a.maxLead),
		client.WithHTTPClient(transport{w: w, proc: p, late: a.late}), client.WithRunner(clientRunner{p}),
		client.WithClock(a.clock), client.WithSteadyClock(steadyClock{a.clock}),
		client.WithRandom(random),
		client.OnChange(func(e client.Event) { a.changed(p, e) }),
	}
	if a.noLast {
		opts = append(opts, client.WithoutLastTimestamp())
	}
	a.asking = w.now()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if d := w.dice("patience", a.index); d.Below(3) == 2 && !w.healed {
		w.after(d.duration(w.plan.ttl, 6*w.plan.ttl), "impatience", func() {
			cancel()
			a.machine.touch()
		})
	}
	a.noes, a.losses = 0, 0
	h, err := client.Hold(ctx, a.target, a.name, opts...)
	if err != nil && ctx.Err() == nil {
		a.refused(p, "gives up: "+err.Error())
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
	for _, win := range a.leases {
		if win.epoch == uint64(l.Epoch) {
			_, err := fmt.Sscanf(win.instance, "%16x%16x", &hi, &lo)
			return hi, lo, err == nil
		}
	}
	return 0, 0, false
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
	a.asking = -1
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w.after(w.dice("release", a.index).duration(w.plan.ttl/2, 3*w.plan.ttl), "impatience", func() {
		cancel()
		a.machine.touch()
	})
	return h.Release(ctx)
}

// changed is the holder's OnChange.
func (a *app) changed(p *process, e client.Event) {
	w := a.w
	a.endedBy(p, e)
	kind := RecordHold
	switch e.Change {
	case client.Held, client.Reacquired:
		a.asking = -1
	case client.Revived:
		a.asking = -1
		w.saw("a holder lived again under the same epoch")
	case client.Expired:
		kind = RecordLapse
		a.asking = w.now()
		w.saw("a holder stopped at its deadline")
	case client.Lost:
		kind = RecordLapse
		a.asking = w.now()
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
	w.note(Record{Kind: kind, Machine: a.machine.name, Process: p.number, Pool: string(l.Pool), Node: int(l.Node), Epoch: uint64(l.Epoch),
		Floor: int64(l.Floor), Ceiling: int64(l.Ceiling), Until: a.machine.when(a.machine.steady() + l.Remaining), Text: text})
}

// mint mints in bursts until the holder is over.
func (a *app) mint(p *process, h *client.Holder) {
	w := a.w
	self := w.loop.running
	d := w.dice("mint", a.index)
	for a.holder == h {
		w.loop.sleep(a.every, "mint")
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
			w.violate(PromiseExclusion, "%s minted after its deadline", a.machine.name)
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

// minted hands IDs to the checker, and to the resource that they are used at.
func (a *app) minted(h *client.Holder, lease client.Lease, ids []snowflake.ID) {
	if len(ids) == 0 {
		return
	}
	w := a.w
	lo, hi, node := int64(0), int64(0), 0
	for i, id := range ids {
		var ts int64
		ts, node = w.check.minted(a, id)
		if i == 0 {
			lo = ts
		}
		hi = ts
	}
	w.stats.IDs += len(ids)
	w.note(Record{Kind: RecordMint, Machine: a.machine.name, Process: a.proc.number, Pool: string(a.pool), Node: node, Floor: lo, Ceiling: hi, Count: len(ids)})
	if !h.Valid() {
		w.saw("an ID was minted by a holder that was past its deadline by then")
	}
	if int(lease.Node) != node || lease.Epoch == 0 {
		return // the lease has changed in between; which epoch it was is not known
	}
	use := func() { w.check.used(a, string(a.pool), node, uint64(lease.Epoch)) }
	if w.on(SlowUse) && w.fault(SlowUse, a.index, 50) {
		w.after(w.dice("slow use", a.index).tail(w.plan.ttl, 10*w.plan.ttl), "used late", use)
		return
	}
	use()
}

// check is called when the generator's check reads the clock: between its
// look at the lease and its taking the ID. It may stand still there.
func (a *app) check() {
	if a.stallFor == 0 || a.w.loop.running == nil || a.w.loop.running != a.minting {
		return
	}
	d := a.stallFor
	a.stallFor, a.minting = 0, nil
	w := a.w
	valid := a.holder != nil && a.holder.Valid()
	w.note(Record{Kind: RecordPause, Machine: a.machine.name, Process: a.proc.number, Node: -1, Until: w.now() + d, Text: "between check and ID"})
	if w.dice("stall", a.index).Below(2) == 0 {
		a.machine.freeze(d)
	}
	w.loop.sleep(d, "stalled")
	if valid && (a.holder == nil || !a.holder.Valid()) {
		w.saw("a holder was paused past its deadline between check and mint")
	}
}

// end ends the app's process.
func (a *app) end(kind RecordKind, why string) {
	w, p := a.w, a.proc
	w.note(Record{Kind: kind, Machine: a.machine.name, Process: p.number, Node: -1, Text: why})
	p.kill()
	w.net.clientDied(p)
	a.holder, a.minting, a.asking = nil, nil, -1
}

// live is the lease that the app may use now by its holder's own rules.
func (a *app) live() (client.Lease, bool) {
	if a.holder == nil || a.proc == nil || a.proc.dead {
		return client.Lease{}, false
	}
	l := a.holder.Lease()
	return l, l.Valid()
}

// told takes note of a lease that an answer told the process of.
func (a *app) told(key nodeKey, r *reply, deadline time.Duration) {
	for _, win := range a.leases {
		if win.key == key && win.epoch == r.epoch {
			win.ceiling = max(win.ceiling, r.ceiling)
			win.deadline = max(win.deadline, deadline)
			return
		}
	}
	a.leases = append(a.leases, &window{key: key, epoch: r.epoch, instance: r.instance, floor: r.floor, ceiling: r.ceiling, deadline: deadline})
}

// window finds the one that a timestamp lies in.
func (a *app) window(key nodeKey, ts int64) *window {
	for i := len(a.leases) - 1; i >= 0; i-- {
		if win := a.leases[i]; win.key == key && ts >= win.floor && ts <= win.ceiling {
			return win
		}
	}
	return nil
}

// clientRunner runs a holder as tasks of a process.
type clientRunner struct{ p *process }

// Go implements client.Runner.
func (r clientRunner) Go(f func()) { r.p.start("holder", f) }

// Wait implements client.Runner.
func (r clientRunner) Wait(timer <-chan time.Time, a, b <-chan struct{}) {
	r.p.machine.loop.park(func() bool { return ready(timer) || ready(a) || ready(b) })
}
