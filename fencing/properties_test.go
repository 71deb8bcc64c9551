package fencing

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cirrus-id/cirrus/snowflake"
)

// add adds the counts of another world.
func (c *twinCounts) add(o twinCounts) {
	c.grants += o.grants
	c.reissues += o.reissues
	c.revivals += o.revivals
	c.takenOver += o.takenOver
	c.released += o.released
	c.noted += o.noted
	c.silent += o.silent
	c.heard += o.heard
	c.lost += o.lost
	c.refused += o.refused
	c.minted += o.minted
	c.queued += o.queued
	c.shared += o.shared
	c.disasters += o.disasters
}

// step does one drawn action. An action that has nothing to act on does nothing.
func (w *world) step() {
	t := w.t
	h := w.holders[rapid.IntRange(0, len(w.holders)-1).Draw(t, "holder")]
	switch rapid.SampledFrom(w.actions()).Draw(t, "action") {
	case "ask":
		w.ask(h)
	case "ask promptly":
		w.ask(h)
		w.deliverLast()
		if w.leader != nil {
			w.landAll(w.leader)
		}
		w.deliverLast()
	case "give up":
		w.giveUp(h)
	case "give up promptly":
		w.giveUp(h)
		w.deliverLast()
		if w.leader != nil {
			w.landAll(w.leader)
		}
	case "mint":
		w.mint(h)
	case "replace":
		// Another instance starts under the same app ID. The old one is not dead: it
		// may still mint.
		for i := range w.holders {
			if w.holders[i] == h {
				w.holders[i] = w.newHolder(h.app)
			}
		}
	case "deliver":
		w.deliver(rapid.Bool().Draw(t, "doubled"))
	case "lose":
		w.pick()
	case "land":
		if p := w.leader; p != nil && len(p.flights) > 0 {
			w.acknowledge(p, rapid.IntRange(0, len(p.flights)-1).Draw(t, "write"))
		}
	case "land unheard":
		if p := w.leader; p != nil && len(p.flights) > 0 {
			if f := p.flights[rapid.IntRange(0, len(p.flights)-1).Draw(t, "write")]; !f.landed {
				w.land(f)
			}
		}
	case "tick":
		for _, p := range append(w.deposed, w.leader) {
			if p != nil {
				w.tick(p)
				w.poke(p)
			}
		}
	case "pass":
		w.pass(w.drawPass(), rapid.IntRange(0, 3).Draw(t, "lazy") == 0)
	case "crash":
		w.stop(false)
	case "start":
		if w.leader == nil {
			w.start()
		}
	case "restart":
		w.stop(false)
		w.start()
	case "take over":
		if w.leader != nil {
			w.stop(true)
			w.start()
		}
	case "fail":
		if p := w.leader; p != nil {
			w.stop(true)
			p.Fail(errTest)
		}
	case "revoke":
		w.revoke()
	case "jump":
		w.jump()
	case "change":
		w.change()
	case "copy":
		w.copied = w.disk.copied()
	case "disaster":
		if rapid.IntRange(0, 4).Draw(t, "spared") == 0 {
			w.disaster()
		}
	}
}

func (w *world) actions() []string {
	actions := []string{
		"ask", "ask promptly", "ask promptly", "ask promptly", "ask promptly", "give up",
		"give up promptly", "mint", "mint", "replace",
		"deliver", "deliver", "deliver", "lose", "land", "land", "land unheard", "tick",
		"pass", "pass", "pass", "pass", "crash", "start", "start", "restart", "take over", "fail",
		"revoke",
	}
	if w.with.jumps {
		actions = append(actions, "jump")
	}
	if w.with.changes {
		actions = append(actions, "change")
	}
	if w.with.disasters {
		actions = append(actions, "copy", "disaster")
	}
	return actions
}

// drawPass draws a duration, often close to one that a rule uses.
func (w *world) drawPass() time.Duration {
	p := w.disk.pools[DefaultPool]
	around := rapid.SampledFrom([]time.Duration{
		0, w.strides[0] / 2, w.strides[0], p.TTL / 3, p.TTL, p.TTL + p.Quarantine,
		p.MaxTTL + p.Quarantine + w.strides[0],
	}).Draw(w.t, "about")
	off := time.Duration(rapid.IntRange(-2, 40).Draw(w.t, "off")) * 10 * time.Millisecond
	return max(around+off, time.Millisecond)
}

// pick takes a drawn message out of the network.
func (w *world) pick() (letter, bool) {
	if len(w.letters) == 0 {
		return letter{}, false
	}
	i := rapid.IntRange(0, len(w.letters)-1).Draw(w.t, "letter")
	l := w.letters[i]
	w.letters = append(w.letters[:i:i], w.letters[i+1:]...)
	return l, true
}

func (w *world) deliver(doubled bool) {
	l, ok := w.pick()
	if !ok {
		return
	}
	if doubled {
		w.letters = append(w.letters, l)
	}
	w.arrive(l)
}

func (w *world) deliverLast() {
	if n := len(w.letters); n > 0 {
		l := w.letters[n-1]
		w.letters = w.letters[:n-1]
		w.arrive(l)
	}
}

func (w *world) revoke() {
	p := w.leader
	if p == nil || len(w.twin.leases) == 0 {
		return
	}
	l := w.twin.leases[rapid.IntRange(0, len(w.twin.leases)-1).Draw(w.t, "lease")]
	w.waiters++
	w.serve(p, &waiter{id: w.waiters, request: request{
		kind: callRevoke, secret: l.instance,
		ref: LeaseRef{Pool: DefaultPool, Node: snowflake.NodeID(l.node), Epoch: Epoch(l.epoch)},
	}})
}

// jump sets the wall clock, within what a starting server accepts.
func (w *world) jump() {
	by := rapid.SampledFrom([]time.Duration{
		-3 * time.Hour, -time.Minute, -5 * time.Second, 5 * time.Second, time.Minute,
		9 * time.Minute, time.Hour,
	}).Draw(w.t, "by")
	if to := w.jumped + by; to > -10*time.Hour && to < 10*time.Hour {
		w.jumped = to
	}
}

// change updates the pool, within the settings for which drawRates computed the clocks.
func (w *world) change() {
	p := w.leader
	if p == nil {
		return
	}
	old := w.disk.pools[DefaultPool]
	c := PoolChange{}
	switch rapid.IntRange(0, 2).Draw(w.t, "change") {
	case 0:
		last := old.Last + 1
		c.Last = &last
	case 1:
		ttl := rapid.SampledFrom([]time.Duration{MinTTL, w.maxTTL}).Draw(w.t, "ttl")
		c.TTL, c.MaxTTL = &ttl, &w.maxTTL
	case 2:
		q := w.quarantine + rapid.SampledFrom([]time.Duration{0, time.Second}).Draw(w.t,
			"quarantine")
		c.Quarantine = &q
	}
	d, r := p.UpdatePool(w.clocks(p), DefaultPool, c)
	if r != nil {
		w.t.Fatalf("UpdatePool: %v", r)
	}
	if d.Write != nil {
		w.fly(p, &flight{w: d.Write})
	}
}

// disaster replaces the store by a new one, or by a copy that it recovers (S7). The
// server of the old store may run on without knowing.
func (w *world) disaster() {
	w.stop(rapid.Bool().Draw(w.t, "lives on"))
	w.caughtUp()
	lost := w.copied == nil || rapid.Bool().Draw(w.t, "lost")
	var b Batch
	var err error
	if lost {
		p := w.disk.pools[DefaultPool]
		b, err = NewStore(w.wall(), w.strides[0], false, p)
		w.fatal(err)
		w.disk = newMemStore(b)
		w.copied = nil
	} else {
		b, err = Recover(w.copied.load(), w.wall(), w.strides[0], 0)
		w.fatal(err)
		w.disk = w.copied.copied()
		w.disk.commit(b)
	}
	w.logf("disaster: lost %v", lost)
	w.twin.onDisk = map[int]twinRecord{}
	for key, rec := range w.disk.records {
		w.twin.onDisk[int(key.node)] = twinRecord{epoch: uint64(rec.Epoch), ended: true}
	}
	w.twin.mark, w.twin.opened = int64(w.disk.meta.Mark), false
	w.twin.seen.disasters++
	w.start()
}

// caughtUp lets time pass until the clock has caught up with the store's base: each
// start uses as many epochs as a second does, and a new store knows only from the clock
// how many were used.
func (w *world) caughtUp() {
	if ahead := int64(w.disk.meta.FirstEpoch - base(w.wall(), 0)); ahead >= 0 {
		// whole ms, and one more
		w.now += time.Duration(ahead)*time.Second/epochsPerSecond + 2*time.Millisecond
	}
}

// check checks what must hold at any time.
func (w *world) check() {
	w.fatal(w.twin.single())
	for _, p := range append(w.deposed, w.leader) {
		if p != nil {
			w.fatal(p.Check())
		}
	}
}

// endFaults ends all faults and holders, and checks P4: after at most TTL + quarantine +
// stride every node ID is free again.
func (w *world) endFaults() {
	w.deposed, w.letters = nil, nil
	if w.leader == nil {
		w.start()
	}
	p := w.leader
	w.landAll(p)
	w.tick(p)
	w.landAll(p)
	for _, wt := range p.waiting {
		p.LeaveQueue(DefaultPool, wt.ticket)
		w.twin.leaves(wt.id)
	}
	p.waiting, w.letters = nil, nil
	pool := w.disk.pools[DefaultPool]
	bound := w.maxTTL + pool.Quarantine + 2*w.strides[len(w.strides)-1]
	if w.with.disasters {
		bound += w.maxTTL // Recover raises ceilings to mark + this
	}
	// Server time may run 1 % slow, and the server's steady clock at another rate.
	bound = bound*102/100 + 10*time.Millisecond
	w.pass(bound*1000/time.Duration(p.machine.rate), false)
	w.fatal(p.Check())
	for range int(pool.Last-pool.First) + 1 {
		h := w.newHolder("checker")
		w.holders = append(w.holders, h)
		w.letters = nil
		w.letters = append(w.letters, w.call(h, callAcquire))
		w.deliverLast()
		w.landAll(p)
		w.deliverLast()
		if h.lease.Epoch == 0 {
			w.t.Fatalf("P4: %v after faults ended a node ID is not free: %+v", bound,
				w.disk.records)
		}
	}
}

// checkWorld runs drawn steps in worlds with this climate and checks each, and that
// enough happened in them.
func checkWorld(t *testing.T, draw func(t *rapid.T) climate) {
	t.Helper()
	var seen twinCounts
	worlds := 0
	for range 10 { // a world takes a third of a millisecond
		rapid.Check(t, func(t *rapid.T) {
			w := newWorld(t, draw(t))
			for range rapid.IntRange(30, 300).Draw(t, "steps") {
				w.step()
				w.check()
			}
			w.endFaults()
			seen.add(w.twin.seen)
			worlds++
		})
	}
	t.Logf("%d worlds: %+v", worlds, seen)
	least := min(seen.reissues, 5*seen.revivals, 5*seen.takenOver, 5*seen.noted, 5*seen.lost,
		5*seen.released, 2*seen.minted, seen.refused, seen.queued, 20*seen.shared)
	if worlds >= 500 && least < worlds {
		t.Errorf("too little happened in %d worlds for the test to mean something: %+v", worlds,
			seen)
	}
}

// Within its assumptions the server keeps P1 to P4, whatever holders, network,
// processes and wall clocks do.
func TestServerWorld(t *testing.T) {
	checkWorld(t, func(t *rapid.T) climate {
		return climate{jumps: rapid.Bool().Draw(t, "jumps"),
			changes: rapid.Bool().Draw(t, "changes")}
	})
}

// P2 and P3 hold even if steady clocks drift more than P1 assumes.
func TestServerHostileWorld(t *testing.T) {
	checkWorld(t, func(t *rapid.T) climate {
		return climate{hostile: true, jumps: true, changes: rapid.Bool().Draw(t, "changes")}
	})
}

// P1 to P4 hold with lost and restored stores, if wall clocks are right (S7).
func TestServerDisasterWorld(t *testing.T) {
	checkWorld(t, func(*rapid.T) climate { return climate{disasters: true} })
}
