package oracle

import (
	"slices"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
)

// term is what one process that serves has done and knows; with replicas, what
// it has since it last took over.
type term struct {
	server *server
	proc   *process
	number int    // of a replica's term; 0: it is a process's only one
	value  string // of its term record
	// sentAt is when its takeover was sent, since when it began, and deposedAt
	// when another has.
	sentAt, since, deposedAt time.Duration
	deposed                  bool
	// queued are its writes that have not been sent yet, in their order.
	queued []*write
	// meta is as it loaded it, or as it was acknowledged to it since.
	meta fencing.Meta
	// markAt is when, by its machine's steady clock, it sent the last mark that
	// was acknowledged to it; written says that there was one.
	markAt  time.Duration
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
	// disturbed is when a fault last lasted that began before the end of all.
	disturbed time.Duration
	// servesFrom is when a replica's term was first seen to serve.
	servesFrom time.Duration
	// confirming is how many Confirms last that began before the end of all faults.
	confirming int
	// view is what it knows of the records since it was superseded and nobody told
	// it: its volume was taken away, or another term has begun. nil: it was not.
	view map[event.Key]fencing.Record
}

// superseded reports whether what the term knows may be old: its process serves
// without its volume, or another term has begun.
func (t *term) superseded() bool { return t.view != nil }

// supersede records that a term is superseded, and doesn't know. What it had decided
// on and not yet begun to write never will be written.
func (o *Oracle) supersede(t *term) {
	t.view = map[event.Key]fencing.Record{}
	for _, n := range o.nodes {
		t.view[n.key] = n.durable
	}
	for _, f := range o.pending {
		if f.term == t && !f.reached {
			f.settled = true
		}
	}
}

// tolerance is what two readings of the server's clock may be off.
func (t *term) tolerance() time.Duration { return t.server.tolerance() }

// steady is the reading of its machine's steady clock.
func (t *term) steady() time.Duration { return t.server.clock.Steady }

// term is the process's; nil: it has never led.
func (o *Oracle) term(p *process) *term {
	t := o.terms[p]
	if t == nil && !o.config.Replicated {
		t = &term{server: p.server, proc: p}
		o.terms[p] = t
	}
	return t
}

// instance is what became of an instance ID.
type instance struct {
	of   *process
	used bool // a lease was held with it
}

// node is what is known of a node ID.
type node struct {
	key    event.Key
	leases []*lease // by epoch
	// durable is the record as acknowledged; its epoch is 0 if there is none.
	durable fencing.Record
	sent    uint64 // the highest epoch that was ever sent
	used    int64  // the highest timestamp that was ever minted
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

func (o *Oracle) node(k event.Key) *node {
	if o.last != nil && o.last.key == k {
		return o.last
	}
	n := o.nodes[k]
	if n == nil {
		n = &node{key: k}
		o.nodes[k] = n
		o.order = append(o.order, k)
	}
	o.last = n
	return n
}

// record is what a term should know of a node ID: what the store has acknowledged,
// to it if it was superseded since.
func (o *Oracle) record(t *term, n *node) fencing.Record {
	if t.superseded() {
		return t.view[n.key]
	}
	return n.durable
}

// deadline is, by the server's steady clock, what it takes for the deadline of
// a node ID's record; false: its end is durable, or it has none.
func (n *node) deadline(t *term) (time.Duration, bool) {
	d := &n.durable
	if d.Epoch == 0 || d.Status == fencing.Ended {
		return 0, false
	}
	deadline := n.grantedAt + d.TTL
	if d.Epoch == n.loaded {
		if deadline = n.restUntil; !n.noted {
			deadline += t.longer
		}
	}
	if l := n.lease(uint64(d.Epoch)); l != nil {
		deadline = max(deadline, l.byServer[t.server.index].deadline)
	}
	return deadline, true
}

// lease is a lease as it was promised.
type lease struct {
	epoch      uint64
	app        string
	instance   string
	generation int
	floor      int64
	ceiling    int64 // the highest that was sent
	used       int64 // the highest timestamp that was minted under it
	// byServer is what each server, by its index, has promised.
	byServer [event.MaxServers]promised
	ttl      time.Duration
	// released: its holder has asked for the release, with this timestamp.
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

// promised is what one server has promised of a lease: the deadline is its steady
// time + TTL at the last good answer.
type promised struct {
	deadline time.Duration
	ceiling  int64
	term     *term // that promised last
}

func (n *node) lease(epoch uint64) *lease {
	for i := len(n.leases) - 1; i >= 0; i-- {
		if n.leases[i].epoch == epoch {
			return n.leases[i]
		}
	}
	return nil
}

func (n *node) add(l *lease) {
	n.leases = append(n.leases, l)
	slices.SortFunc(n.leases, func(a, b *lease) int {
		if a.epoch < b.epoch {
			return -1
		}
		return 1
	})
}

// end marks a lease whose end is durable.
func (n *node) end(epoch uint64) {
	for _, l := range n.leases {
		if l.epoch == epoch {
			l.ended = true
		}
	}
}

// pool is what is known of a pool.
type pool struct {
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

func (o *Oracle) pool(name fencing.PoolName) *pool {
	p := o.pools[name]
	if p == nil {
		p = &pool{first: -1, nodes: map[uint64]int{}}
		o.pools[name] = p
	}
	return p
}

// remember notes what of a pool's settings counts for as long as it lives: its
// longest TTL, in this store or an earlier one, and the longest quarantine that
// it has had while it was suspicious.
func (p *pool) remember(set *fencing.Pool) {
	p.longest = max(p.longest, set.MaxTTL)
	if set.Opened {
		p.suspected = 0
	} else {
		p.suspected = max(p.suspected, set.Quarantine)
	}
}

// quarantine is that of a lease, by the settings of its pool as acknowledged: the
// pool's or a tenth of its TTL, unless the pool is unsafe.
func (o *Oracle) quarantine(name fencing.PoolName, ttl time.Duration) time.Duration {
	p := o.pool(name)
	if p.Unsafe {
		return p.Quarantine
	}
	return max(p.Quarantine, ttl/10)
}

// write is a commit in flight.
type write struct {
	proc      *process
	term      *term
	batch     fencing.Batch
	startedAt time.Duration // true time
	sentAt    time.Duration // by the server's steady clock
	// reached: it may be on the disk; unsynced: a crash came after it and before
	// its sync.
	reached, unsynced bool
	ended             bool // the process is gone: it may be on the disk or not
	// settled: whether it is on the disk is known, to all but the process that
	// waits for it still.
	settled bool
	// Of replicas: how many keys it has, which request it is for, whether its
	// outcome was unknown to its writer, and whether that was counted.
	keys             int
	request          *operation
	unknown, counted bool
}

// inFlight yields the records that a term writes, and has no answer for yet.
func (o *Oracle) inFlight(t *term) func(yield func(*fencing.Record) bool) {
	return func(yield func(*fencing.Record) bool) {
		for _, f := range o.pending {
			if f.ended || f.term != t {
				continue
			}
			for i := range f.batch.Records {
				if !yield(&f.batch.Records[i]) {
					return
				}
			}
		}
	}
}

// isWriting reports whether the term writes a node ID's record.
func (o *Oracle) isWriting(t *term, k event.Key) bool {
	for r := range o.inFlight(t) {
		if int(r.Node) == k.Node && string(r.Pool) == k.Pool {
			return true
		}
	}
	return false
}

// counts reports whether what this machine has promised of a lease bounds what a
// term grants. By clocks that are worse than allowed it need not, if others
// have led in between.
func (o *Oracle) counts(t *term, l *lease) bool {
	last := l.byServer[t.server.index].term
	return o.exclusion() || last == t || !o.config.Replicated &&
		(last == nil || last.hosts == t.hosts)
}
