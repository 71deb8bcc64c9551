package sim

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/cirrus-id/cirrus/client"
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

// Violation is a promise that was broken.
type Violation struct {
	Promise Promise       `json:"promise"`
	Event   int           `json:"event"` // the number of the event
	At      time.Duration `json:"at"`    // true time since the run began
	Text    string        `json:"text"`
}

// Error says what was broken, where.
func (v *Violation) Error() string {
	return fmt.Sprintf("%s at event %d (%v): %s", v.Promise.broken(), v.Event, v.At, v.Text)
}

// checker watches a run from outside. It knows what went over the wire, what
// the store was told and has acknowledged, and which IDs were minted; it asks
// no rule of the product.
type checker struct {
	w     *world
	nodes map[nodeKey]*nodeState
	pools map[fencing.PoolName]*poolState
	meta  fencing.Meta // as acknowledged
	// flying are the writes that were begun and neither acknowledged nor known
	// to be gone.
	flying []*flight
	ids    idSet
	// terms are of the processes that serve, or have.
	terms   map[*process]*term
	history []*operation
	// asking are those that ask for a lease and have no answer yet.
	asking []*operation
	ticks  int
	// order is that of the node IDs' first mention; last is who was asked for last.
	order  []nodeKey
	last   *nodeState
	broken map[Promise]int // where nothing is promised
	alarms int
	// damaged: the store's log is; lostWrites: it has lost a mark, and its
	// high-water file tells.
	damaged, lostWrites bool
	// forged: somebody has made up an epoch, so that an alarm (S12) may be false.
	forged bool
	// instances are, by their IDs, those with which holders have spoken of a lease.
	instances map[string]*instance
	// promisedAt is the highest server time of a promise.
	promisedAt int64
	// byInstance are the leases by their instance.
	byInstance map[string]*leaseState
	// heardOf is when each server has last heard of an instance.
	heardOf   map[hearing]time.Duration
	decidedAt time.Duration // true time of the last grant
	// generation counts the stores: what one held means nothing in the next.
	generation int
	// story counts the stores that could not know the epochs of those before.
	story int

	// Of replicas: reigning is the last term that etcd has begun, numbers counts
	// them, and heard is what leaders told those who follow.
	reigning *term
	// host is the server that loaded the store last, and hosts counts how often
	// it was another one than before.
	host    *server
	hosts   int
	numbers int
	stored  stored
	heard   map[*process]map[heardKey]time.Duration
}

// term is what one process that serves has done and knows; with replicas, what
// it has since it last took over.
type term struct {
	server *server
	proc   *process
	number int    // of a replica's term; 0: it is a process's only one
	value  string // of its term record
	// left is when its takeover was sent, since when it began, and deposedAt
	// when another has.
	left, since, deposedAt time.Duration
	deposed                bool
	// queued are its writes that have not left yet, in their order.
	queued []*flight
	// meta is as it loaded it, or as it was acknowledged to it since.
	meta fencing.Meta
	// sent is when, by its machine's steady clock, it sent the last mark that
	// was acknowledged to it; written says that there was one.
	sent    time.Duration
	written bool
	failed  bool // a write of it has
	// loadedAt is when it had loaded, longest the stride that it began with,
	// and longer by how much that is more than the stored one, stored.
	loadedAt, longest, longer, stored time.Duration
	// hosts is how often the store had moved by then.
	hosts int
	// base is where its epochs begin; 0: it has written no mark.
	base fencing.Epoch
	// clock is what server time was, at the least, at steady time clockAt.
	clock   int64
	clockAt time.Duration
	// disturbed is when a fault was last under way that began before the end of
	// all.
	disturbed time.Duration
	// servesFrom is when a replica's term was first seen to serve.
	servesFrom time.Duration
	// confirming is how many Confirms are under way that began before the end of
	// all faults.
	confirming int
	// view is what it knows of the records since its volume was taken away and
	// nobody told it; nil: it has the volume.
	view map[nodeKey]fencing.Record
}

// astray says that the process serves without its volume.
func (t *term) astray() bool { return t.view != nil }

// instance is what became of an instance ID.
type instance struct {
	of   *process
	used bool // a lease was held with it
}

type nodeKey struct {
	pool string
	node int
}

// nodeState is what is known of a node ID.
type nodeState struct {
	key    nodeKey
	leases []*leaseState // by epoch
	// durable is the record as acknowledged; its epoch is 0 if there is none.
	durable fencing.Record
	// sent is the highest epoch that was ever sent.
	sent uint64
	// used is the highest timestamp that was ever minted.
	used int64
	// admitted is the highest epoch that the resource has let in.
	admitted uint64
	// loaded is the epoch of the record that the last start has loaded, 0 if it had
	// ended, and restUntil the deadline by the server's steady clock that the start
	// must take it to have (S6).
	loaded    fencing.Epoch
	restUntil time.Duration
	// noted: it had a silence note, so that no stride is added (S6); notedAt is
	// when the last one was decided on, by the server's steady clock.
	noted   bool
	notedAt time.Duration
	// By the server's steady clock: the decision on the last grant, and when
	// the record was last acknowledged.
	grantedAt, writtenAt time.Duration
	// passed is a ceiling that server time was seen beyond at passedAt.
	passed        int64
	passedAt      time.Duration
	loadedCeiling int64
	gate          fencing.Gate
}

// leaseState is a lease as it was promised.
type leaseState struct {
	epoch      uint64
	app        string
	instance   string
	generation int
	floor      int64
	ceiling    int64 // the highest that was sent
	used       int64 // the highest timestamp that was minted under it
	// told is what each server, by its index, has promised.
	told [maxServers]told
	ttl  time.Duration
	// released: its holder has asked for the release, with this word.
	released bool
	last     int64
	ended    bool // a record that says so is durable
	vanished bool // the store has lost its record
	// passed: another grant of the node ID has waited for its quarantine, as it
	// was then, and it was not promised again since.
	passed   bool
	process  *process // that sent the last answer
	term     *term    // by which it did
	lostSent int      // answers that did not arrive, with the grant in them
}

// maxServers is how many machines may serve in a world.
const maxServers = 4

// told is what one server has promised of a lease: the deadline is its steady
// time + TTL at the last good answer.
type told struct {
	deadline time.Duration
	ceiling  int64
	term     *term // that promised last
}

type poolState struct {
	fencing.Pool
	known   bool
	highest uint64 // of the epochs that were ever sent
	// excused is highest where a store was lost whose epochs were ahead of its
	// clock: the next one may begin below.
	excused uint64
	// nodes are those that each epoch was sent with.
	nodes map[uint64]int
	// grown: the pool has grown, by the node IDs from first on.
	grown bool
	first int
	// since, openedAt and changedAt are when, by the server's steady clock, its
	// process began to run the pool, found it opened, and last saw it change.
	since, openedAt, changedAt time.Duration
	// longest is the longest max_ttl that the pool ever had, and suspected the
	// longest quarantine since its process began to run it, while it is
	// suspicious.
	longest, suspected time.Duration
	// rangeAt is when, by its clock, it began to know the range.
	rangeAt time.Duration
}

// flight is a commit on its way.
type flight struct {
	proc   *process
	term   *term
	batch  fencing.Batch
	begun  time.Duration // true time
	sentAt time.Duration // by the server's steady clock
	// reached: it may be on the disk.
	reached bool
	// unsynced: a crash came after its write and before its sync.
	unsynced bool
	ended    bool // the process is gone: it may be on the disk or not
	// settled: whether it is on the disk is known, to all but the process that
	// waits for it still.
	settled bool
	// Of replicas: how many keys it has, which request it is for, whether its
	// outcome was unknown to its writer, and whether that was counted.
	keys             int
	request          *operation
	unknown, counted bool
}

func newChecker(w *world) *checker {
	return &checker{
		w: w, nodes: map[nodeKey]*nodeState{}, pools: map[fencing.PoolName]*poolState{},
		terms: map[*process]*term{}, broken: map[Promise]int{},
		instances: map[string]*instance{}, byInstance: map[string]*leaseState{}, heardOf: map[hearing]time.Duration{}, ids: newIDSet(), heard: map[*process]map[heardKey]time.Duration{},
	}
}

// term is the process's; nil: it has never led.
func (c *checker) term(p *process) *term {
	t := c.terms[p]
	if t == nil && !c.w.replicated() {
		t = &term{server: c.w.serverOf(p), proc: p}
		c.terms[p] = t
	}
	return t
}

// record is what a process should know of a node ID: what the store has
// acknowledged, to it if it has lost its volume since.
func (c *checker) record(t *term, n *nodeState) fencing.Record {
	if t.astray() {
		return t.view[n.key]
	}
	return n.durable
}

// goesAstray tells that a process has lost its volume, to another machine, and
// doesn't know. What it had under way and not yet begun to write never will be.
func (c *checker) goesAstray(p *process) { c.astray(c.term(p)) }

func (c *checker) astray(t *term) {
	t.view = map[nodeKey]fencing.Record{}
	for _, n := range c.nodes {
		t.view[n.key] = n.durable
	}
	for _, f := range c.flying {
		if f.term == t && !f.reached {
			f.settled = true
		}
	}
}

func (c *checker) node(pool string, node int) *nodeState {
	k := nodeKey{pool, node}
	if c.last != nil && c.last.key == k {
		return c.last
	}
	n := c.nodes[k]
	if n == nil {
		n = &nodeState{key: k}
		c.nodes[k] = n
		c.order = append(c.order, k)
	}
	c.last = n
	return n
}

func (c *checker) pool(name fencing.PoolName) *poolState {
	p := c.pools[name]
	if p == nil {
		p = &poolState{first: -1, nodes: map[uint64]int{}}
		c.pools[name] = p
	}
	return p
}

func (n *nodeState) lease(epoch uint64) *leaseState {
	for i := len(n.leases) - 1; i >= 0; i-- {
		if n.leases[i].epoch == epoch {
			return n.leases[i]
		}
	}
	return nil
}

func (n *nodeState) add(l *leaseState) {
	n.leases = append(n.leases, l)
	slices.SortFunc(n.leases, func(a, b *leaseState) int {
		if a.epoch < b.epoch {
			return -1
		}
		return 1
	})
}

// The store.

// storeIs tells that the disk holds a store that no earlier one leads to.
func (c *checker) storeIs(snap fencing.Snapshot) {
	c.generation++
	c.lostWrites, c.damaged = false, false
	c.excuse()
	c.settle()
	c.take(snap)
}

// settle tells that what is on the disk is known, whoever waits for it.
func (c *checker) settle() {
	kept := c.flying[:0]
	for _, f := range c.flying {
		if f.settled = true; !f.ended {
			kept = append(kept, f)
		}
	}
	clear(c.flying[len(kept):])
	c.flying = kept
}

func (c *checker) take(snap fencing.Snapshot) {
	c.meta = snap.Meta
	for _, n := range c.nodes {
		n.durable = fencing.Record{}
	}
	for _, p := range c.pools {
		p.known = false
	}
	for i := range snap.Records {
		r := &snap.Records[i]
		c.node(string(r.Pool), int(r.Node)).durable = *r
	}
	for _, p := range snap.Pools {
		st := c.pool(p.Name)
		st.Pool, st.known, st.suspected = p, true, 0
		st.remember(&p)
	}
}

// loaded compares what a process loads with what was acknowledged.
func (c *checker) loaded(p *process, snap fencing.Snapshot) {
	metas, pools, records := []fencing.Meta{c.meta}, map[fencing.PoolName][]fencing.Pool{}, map[nodeKey][]fencing.Record{}
	t, torn := c.term(p), false
	for _, f := range c.flying {
		if f.settled {
			continue
		}
		torn = torn || f.unsynced
		if f.batch.Meta != nil {
			metas = append(metas, *f.batch.Meta)
		}
		for _, p := range f.batch.Pools {
			pools[p.Name] = append(pools[p.Name], p)
		}
		for _, r := range f.batch.Records {
			k := nodeKey{string(r.Pool), int(r.Node)}
			records[k] = append(records[k], r)
		}
	}
	if !slices.Contains(metas, snap.Meta) {
		c.w.violate(PromiseDurable, "the store was loaded with mark %d, stride %v and base %d; acknowledged was mark %d, stride %v and base %d, and no other was under way",
			snap.Meta.Mark, snap.Meta.Stride, snap.Meta.FirstEpoch, c.meta.Mark, c.meta.Stride, c.meta.FirstEpoch)
	}
	seen := map[nodeKey]bool{}
	for i := range snap.Records {
		r := &snap.Records[i]
		k := nodeKey{string(r.Pool), int(r.Node)}
		seen[k] = true
		old := c.node(k.pool, k.node).durable
		switch {
		case *r == old:
			if len(records[k]) > 0 {
				c.w.saw("a crash lost a write that was not acknowledged")
			}
		case slices.Contains(records[k], *r):
			c.w.saw("a crash kept a write that was not acknowledged")
			if torn {
				c.w.saw("a crash kept a write that was not synced")
			}
		default:
			c.w.violate(PromiseDurable, "node ID %d was loaded with epoch %d, %v, ceiling %d; acknowledged was epoch %d, %v, ceiling %d", r.Node, r.Epoch, r.Status, r.Ceiling, old.Epoch, old.Status, old.Ceiling)
		}
	}
	for _, k := range c.order {
		n := c.nodes[k]
		if n.durable.Epoch == 0 && len(records[k]) > 0 && !seen[k] {
			c.w.saw("a crash lost a write that was not acknowledged")
		}
		if n.durable.Epoch != 0 && !seen[k] {
			c.w.violate(PromiseDurable, "the record of node ID %d, epoch %d, was acknowledged and is gone after a restart", k.node, n.durable.Epoch)
		}
	}
	names := map[fencing.PoolName]bool{}
	for _, pool := range snap.Pools {
		names[pool.Name] = true
		if st := c.pool(pool.Name); (!st.known || pool != st.Pool) && !slices.Contains(pools[pool.Name], pool) {
			c.w.violate(PromiseDurable, "pool %q was loaded with settings that were neither acknowledged nor under way", pool.Name)
		}
	}
	for name, st := range c.pools {
		if st.known && !names[name] {
			c.w.violate(PromiseDurable, "pool %q was acknowledged and is gone after a restart", name)
		}
	}
	c.settle()
	c.take(snap)
	t.meta = snap.Meta
	c.rests(t, snap)
}

// rests notes how long a start must let rest what it loads (S6), and since when
// P4's times count.
func (c *checker) rests(t *term, snap fencing.Snapshot) {
	if c.host != t.server {
		c.host = t.server
		c.hosts++
	}
	t.hosts = c.hosts
	t.loadedAt, t.longest = t.server.machine.steady(), max(snap.Meta.Stride, t.server.stride)
	t.stored = snap.Meta.Stride
	t.longer = t.longest - t.stored
	t.clock, t.clockAt = int64(snap.Meta.Mark.Add(-t.longest)), t.loadedAt
	for _, pool := range c.pools {
		pool.since, pool.openedAt, pool.changedAt, pool.rangeAt = t.loadedAt, t.loadedAt, t.loadedAt, t.loadedAt
	}
	for i := range snap.Records {
		r := &snap.Records[i]
		n := c.node(string(r.Pool), int(r.Node))
		n.loaded = r.Epoch
		if r.Status == fencing.Ended {
			n.loaded = 0
			n.ended(uint64(r.Epoch)) // its note was looked at when it was decided, and landed
		}
		n.restUntil = t.server.machine.steady() + snap.Meta.Stride + r.TTL
		n.writtenAt, n.passed = t.loadedAt, 0
		n.loadedCeiling = int64(snap.Meta.Mark.Add(r.TTL))
		if n.noted = r.Silence.Noted; n.noted {
			n.restUntil = t.server.machine.steady() + r.Silence.Left
			n.loadedCeiling = min(int64(r.Silence.Ceiling), n.loadedCeiling)
			c.w.saw("a start went on from a silence note")
		}
		n.notedAt = t.loadedAt // as far as the next one is concerned
	}
	for i := range snap.Pools {
		c.settings(t, &snap.Pools[i], t.longest)
	}
	c.reckon(t.server)
}

// ended marks a lease whose end is durable.
func (n *nodeState) ended(epoch uint64) {
	for _, l := range n.leases {
		if l.epoch == epoch {
			l.ended = true
		}
	}
}

// serverEnded keeps what the process had under way for the next load.
func (c *checker) serverEnded(p *process) {
	kept := c.flying[:0]
	for _, f := range c.flying {
		if f.ended = f.ended || f.proc == p; !f.ended || !f.settled {
			kept = append(kept, f)
		}
	}
	clear(c.flying[len(kept):])
	c.flying = kept
	c.askedNoMore(func(op *operation) bool { return op.proc == p })
	for _, op := range c.history {
		if op.proc == p && op.done == 0 {
			op.unknown = true
		}
	}
}

// begins takes note of a write that was decided on, and looks at the decision.
func (c *checker) begins(p *process, b fencing.Batch) *flight { return c.begun(c.term(p), b) }

func (c *checker) begun(t *term, b fencing.Batch) *flight {
	w, p := c.w, t.proc
	s := t.server.machine.steady()
	if t.failed {
		w.violate(PromiseFailStop, "a write was begun after one had failed")
	}
	if b.Meta != nil && b.Meta.Mark < t.meta.Mark {
		w.violate(PromiseMark, "the mark is lowered from %d to %d", t.meta.Mark, b.Meta.Mark)
	}
	c.base(t, b.Meta)
	c.shrinks(t, b.Meta, s)
	for i := range b.Records {
		r := &b.Records[i]
		for _, f := range c.flying {
			if f.ended || f.term != t {
				continue
			}
			for j := range f.batch.Records {
				if o := &f.batch.Records[j]; o.Pool == r.Pool && o.Node == r.Node {
					w.violate(PromiseDurable, "two writes of node ID %d are under way at once", r.Node)
				}
			}
		}
		if !t.astray() { // nothing will come of what it decides
			c.decided(t, p, b.Meta, r, s)
		}
	}
	f := &flight{proc: p, term: t, batch: b, begun: w.now(), sentAt: s, settled: t.astray()}
	c.flying = append(c.flying, f)
	return f
}

// decided looks at a record that the server is about to write.
func (c *checker) decided(t *term, p *process, meta *fencing.Meta, r *fencing.Record, s time.Duration) {
	w := c.w
	n := c.node(string(r.Pool), int(r.Node))
	old := n.durable
	if r.Epoch != old.Epoch {
		c.granted(t, p, n, r, s)
		return
	}
	if r.Status != fencing.Ended && r.Silence != old.Silence {
		c.silence(t, n, meta, r, s)
		return
	}
	w.note(Record{Kind: RecordEnd, Machine: t.server.name(), Process: p.number, Pool: string(r.Pool), Node: int(r.Node), Epoch: uint64(r.Epoch),
		Floor: int64(r.Floor), Ceiling: int64(r.Ceiling), Text: r.Status.String()})
	if old.Status == fencing.Ended && r.Status != fencing.Ended || old.Status == fencing.Revoked && r.Status == fencing.Live {
		w.violate(PromiseDurable, "the record of node ID %d goes from %v back to %v", r.Node, old.Status, r.Status)
	}
	if r.Ceiling < r.Floor-1 {
		w.violate(PromiseWindow, "node ID %d, epoch %d is noted as ended with ceiling %d, below its floor, %d", r.Node, r.Epoch, r.Ceiling, r.Floor)
	}
	l := n.lease(uint64(r.Epoch))
	if l != nil && l.released && l.last < l.floor-1 {
		w.saw("a release named a timestamp from before the lease")
	}
	if l == nil || r.Status != fencing.Ended || l.generation != c.generation {
		return
	}
	switch {
	case l.released:
	case int64(r.Ceiling) < l.ceiling:
		w.violate(PromiseWindow, "node ID %d, epoch %d is noted as ended with ceiling %d, but %d was promised", r.Node, r.Epoch, r.Ceiling, l.ceiling)
	case c.counts(t, l) && s+t.tolerance() < l.told[t.server.index].deadline+c.quarantine(r.Pool, r.TTL), r.Epoch == n.loaded && s+t.tolerance() < n.restUntil+c.quarantine(r.Pool, r.TTL):
		w.violate(PromiseQuarantine, "node ID %d, epoch %d is noted as ended before its quarantine is over", r.Node, r.Epoch)
	}
	if int64(r.Ceiling) < l.used {
		w.violate(PromiseWindow, "node ID %d, epoch %d is ended with ceiling %d, but %d was used", r.Node, r.Epoch, r.Ceiling, l.used)
	}
}

// quarantine is that of a lease, by the settings of its pool as acknowledged: the
// pool's or a tenth of its TTL, unless the pool is unsafe.
func (c *checker) quarantine(pool fencing.PoolName, ttl time.Duration) time.Duration {
	p := c.pool(pool)
	if p.Unsafe {
		return p.Quarantine
	}
	return max(p.Quarantine, ttl/10)
}

// tolerance is what two readings of the server's clock may be off.
func (t *term) tolerance() time.Duration { return t.server.tolerance() }

func (s *server) tolerance() time.Duration { return s.machine.resolution + time.Microsecond }

// granted looks at a grant that was decided on.
func (c *checker) granted(t *term, p *process, n *nodeState, r *fencing.Record, s time.Duration) {
	w := c.w
	pool := c.pool(r.Pool)
	w.note(Record{Kind: RecordGrant, Machine: t.server.name(), Process: p.number, Pool: string(r.Pool), Node: int(r.Node), Epoch: uint64(r.Epoch),
		Floor: int64(r.Floor), Ceiling: int64(r.Ceiling), TTL: r.TTL,
		Until: t.server.machine.when(s + r.TTL), RestUntil: t.server.machine.when(s + r.TTL + pool.QuarantineOf(r.TTL)), Text: string(r.App)})
	w.count("grants", 1)
	c.decidedAt, n.grantedAt, n.notedAt = w.now(), s, s
	if r.Silence.Noted {
		w.violate(PromiseSilence, "node ID %d is granted with the silence note of an earlier lease", r.Node)
	}
	if uint64(r.Epoch) <= pool.highest && pool.highest > pool.excused {
		w.violate(PromiseEpochs, "node ID %d is granted under epoch %d, but epoch %d of pool %q was sent before", r.Node, r.Epoch, pool.highest, r.Pool)
	}
	if r.Epoch < t.base {
		w.violate(PromiseEpochs, "node ID %d is granted under epoch %d, below the base, %d", r.Node, r.Epoch, t.base)
	}
	if !pool.Opened {
		w.violate(PromiseQuarantine, "node ID %d is granted, but pool %q is not opened", r.Node, r.Pool)
	}
	if most := c.meta.Mark.Add(r.TTL); r.Ceiling > most {
		w.violate(PromiseMark, "node ID %d is granted up to %d, above mark + TTL = %d", r.Node, r.Ceiling, most)
	}
	if int64(r.Floor) <= n.used {
		w.violate(PromiseWindow, "node ID %d is granted from %d, but it was used up to %d", r.Node, r.Floor, n.used)
	}
	if n.durable.Epoch != 0 && n.durable.Epoch == n.loaded && n.durable.Status != fencing.Ended {
		if until := n.restUntil + c.quarantine(r.Pool, n.durable.TTL); s+t.tolerance() < until {
			w.violate(PromiseQuarantine, "node ID %d is granted %v before what a start must wait for it", r.Node, until-s)
		}
		if int64(r.Floor) <= n.loadedCeiling {
			w.violate(PromiseWindow, "node ID %d is granted from %d, but may have been promised up to %d before this start", r.Node, r.Floor, n.loadedCeiling)
		}
	}
	c.alone(t, r)
	c.inLine(t, r, s)
	for _, l := range n.leases {
		c.follows(t, n, l, r, s)
	}
	if k := len(n.leases); k > 0 {
		if l := n.leases[k-1]; l.app != string(r.App) {
			w.saw("a node ID changed its holder")
			w.moved = true
		} else {
			w.saw("an app got its node ID back")
		}
	}
	if pool.first >= 0 && int(r.Node) >= pool.first && pool.grown {
		w.saw("a grown pool granted a new node ID")
	}
}

// alone looks whether the instance that is granted a node ID has none yet.
func (c *checker) alone(t *term, r *fencing.Record) {
	same := func(o *fencing.Record) bool {
		return o.Pool == r.Pool && o.Node != r.Node && o.Status == fencing.Live && o.Instance == r.Instance
	}
	for _, n := range c.nodes {
		if same(&n.durable) {
			c.w.violate(PromiseOneLease, "node ID %d is granted to an instance that has node ID %d already", r.Node, n.key.node)
		}
	}
	for _, f := range c.flying {
		for i := range f.batch.Records {
			if f.term == t && !f.ended && same(&f.batch.Records[i]) {
				c.w.violate(PromiseOneLease, "node ID %d is granted to an instance that is being granted node ID %d", r.Node, f.batch.Records[i].Node)
			}
		}
	}
}

// follows looks at a grant after an earlier lease of the node ID.
func (c *checker) follows(t *term, n *nodeState, l *leaseState, r *fencing.Record, s time.Duration) {
	w := c.w
	until := l.ceiling
	if l.released {
		until = max(l.last, l.floor-1)
	}
	if int64(r.Floor) <= min(until, l.ceiling) {
		w.violate(PromiseWindow, "node ID %d is granted from %d, but epoch %d was promised up to %d", r.Node, r.Floor, l.epoch, until)
	}
	if l.released {
		w.saw("a released node ID was granted without quarantine")
		return
	}
	q := c.quarantine(r.Pool, l.ttl)
	if l.ended || l.passed {
		q = 0 // its note, or the grant before this one, was looked at; the quarantine may have been longer since
	}
	if l.generation != c.generation {
		q = 0 // the pool's opening stood in for it (S7)
	}
	// What another server has promised is bounded by restUntil, which granted looks at.
	if deadline := l.told[t.server.index].deadline; s+t.tolerance() < deadline+q && c.counts(t, l) {
		w.violate(PromiseQuarantine, "node ID %d is granted %v before deadline + quarantine of epoch %d", r.Node, deadline+q-s, l.epoch)
	}
	l.passed = true
	if l == n.leases[len(n.leases)-1] && l.generation == c.generation {
		w.saw("an expired node ID was granted after its quarantine")
	}
}

// acknowledged tells that the store has said yes.
func (c *checker) acknowledged(p *process, f *flight) { c.known(c.term(p), f) }

func (c *checker) known(t *term, f *flight) {
	b, p := f.batch, t.proc
	if f.begun < c.w.stats.Heal {
		t.disturbed = t.server.machine.steady() // it was slow until now
	}
	if i := slices.Index(c.flying, f); i >= 0 {
		c.flying = slices.Delete(c.flying, i, i+1)
	}
	if b.Meta != nil {
		if b.Meta.Stride != t.meta.Stride {
			c.w.note(Record{Kind: RecordSettings, Machine: t.server.name(), Node: -1, Stride: b.Meta.Stride})
		}
		t.meta, t.sent, t.written = *b.Meta, f.sentAt, true
	}
	if t.astray() {
		for i := range b.Records {
			r := &b.Records[i]
			t.view[nodeKey{string(r.Pool), int(r.Node)}] = *r
		}
	}
	if f.settled {
		return // whoever has the volume now has loaded it
	}
	if b.Meta != nil {
		c.meta = *b.Meta
	}
	for _, pool := range b.Pools {
		st := c.pool(pool.Name)
		if st.known && pool.Opened && !st.Opened {
			c.w.saw("a suspicious pool was opened")
			c.opens(t, st)
		}
		now := t.server.machine.steady()
		st.changedAt = now
		if !st.known {
			st.since, st.openedAt = now, now
		} else if pool.Opened && !st.Opened {
			st.openedAt = now
		}
		if !st.known || pool.Last > st.Last {
			st.rangeAt = now
		}
		if st.known && pool.Last > st.Last {
			st.grown, st.first = true, int(st.Last)+1
		}
		st.Pool, st.known = pool, true
		st.remember(&pool)
		c.settings(t, &pool, t.meta.Stride)
		c.reckon(t.server)
	}
	at := c.tick() // what ends together ends at once: who asks first then stands first
	for i := range b.Records {
		r := &b.Records[i]
		n := c.node(string(r.Pool), int(r.Node))
		if n.durable.Epoch != r.Epoch {
			c.unique(r)
		}
		if old := n.durable; old.Status == fencing.Live && (old.Instance != r.Instance || r.Status != fencing.Live) {
			c.leaseEnded(&old, at)
		}
		n.durable, n.writtenAt = *r, t.server.machine.steady()
		if l := n.lease(uint64(r.Epoch)); l != nil && r.Status == fencing.Ended {
			l.ended = true
		}
		c.w.note(Record{Kind: RecordDurable, Machine: t.server.name(), Process: p.number, Pool: string(r.Pool), Node: int(r.Node), Epoch: uint64(r.Epoch)})
	}
}

// unique looks whether a grant's epoch is its own.
func (c *checker) unique(r *fencing.Record) {
	for _, n := range c.nodes {
		if o := &n.durable; o.Pool == r.Pool && o.Node != r.Node && o.Epoch == r.Epoch {
			c.w.violate(PromiseEpochs, "node IDs %d and %d are both granted under epoch %d", o.Node, r.Node, r.Epoch)
		}
	}
}

// recovered looks at a store that `cirrus recover` has made suspicious, and that
// was so before.
func (c *checker) recovered(before fencing.Meta, snap fencing.Snapshot) {
	w := c.w
	if int64(snap.Meta.Mark) < c.promisedAt {
		w.violate(PromiseRecover, "recover left the mark at %d, but a promise was made at %d", snap.Meta.Mark, c.promisedAt)
	}
	c.recoveredStride(before, snap.Meta)
	for i := range snap.Records {
		r := &snap.Records[i]
		if r.Status != fencing.Ended {
			w.violate(PromiseRecover, "recover left the record of node ID %d, epoch %d %v", r.Node, r.Epoch, r.Status)
		}
		for _, l := range c.node(string(r.Pool), int(r.Node)).leases {
			if int64(r.Ceiling) < l.ceiling {
				w.violate(PromiseRecover, "recover left node ID %d with ceiling %d, but epoch %d was promised up to %d", r.Node, r.Ceiling, l.epoch, l.ceiling)
			}
		}
	}
	for i := range snap.Pools {
		p := &snap.Pools[i]
		if p.Opened {
			w.violate(PromiseRecover, "recover left pool %q opened", p.Name)
		}
		if highest := c.pool(p.Name).highest; uint64(snap.Meta.FirstEpoch)+1<<20 <= highest && !c.ahead(highest) {
			w.violate(PromiseRecover, "the start after a recover has a base of at least %d, but epoch %d of pool %q was sent", snap.Meta.FirstEpoch+1<<20, highest, p.Name)
		}
	}
}

// failed tells that the store has said no.
func (c *checker) failed(p *process) { c.term(p).failed = true }

// The wire.

// sends looks at a request that leaves a holder: each instance ID is for one
// lease of one process (C1).
func (c *checker) sends(call *call) {
	if c.w.appOf(call.from) == nil {
		return
	}
	r := call.request
	i := c.instances[r.instance]
	switch {
	case i == nil:
		i = &instance{of: call.from}
		c.instances[r.instance] = i
	case i.of != call.from:
		c.w.violate(PromiseInstance, "%s uses an instance ID of another process", call.from.machine.name)
	case i.used && call.procedure == callAcquire:
		c.w.violate(PromiseInstance, "%s asks for a lease with an instance ID that has had one", call.from.machine.name)
	}
	i.used = i.used || call.procedure != callAcquire
}

// arrived takes note of a request that a process is about to handle.
func (c *checker) arrived(call *call, p *process) *operation {
	c.hearsOf(p, call.request)
	r := call.request
	if call.procedure == callRelease {
		if l := c.node(r.pool, r.node).lease(r.epoch); l != nil && l.instance == r.instance {
			c.releasing(l, r)
		}
	}
	return c.begin(call, p)
}

// hearing is whom a server hears of, the server by its index.
type hearing struct {
	by int
	of fencing.InstanceHash
}

// hearsOf notes when a server last heard of an instance: when a request of its
// arrives, and, since one that waits asks the rules again, when it is answered.
func (c *checker) hearsOf(p *process, r *request) {
	if r.instance != "" {
		s := c.w.serverOf(p)
		c.heardOf[hearing{s.index, fencing.InstanceID(r.instance).Hash()}] = s.machine.steady()
	}
	for _, item := range r.items {
		c.hearsOf(p, item)
	}
}

func (c *checker) releasing(l *leaseState, r *request) {
	said := l.ceiling
	if r.last != nil {
		said = *r.last
	}
	if said < l.used {
		c.w.violate(PromiseWindow, "the release of node ID %d, epoch %d says that %d was used last, but %d was", r.node, r.epoch, said, l.used)
	}
	l.last = max(l.last, said)
	l.released = true
}

// replied looks at an answer that leaves the server.
func (c *checker) replied(call *call, p *process, op *operation, a *reply, passed bool) {
	c.end(op, a)
	c.hearsOf(p, call.request)
	for i, it := range op.items {
		if a.good {
			c.replied(it.call, p, it, a.items[i], passed)
		} else {
			c.end(it, &reply{code: a.code, node: it.node.node, epoch: it.call.request.epoch}) // the batch was refused as a whole
		}
	}
	n, t := c.node(call.request.pool, a.node), c.term(p)
	c.inPatience(op, t, a)
	if c.w.replicated() {
		if passed || t == nil {
			op.astray = true // it is the leader's answer that says something
		}
		switch {
		case passed:
			c.passedOn(call, p, op, a)
			return
		case t == nil:
			c.unled(call, p, a)
			return
		}
		c.ofTerm(t, op, a)
	}
	op.astray = t.astray() && (a.lost || a.lease && n.lease(a.epoch) != nil) // one that nobody was told of before was granted before
	switch {
	case a.lease && op.late(c.w.now()):
		c.promisedEarlier(t, op, n, a)
	case a.lease:
		c.promised(t, call, p, op, n, a)
	case a.lost:
		c.toldLost(t, p, call, op, n)
	case a.good && call.procedure == callRelease:
		// One whose own write is durable may be confirmed even after another
		// write has failed.
		c.matches(t, call, n)
		if d := c.record(t, n); uint64(d.Epoch) == call.request.epoch && d.Status != fencing.Ended {
			c.w.violate(PromiseDurable, "the release of node ID %d, epoch %d was confirmed, but its record is %v", d.Node, d.Epoch, d.Status)
		}
	case a.good && call.procedure == callRevoke:
		if d := c.record(t, n); uint64(d.Epoch) == call.request.epoch && d.Status == fencing.Live {
			c.w.violate(PromiseDurable, "the revocation of node ID %d, epoch %d was confirmed, but its record is live", d.Node, d.Epoch)
		}
	case a.code == "resource_exhausted":
		c.full(t, op)
		c.w.saw("a full pool answered that it is full")
	case a.code == "unavailable" && call.procedure == callAcquire && !c.pool(fencing.PoolName(call.request.pool)).Opened:
		c.w.saw("a suspicious pool granted nothing")
	case a.code == "unavailable" && t.failed && t.astray() && !c.w.replicated():
		c.w.saw("a server that had lost its volume ended")
	case a.code == "unavailable" && t.failed:
		c.w.saw("a server whose store had failed promised nothing")
	}
}

// matches looks whether a request that was granted spoke of the lease that
// there is, with all that makes it.
func (c *checker) matches(t *term, call *call, n *nodeState) {
	r, d := call.request, c.record(t, n)
	if n.key.node != r.node || uint64(d.Epoch) != r.epoch || d.Instance != fencing.InstanceID(r.instance).Hash() {
		c.w.violate(PromiseFencing, "a %s of node ID %d, epoch %d was granted to a stranger: its record has epoch %d and an instance of its own", call.procedure, r.node, r.epoch, d.Epoch)
	}
}

// promised looks at a lease that leaves the server.
func (c *checker) promised(t *term, call *call, p *process, op *operation, n *nodeState, a *reply) {
	w := c.w
	r := call.request
	s := t.server.machine.steady()
	pool := c.pool(fencing.PoolName(r.pool))
	if t.failed {
		w.violate(PromiseFailStop, "node ID %d, epoch %d was promised after a write had failed", a.node, a.epoch)
	}
	switch d := c.record(t, n); {
	case uint64(d.Epoch) < a.epoch:
		w.violate(PromiseDurable, "node ID %d was promised under epoch %d, and that grant is not durable", a.node, a.epoch)
	case uint64(d.Epoch) > a.epoch:
		w.violate(PromiseFencing, "node ID %d was promised under epoch %d, but epoch %d is durable", a.node, a.epoch, d.Epoch)
	case d.Status != fencing.Live:
		w.violate(PromiseDurable, "node ID %d, epoch %d was promised, but its record is %v", a.node, a.epoch, d.Status)
	}
	if d := c.record(t, n); uint64(d.Epoch) == a.epoch && d.Silence.Noted {
		w.violate(PromiseSilence, "node ID %d, epoch %d was promised, but its record has a silence note", a.node, a.epoch)
	}
	if call.procedure == callHeartbeat {
		c.matches(t, call, n)
	}
	if call.procedure == callHeartbeat && (a.epoch != r.epoch || a.node != r.node) {
		w.violate(PromiseFencing, "a heartbeat of node ID %d, epoch %d was answered with node ID %d, epoch %d", r.node, r.epoch, a.node, a.epoch)
	}
	if c.underWay(t, n.key) {
		w.violate(PromiseDurable, "node ID %d, epoch %d was promised while a write of its record was under way", a.node, a.epoch)
	}
	t.clock, t.clockAt = a.server, s
	c.promisedAt = max(c.promisedAt, a.server)
	c.withinMark(t, a, s)
	if t.astray() && !w.replicated() {
		w.saw("a server that had lost its volume made a promise")
	}
	l := n.lease(a.epoch)
	if l == nil {
		l = c.newLease(call, op, n, a)
		pool.highest = max(pool.highest, a.epoch)
	} else {
		c.renewed(t, call, p, l)
	}
	if r.instance != "" && r.instance != l.instance {
		w.violate(PromiseFencing, "node ID %d, epoch %d was promised to two instances", a.node, a.epoch)
	}
	last := &l.told[t.server.index]
	before := l.ceiling
	if t.astray() {
		before = last.ceiling // S3: the other may have promised more by now
	}
	if a.ceiling < before || a.floor != l.floor {
		w.violate(PromiseWindow, "the window of node ID %d, epoch %d was [%d, %d] and is now [%d, %d]", a.node, a.epoch, l.floor, before, a.floor, a.ceiling)
	}
	if off := a.server - int64(t.server.machine.wallMillis()); off > 1000 {
		w.saw("a wall clock was set back, and server time was not")
	}
	l.ceiling, l.process, l.term = max(l.ceiling, a.ceiling), p, t
	last.term = t
	last.ceiling = a.ceiling
	last.deadline = max(last.deadline, s+a.ttl)
	l.ttl, l.passed = a.ttl, false
}

// withinMark: S10.
func (c *checker) withinMark(t *term, a *reply, s time.Duration) {
	w := c.w
	if a.server > int64(t.meta.Mark) {
		w.violate(PromiseMark, "a promise was made at server time %d, above the mark, %d", a.server, t.meta.Mark)
	}
	if most := int64(t.meta.Mark.Add(a.ttl)); a.ceiling > most && w.pool.MaxTTL == a.ttl {
		w.violate(PromiseMark, "ceiling %d was promised, above mark + TTL = %d", a.ceiling, most)
	}
	switch {
	case !t.written:
		w.violate(PromiseMark, "a promise was made before this start's first mark was written")
	case s > t.sent+t.keeps()+t.tolerance():
		w.violate(PromiseMark, "a promise was made %v after the mark was sent, later than the stride, %v", s-t.sent, t.keeps())
	}
}

// underWay says whether a write of the term's is, of a node ID's record.
func (c *checker) underWay(t *term, k nodeKey) bool {
	for _, f := range c.flying {
		for i := range f.batch.Records {
			if r := &f.batch.Records[i]; !f.ended && f.term == t && string(r.Pool) == k.pool && int(r.Node) == k.node {
				return true
			}
		}
	}
	return false
}

// newLease is a lease that is sent for the first time.
func (c *checker) newLease(call *call, op *operation, n *nodeState, a *reply) *leaseState {
	if c.w.now()-op.begun > c.w.plan.ttl/4 && c.waited(op) {
		c.w.saw("a request waited in line and got a node ID")
	}
	c.older(a)
	if a.epoch <= n.sent {
		c.w.violate(PromiseEpochs, "node ID %d was sent with epoch %d after epoch %d", a.node, a.epoch, n.sent)
	}
	n.sent = max(n.sent, a.epoch)
	epochs := c.pool(fencing.PoolName(n.key.pool)).nodes
	if other, ok := epochs[a.epoch]; ok && other != a.node {
		c.w.violate(PromiseEpochs, "epoch %d was sent with node IDs %d and %d", a.epoch, other, a.node)
	}
	epochs[a.epoch] = a.node
	l := &leaseState{
		epoch: a.epoch, app: a.app, instance: a.instance, generation: c.generation, floor: a.floor, ceiling: a.ceiling, ttl: a.ttl, last: -1,
	}
	n.add(l)
	c.byInstance[a.instance] = l
	if call.procedure == callHeartbeat {
		c.w.violate(PromiseFencing, "a heartbeat was good for node ID %d, epoch %d, which no Acquire has answered", a.node, a.epoch)
	}
	return l
}

// waited says whether the lease that an operation brought was decided on only
// after it had been there for a while.
func (c *checker) waited(op *operation) bool { return c.decidedAt-op.begun > c.w.plan.ttl/4 }

// renewed is a lease that is sent again.
func (c *checker) renewed(t *term, call *call, p *process, l *leaseState) {
	w := c.w
	if call.procedure == callAcquire {
		w.saw("an Acquire asked again got the same lease")
		if l.lostSent > 0 {
			w.saw("an answer was lost after the write, and the retry got the same lease")
		}
	}
	switch {
	case w.replicated() && l.term != t:
		w.saw("a lease outlived a takeover")
	case l.process != p:
		w.saw("a lease outlived a restart of the server")
	}
	if s := t.server.machine.steady(); call.procedure == callHeartbeat && s > l.told[t.server.index].deadline {
		w.saw("a late heartbeat revived a lease")
	}
}

// toldLost looks at a LEASE_LOST that leaves the server.
func (c *checker) toldLost(t *term, p *process, call *call, op *operation, n *nodeState) {
	r, d := call.request, c.record(t, n)
	w := c.w
	if confirmed := w.replicated() && op.begun < w.now(); !confirmed && !op.logged && c.underWay(t, n.key) { // Confirm takes a while
		w.violate(PromiseDurable, "LEASE_LOST was told of node ID %d while a write of its record was under way", r.node)
	}
	if call.procedure == callHeartbeat {
		c.alarmed(t, &d, n.lease(r.epoch))
	}
	matches := uint64(d.Epoch) == r.epoch && d.Instance == fencing.InstanceID(r.instance).Hash()
	if matches && (d.Status == fencing.Live || d.Status == fencing.Revoked && call.procedure == callRelease) {
		w.violate(PromiseHeartbeat, "LEASE_LOST was told of node ID %d, epoch %d, whose record is live and has this instance", r.node, r.epoch)
	}
	switch {
	case uint64(d.Epoch) > r.epoch:
		w.saw("a stale holder was told that its lease is lost")
	case matches && d.Status == fencing.Revoked:
		w.saw("a revoked lease was refused")
	case c.w.appOf(call.from) == nil && !call.peer && !matches:
		w.saw("a stranger was refused")
	}
}

// answerLost takes note of an answer that will not arrive.
func (c *checker) answerLost(call *call, a *reply) {
	if l := c.node(call.request.pool, a.node).lease(a.epoch); a.lease && l != nil {
		l.lostSent++
	}
}

// answered takes note of an answer that reaches a call.
func (c *checker) answered(own, to *call, a *reply) {
	if app := c.w.appOf(to.from); app != nil && a.lease && a.instance == to.request.instance {
		app.told(nodeKey{own.request.pool, a.node}, a, to.sent+a.ttl)
	} else if app != nil && !a.good {
		app.noes++
		if a.lost {
			app.losses++
		}
	}
}

// The holders.

// minted looks at an ID.
func (c *checker) minted(a *app, id snowflake.ID) (int64, int) {
	w := c.w
	layout := snowflake.DefaultLayout
	ts := int64(layout.Origin) + int64(id>>(layout.NodeBits+layout.SequenceBits))
	node := int(id>>layout.SequenceBits) & int(layout.MaxNode())
	if !c.ids.add(uint64(id)<<2 | uint64(a.poolIndex)) {
		w.violate(PromiseUniqueness, "ID %d (node ID %d, timestamp %d) was minted twice, now by %s", id, node, ts, a.machine.name)
	}
	n := c.node(string(a.pool), node)
	under := a.window(n.key, ts)
	if under == nil {
		w.violate(PromiseWindow, "%s minted ID %d with timestamp %d, which is in no window of node ID %d that it was told", a.machine.name, id, ts, node)
		return ts, node
	}
	n.used = max(n.used, ts)
	if l := n.lease(under.epoch); l != nil {
		l.used = max(l.used, ts)
		if l.released && ts > l.last && l.instance == under.instance {
			w.violate(PromiseWindow, "%s minted timestamp %d of node ID %d after it had said that %d was the last", a.machine.name, ts, node, l.last)
		}
	}
	return ts, node
}

// used looks at what the resource lets in.
func (c *checker) used(a *app, pool string, node int, epoch uint64) {
	n := c.node(pool, node)
	err := n.gate.Admit(snowflake.NodeID(node), fencing.Epoch(epoch))
	switch {
	case err == nil && epoch < n.admitted:
		c.w.violate(PromiseFencing, "the resource let %s in with epoch %d of node ID %d after epoch %d", a.machine.name, epoch, node, n.admitted)
	case err != nil && epoch >= n.admitted:
		c.w.violate(PromiseFencing, "the resource turned away %s with epoch %d of node ID %d, and the highest that came was %d", a.machine.name, epoch, node, n.admitted)
	case err != nil:
		c.w.saw("a stale epoch was turned away at the resource")
	}
	n.admitted = max(n.admitted, epoch)
}

// exclusive looks whether a live holder is alone with its node ID.
func (c *checker) exclusive(a *app) {
	la, ok := a.live()
	if !ok {
		return
	}
	c.entitled(a, la)
	if !c.w.exclusion() {
		return
	}
	for _, b := range c.w.apps {
		if b == a || b.pool != a.pool {
			continue
		}
		if lb, ok := b.live(); ok && lb.Node == la.Node {
			c.w.violate(PromiseExclusion, "%s (epoch %d) and %s (epoch %d) both hold node ID %d", a.machine.name, la.Epoch, b.machine.name, lb.Epoch, la.Node)
			c.w.soften(PromiseExclusion)
		}
	}
}

// entitled looks whether a live holder may be so: it counts its TTL from before
// it asked (C2), and neither deadline nor ceiling ever go back (C7).
func (c *checker) entitled(a *app, l client.Lease) {
	deadline := a.machine.steady() + l.Remaining
	most := time.Duration(0)
	for _, win := range a.leases {
		if win.epoch == uint64(l.Epoch) && win.key.node == int(l.Node) {
			most = max(most, win.deadline)
		}
	}
	slack := a.machine.resolution + time.Microsecond
	if deadline > most+slack {
		c.w.violate(PromiseExclusion, "%s takes its lease of node ID %d, epoch %d for live %v longer than any answer allows", a.machine.name, l.Node, l.Epoch, deadline-most)
	}
	if old := &a.seen; old.Epoch == l.Epoch && old.Node == l.Node {
		if l.Ceiling < old.Ceiling || deadline+slack < a.deadline {
			c.w.violate(PromiseExclusion, "%s moves deadline or ceiling of node ID %d, epoch %d back", a.machine.name, l.Node, l.Epoch)
		}
	}
	a.seen, a.deadline = l.Lease, deadline
	c.extended(a, l.Lease, deadline)
}

// logged hears what the server logs.
func (c *checker) logged(r slog.Record) {
	if strings.Contains(r.Message, "(S12)") && !c.forged {
		c.alarms++
		c.w.saw("the server found that its store had lost a write")
		if c.w.replicated() {
			c.w.violate(PromiseConfirm, "a replica tells that its store has lost a write, but etcd has lost none: what it does not know of was written after its term")
		}
	}
	if strings.Contains(r.Message, "panicked") {
		c.w.violate(PromiseState, "a handler panicked")
	}
}

// state looks at a server's own invariants.
func (c *checker) state(s *server) {
	if s.term == nil {
		return
	}
	if c.w.replicated() {
		c.leading(s)
	}
	if err := s.term.Rules().Check(); err != nil {
		c.w.violate(PromiseState, "%v", err)
	}
}
