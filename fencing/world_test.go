package fencing

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/cirrus-id/cirrus/snowflake"
)

// startOfWorld is the wall clock at the start of a world.
const startOfWorld snowflake.Millis = 1_700_000_000_000

// climate says which faults a world has.
type climate struct {
	// hostile clocks go beyond what P1 assumes.
	hostile bool
	// jumps: wall clocks jump.
	jumps bool
	// disasters: a store is lost, or restored from a copy and recovered. What
	// S7 promises then rests on the wall clock, so it does not go with jumps.
	disasters bool
	// changes: the pool's timings and range change.
	changes bool
}

// machine is one computer's steady clock.
type machine struct {
	// rate is how many of its ms pass in 1000.
	rate int64
	// base is what it showed at the instant boot.
	base, boot time.Duration
}

// world has the servers, store, network and holders of one pool, in one thread and
// with time as a number. rapid draws all choices.
type world struct {
	t    *rapid.T
	with climate
	// now is true time, on which machines and the wall clock run.
	now time.Duration
	// jumped is how far the wall clock has been set off.
	jumped time.Duration

	disk *memStore
	// leader is the process that may write; nil while there is none. deposed
	// ones go on without knowing that no write of theirs will land.
	leader  *process
	deposed []*process
	lastID  int

	holders []*testHolder
	letters []letter
	twin    *twin

	// bounds of what is drawn.
	maxTTL, quarantine time.Duration
	strides            []time.Duration
	rates              []int64
	// copied is an old copy of the store.
	copied             *memStore
	instances, waiters int
}

// process is a server with as little of a service around it as it needs.
type process struct {
	*Server
	id      int
	machine machine
	// opened says that it knows the pool to be open.
	opened bool
	// waiting are requests that were told to wait, in order of arrival.
	waiting []*waiter
	// flights are the writes in progress, in the order of the decisions.
	flights []*flight
}

type waiter struct {
	id int
	request
	ticket Ticket
}

type flight struct {
	w    *Write
	sent time.Duration
	// by is the request that waits for the write, nil for a tick's.
	by     *waiter
	landed bool
}

type callKind int

const (
	callAcquire callKind = iota
	callHeartbeat
	callRelease
	callRevoke
)

// request is a holder's request; from and sentAt are for the reply and the twin.
type request struct {
	kind   callKind
	from   *testHolder
	sentAt time.Duration
	ref    LeaseRef
	secret string
	app    AppID
	ttl    time.Duration
	queue  bool
	last   *snowflake.Millis
}

// letter is a message in the network: a request, or an answer to one.
type letter struct {
	request
	answer bool
	lease  Lease
	lost   bool
}

// testHolder is a holder that keeps C1 to C7 and G2, as far as a server can see.
type testHolder struct {
	app     AppID
	machine machine
	secret  string
	lease   Lease // Epoch 0: none
	until   time.Duration
	// used is the last timestamp minted under the lease, 0 if none.
	used snowflake.Millis
}

func (m machine) steady(now time.Duration) time.Duration {
	return m.base + (now-m.boot)/1000*time.Duration(m.rate)
}

func (w *world) clocks(p *process) Now {
	return Now{Steady: p.machine.steady(w.now), Wall: w.wall()}
}

func (w *world) wall() snowflake.Millis { return startOfWorld.Add(w.now + w.jumped) }

func (w *world) fatal(err error) {
	if err != nil {
		w.t.Helper()
		w.t.Fatalf("%v (at %v)", err, w.now)
	}
}

func (w *world) logf(format string, args ...any) {
	w.t.Logf("%10v "+format, append([]any{w.now}, args...)...)
}

// newWorld draws a world and starts its first server.
func newWorld(t *rapid.T, with climate) *world {
	w := &world{t: t, with: with, now: time.Second}
	p := NewPool(DefaultPool)
	p.Unsafe = true
	p.Last = snowflake.NodeID(rapid.IntRange(0, 3).Draw(t, "last node ID"))
	p.TTL = rapid.SampledFrom([]time.Duration{2 * time.Second, 3 * time.Second,
		6 * time.Second}).Draw(t, "ttl")
	p.MaxTTL = p.TTL + rapid.SampledFrom([]time.Duration{0, 0, 2 * time.Second}).Draw(t,
		"above ttl")
	p.Quarantine = rapid.SampledFrom([]time.Duration{0, time.Second, 3 * time.Second}).Draw(t,
		"quarantine")
	w.maxTTL, w.quarantine = p.MaxTTL, p.Quarantine
	w.strides = []time.Duration{rapid.SampledFrom([]time.Duration{500 * time.Millisecond,
		time.Second, 3 * time.Second}).Draw(t, "stride")}
	if !with.disasters && rapid.Bool().Draw(t, "stride changes") {
		w.strides = append(w.strides, 2*w.strides[0])
	}
	w.rates = w.drawRates()
	vouched := !with.disasters || rapid.Bool().Draw(t, "vouched")
	b, err := NewStore(w.wall(), w.strides[0], vouched, p)
	w.fatal(err)
	w.disk = newMemStore(b)
	w.twin = newTwin(w.quarantine, w.maxTTL, !with.hostile, vouched)
	w.twin.marked(int64(b.Meta.Mark))
	for i := range rapid.IntRange(2, 5).Draw(t, "holders") {
		w.holders = append(w.holders, w.newHolder(AppID(fmt.Sprintf("app-%d", i%3))))
	}
	w.start()
	return w
}

// drawRates draws the rates of the slowest and the fastest clock. P1 assumes
// that over TTL + stride no two of them drift apart by the quarantine:
// (TTL + stride) × (fast − slow) / slow < quarantine.
func (w *world) drawRates() []int64 {
	if w.with.hostile {
		return []int64{200, 900, 1000, 1100, 3000}
	}
	if w.with.disasters {
		return []int64{1000}
	}
	span := (w.maxTTL + slices.Max(w.strides)).Milliseconds()
	room := w.quarantine.Milliseconds()
	off := room * 1000 / (2*span + room)
	if off > 0 {
		off--
	}
	off = min(off, 300)
	return []int64{1000 - off, 1000, 1000 + off}
}

func (w *world) newMachine() machine {
	return machine{
		rate: rapid.SampledFrom(w.rates).Draw(w.t, "rate"),
		base: time.Duration(rapid.IntRange(0, 100).Draw(w.t, "uptime")) * time.Second,
		boot: w.now,
	}
}

func (w *world) newHolder(app AppID) *testHolder {
	h := &testHolder{app: app, machine: w.newMachine()}
	w.renew(h)
	return h
}

// renew gives a holder a new instance (C1).
func (w *world) renew(h *testHolder) {
	w.instances++
	h.secret, h.lease, h.until, h.used = fmt.Sprintf("instance-%08d", w.instances), Lease{}, 0, 0
}

// start starts a server on what the store holds, unless the server refuses.
func (w *world) start() {
	w.lastID++
	p := &process{id: w.lastID, machine: w.newMachine()}
	stride := rapid.SampledFrom(w.strides).Draw(w.t, "configured stride")
	longer := max(stride, w.disk.meta.Stride)
	now := w.clocks(p)
	s, err := NewServer(w.disk.load(), stride, now)
	if err != nil {
		w.logf("server %d does not start: %v", p.id, err)
		w.jumped = w.disk.meta.Mark.Sub(startOfWorld.Add(w.now)) // an operator sets the clock
		if s, err = NewServer(w.disk.load(), stride, w.clocks(p)); err != nil {
			w.fatal(err)
		}
	}
	s.portion = rapid.SampledFrom([]int{1, 2, portion}).Draw(w.t, "portion")
	p.Server, p.opened, w.leader = s, w.disk.pools[DefaultPool].Opened, p
	w.twin.started(p.id, now.Steady, longer)
	w.logf("server %d starts at %v, stride %v, mark %d", p.id, now.Steady, longer,
		s.Mark()-startOfWorld)
	w.tick(p)
	if rapid.IntRange(0, 3).Draw(w.t, "mark is slow") > 0 {
		w.landAll(p)
	}
}

// stop ends the leader, by a crash or a takeover. Some of its writes in progress
// become durable, but are never acknowledged.
func (w *world) stop(taken bool) {
	p := w.leader
	if p == nil {
		return
	}
	for _, f := range p.flights {
		if !f.landed && rapid.Bool().Draw(w.t, "lands") {
			w.land(f)
		}
	}
	w.leader = nil
	w.twin.line = nil
	if taken {
		w.deposed = append(w.deposed, p)
	}
	w.logf("server %d ends, deposed: %v", p.id, taken)
}

// tick calls Tick and sends its write.
func (w *world) tick(p *process) {
	now := w.clocks(p)
	write, next := p.Tick(now)
	if next < now.Steady {
		w.t.Fatalf("Tick at %v asks to be called at %v, want a later time", now.Steady, next)
	}
	if write == nil {
		return
	}
	if p == w.leader {
		w.fatal(w.twin.marking(int64(write.Batch.Meta.Mark)))
		for _, pool := range write.Batch.Pools {
			if pool.Opened && !w.twin.opened {
				w.fatal(w.twin.opening(p.id, now.Steady))
			}
		}
		for _, rec := range write.Batch.Records {
			w.fatal(w.noting(p, now, rec, write.Batch.Meta.Mark))
		}
	}
	w.fly(p, &flight{w: write, sent: now.Steady})
}

// noting reports to the twin a note that a server has decided on.
func (w *world) noting(p *process, now Now, rec Record, mark snowflake.Millis) error {
	if rec.Status == Ended {
		return w.twin.noting(p.id, now.Steady, int(rec.Node), uint64(rec.Epoch), int64(rec.Ceiling),
			int64(p.time.ms))
	}
	return w.twin.silencing(p.id, now.Steady, int(rec.Node), uint64(rec.Epoch), rec.Silence.Left,
		int64(rec.Silence.Ceiling), int64(mark))
}

// fly sends a write to the store.
func (w *world) fly(p *process, f *flight) {
	for _, other := range p.flights {
		if err := clash(other.w.Batch, f.w.Batch); err != nil {
			w.fatal(err)
		}
	}
	p.flights = append(p.flights, f)
}

// clash checks that a key has at most one write in progress (S1).
func clash(a, b Batch) error {
	if a.Meta != nil && b.Meta != nil {
		return fmt.Errorf("S1: two writes of the mark are in progress")
	}
	for _, x := range a.Records {
		for _, y := range b.Records {
			if x.Node == y.Node {
				return fmt.Errorf("S1: two writes of the record of node ID %d are in progress",
					x.Node)
			}
		}
	}
	if len(a.Pools) > 0 && len(b.Pools) > 0 {
		return fmt.Errorf("S1: two writes of the pool are in progress")
	}
	return nil
}

// land makes a write durable.
func (w *world) land(f *flight) {
	f.landed = true
	w.disk.commit(f.w.Batch)
	if f.w.Batch.Meta != nil {
		w.twin.marked(int64(f.w.Batch.Meta.Mark))
	}
	for _, p := range f.w.Batch.Pools {
		w.twin.opened = p.Opened
		w.twin.quarantine = min(w.twin.quarantine, p.Quarantine)
	}
	for _, rec := range f.w.Batch.Records {
		switch {
		case f.by == nil && rec.Status == Ended:
			w.twin.noted(int(rec.Node))
		case f.by == nil || !f.w.Grants && rec.Status == Live:
			w.twin.silenced(int(rec.Node), rec.Silence.Noted, rec.Silence.Left)
		case f.by.kind == callAcquire:
			w.twin.granted(w.granted(f.by, rec))
		case f.by.kind == callRelease:
			var last int64
			if f.by.last != nil {
				last = int64(*f.by.last)
			}
			w.fatal(w.twin.released(int(rec.Node), uint64(rec.Epoch), last, int64(rec.Ceiling)))
		case f.by.kind == callRevoke:
			w.twin.revoked(int(rec.Node))
		}
	}
}

// granted returns a record as the twin knows it.
func (w *world) granted(by *waiter, rec Record) twinLease {
	h := by.from
	return twinLease{
		node: int(rec.Node), epoch: uint64(rec.Epoch), instance: by.secret, ttl: rec.TTL,
		floor: int64(rec.Floor), top: int64(rec.Ceiling),
		clock: func() time.Duration { return h.machine.steady(w.now) },
	}
}

// acknowledge tells a server that one of its writes is durable.
func (w *world) acknowledge(p *process, i int) {
	f := p.flights[i]
	if !f.landed {
		w.land(f)
	}
	p.flights = slices.Delete(p.flights, i, i+1)
	p.Written(w.clocks(p), f.w)
	w.logf("server %d: written: %s", p.id, w.describe(f.w.Batch))
	if f.w.Batch.Meta != nil {
		w.twin.acknowledged(p.id, f.sent, int64(f.w.Batch.Meta.Mark))
	}
	for _, pool := range f.w.Batch.Pools {
		p.opened = pool.Opened
	}
	switch {
	case f.by == nil:
	case f.by.kind == callAcquire || f.by.kind == callHeartbeat:
		w.serve(p, f.by)
	case f.by.kind == callRelease:
		w.reply(letter{request: f.by.request, answer: true})
	}
	w.poke(p)
}

func (w *world) describe(b Batch) string {
	s := ""
	if b.Meta != nil {
		s = fmt.Sprintf("mark %d ", b.Meta.Mark-startOfWorld)
	}
	for _, rec := range b.Records {
		s += fmt.Sprintf("[node ID %d epoch %d %v %d-%d %v] ", rec.Node, rec.Epoch-b0(rec),
			rec.Status, rec.Floor-startOfWorld, rec.Ceiling-startOfWorld, rec.Silence)
	}
	for _, p := range b.Pools {
		s += fmt.Sprintf("pool %+v", p)
	}
	return s
}

// b0 returns the epoch from which a world starts.
func b0(Record) Epoch { return firstEpoch(startOfWorld) }

func (w *world) landAll(p *process) {
	for len(p.flights) > 0 {
		w.acknowledge(p, 0)
	}
}

// poke makes the waiting requests ask again.
func (w *world) poke(p *process) {
	waiting := p.waiting
	p.waiting = nil
	for _, wt := range waiting {
		w.serve(p, wt)
	}
}

// serve handles a request as the service does.
func (w *world) serve(p *process, wt *waiter) {
	now := w.clocks(p)
	var d Decision
	var r *Refusal
	switch wt.kind {
	case callAcquire:
		d, r = p.Acquire(now, AcquireRequest{Pool: DefaultPool, App: wt.app,
			Instance: wt.ref.Instance, TTL: wt.ttl, Queue: wt.queue, Ticket: wt.ticket})
	case callHeartbeat:
		d, r = p.Heartbeat(now, wt.ref)
	case callRelease:
		d, r = p.Release(now, wt.ref, wt.last)
	case callRevoke:
		d, r = p.Revoke(now, wt.ref.Pool, wt.ref.Node, wt.ref.Epoch)
	}
	leads := p == w.leader
	switch {
	case r != nil:
		if leads { // else Confirm says no
			w.refuse(p, wt, r)
		}
	case d.Write != nil:
		w.decide(p, wt, d.Write, now)
	case d.Wait != WaitNone:
		if leads && d.Ticket != wt.ticket {
			w.twin.queues(wt.id, wt.secret)
		}
		wt.ticket = d.Ticket
		if d.Wait == WaitSettled {
			w.serve(p, wt)
			return
		}
		p.waiting = append(p.waiting, wt)
	case wt.kind == callAcquire || wt.kind == callHeartbeat:
		w.promise(p, wt, d.Lease, now)
	default:
		w.reply(letter{request: wt.request, answer: true})
	}
}

func (w *world) decide(p *process, wt *waiter, write *Write, now Now) {
	if p == w.leader {
		if write.Grants {
			w.fatal(w.twin.granting(p.id, now.Steady, w.granted(wt, write.Batch.Records[0])))
		}
		w.served(wt) // also one that gets its lease again, with a note to remove first
	}
	w.fly(p, &flight{w: write, sent: now.Steady, by: wt})
}

// served reports to the twin that an instance which asked for a lease needs no place in
// the queue any more. One whose lease was revoked may release it while it has a place.
func (w *world) served(wt *waiter) {
	if wt.kind == callAcquire {
		w.twin.served(wt.secret)
	}
}

func (w *world) promise(p *process, wt *waiter, l Lease, now Now) {
	leads := p == w.leader
	if leads {
		w.served(wt)
		for _, f := range p.flights {
			for _, rec := range f.w.Batch.Records {
				if rec.Node == l.Node {
					w.t.Fatalf(
						"S1: node ID %d was promised while a write of its record is in progress",
						l.Node)
				}
			}
		}
	}
	w.fatal(w.twin.showed(p.id, int64(l.ServerTime)))
	w.fatal(w.twin.promised(p.id, leads, now.Steady, wt.sentAt, int64(l.ServerTime), twinLease{
		node: int(l.Node), epoch: uint64(l.Epoch), instance: wt.secret, ttl: l.TTL,
		floor: int64(l.Floor), top: int64(l.Ceiling),
	}))
	w.logf("server %d (%v): %s has node ID %d epoch %d %d-%d", p.id, now.Steady, wt.secret, l.Node,
		l.Epoch-firstEpoch(startOfWorld), l.Floor-startOfWorld, l.Ceiling-startOfWorld)
	w.reply(letter{request: wt.request, answer: true, lease: l})
}

func (w *world) refuse(p *process, wt *waiter, r *Refusal) {
	w.twin.leaves(wt.id)
	w.logf("server %d: %s is refused: %s", p.id, wt.secret, r.Reason)
	switch r.Reason {
	case ReasonLeaseLost:
		if wt.kind != callRevoke {
			w.fatal(w.twin.losing(int(wt.ref.Node), uint64(wt.ref.Epoch), wt.secret))
		}
		if r.Forgotten && !w.with.disasters {
			w.t.Fatalf(
				"S12: an alarm was raised for node ID %d under epoch %d, but no write was lost",
				wt.ref.Node, wt.ref.Epoch)
		}
		w.reply(letter{request: wt.request, answer: true, lost: true})
	case ReasonNoFreeNodeID:
		w.twin.seen.refused++
		w.fatal(w.exhausted(p, r))
	case ReasonNotOpened:
		if p.opened {
			w.t.Fatalf("S7: Acquire was refused because the pool is not opened, but it is: %v", r)
		}
	default:
		w.t.Fatalf("a request was refused that must not be: %v", r)
	}
}

// exhausted checks that there is no free node ID, and that the refusal says when there
// can be one.
func (w *world) exhausted(p *process, r *Refusal) error {
	busy := map[snowflake.NodeID]bool{}
	for _, f := range p.flights {
		for _, rec := range f.w.Batch.Records {
			busy[rec.Node] = true
		}
	}
	pool := p.pools[DefaultPool]
	for node := pool.First; node <= pool.Last; node++ {
		rec, known := w.disk.records[recordKey{DefaultPool, node}]
		l := w.twin.lease(int(node), uint64(rec.Epoch))
		switch {
		case busy[node] || len(w.twin.line) > 0:
		case !known:
			return fmt.Errorf("P4: Acquire was refused although node ID %d was never granted", node)
		case rec.Status == Ended && p.time.ms > rec.Ceiling && l != nil:
			return fmt.Errorf("P4: Acquire was refused although node ID %d is free", node)
		}
	}
	if r.RetryAfter <= 0 {
		return fmt.Errorf("P4: Acquire was refused without a RetryAfter: %w", r)
	}
	return nil
}

func (w *world) reply(l letter) {
	if l.from != nil {
		w.letters = append(w.letters, l)
	}
}

// arrive delivers a letter.
func (w *world) arrive(l letter) {
	if l.answer {
		w.hear(l)
		return
	}
	p := w.leader
	if n := len(w.deposed); n > 0 && rapid.Bool().Draw(w.t, "to a deposed server") {
		p = w.deposed[n-1]
	}
	if p == nil {
		return
	}
	w.waiters++
	w.serve(p, &waiter{id: w.waiters, request: l.request})
}

// hear gives a holder an answer.
func (w *world) hear(l letter) {
	h := l.from
	switch {
	case h.secret != l.secret: // from an earlier life
	case l.lost:
		if h.lease.Epoch == l.ref.Epoch { // C5
			w.twin.stops(h.secret)
			w.renew(h)
		}
	case l.lease.Epoch == 0:
	case h.lease.Epoch == 0:
		h.lease, h.until = l.lease, l.sentAt+l.lease.TTL
	case h.lease.Epoch == l.lease.Epoch: // C7
		h.lease.Ceiling = max(h.lease.Ceiling, l.lease.Ceiling)
		h.until = max(h.until, l.sentAt+l.lease.TTL)
	}
}

// call returns the request that a holder would send now.
func (w *world) call(h *testHolder, kind callKind) letter {
	r := request{
		kind: kind, from: h, sentAt: h.machine.steady(w.now), secret: h.secret, app: h.app,
		ref: LeaseRef{Pool: DefaultPool, Node: h.lease.Node, Epoch: h.lease.Epoch,
			Instance: InstanceID(h.secret).Hash()},
	}
	return letter{request: r}
}

// ask makes a holder ask for a lease, or send a heartbeat of the one that it has.
func (w *world) ask(h *testHolder) {
	kind := callAcquire
	if h.lease.Epoch != 0 && rapid.IntRange(0, 4).Draw(w.t, "acquire again") > 0 {
		kind = callHeartbeat
	}
	l := w.call(h, kind)
	l.queue = rapid.Bool().Draw(w.t, "queue")
	if kind == callAcquire && rapid.IntRange(0, 3).Draw(w.t, "own ttl") == 0 {
		l.ttl = w.maxTTL
		if l.ttl > w.disk.pools[DefaultPool].MaxTTL {
			l.ttl = 0
		}
	}
	w.letters = append(w.letters, l)
}

// giveUp makes a holder release its lease (C6).
func (w *world) giveUp(h *testHolder) {
	if h.lease.Epoch == 0 {
		return
	}
	l := w.call(h, callRelease)
	used := h.used
	if used == 0 {
		used = h.lease.Floor - 1
	}
	switch rapid.IntRange(0, 3).Draw(w.t, "last word") {
	case 0:
	case 1:
		if h.used == 0 {
			used = 1 // as good as floor − 1
		}
		fallthrough
	default:
		l.last = &used
	}
	w.twin.stops(h.secret)
	w.renew(h)
	w.letters = append(w.letters, l)
}

// mint makes a holder put a timestamp into an ID, also after its deadline: it may have
// been paused after it checked the deadline.
func (w *world) mint(h *testHolder) {
	if h.lease.Epoch == 0 || w.twin.stopped[h.secret] {
		return
	}
	low := max(h.lease.Floor, h.used)
	if low > h.lease.Ceiling {
		return
	}
	ms := rapid.SampledFrom([]snowflake.Millis{low, h.lease.Ceiling,
		(low + h.lease.Ceiling) / 2}).Draw(w.t, "timestamp")
	h.used = ms
	w.fatal(w.twin.mints(int(h.lease.Node), uint64(h.lease.Epoch), int64(ms)))
}

// pass lets time pass; lazy servers do not call Tick meanwhile.
func (w *world) pass(d time.Duration, lazy bool) {
	end := w.now + d
	for w.now < end {
		step := min(end-w.now, 200*time.Millisecond)
		if lazy {
			step = end - w.now
		}
		w.now += step
		if p := w.leader; p != nil && !lazy {
			w.tick(p)
			for i := len(p.flights) - 1; i >= 0; i-- {
				if p.flights[i].by == nil {
					w.acknowledge(p, i)
				}
			}
			w.poke(p)
		}
	}
}
