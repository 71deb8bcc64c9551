package page

import (
	"cmp"
	"fmt"
	"time"

	"github.com/cirrus-id/cirrus/sim"
)

type nodeKey struct {
	pool string
	node int
}

// String is the lane's name.
func (k nodeKey) String() string {
	if k.pool == "default" {
		return fmt.Sprintf("node ID %d", k.node)
	}
	return fmt.Sprintf("%s/%d", k.pool, k.node)
}

func (k nodeKey) compare(o nodeKey) int {
	if c := cmp.Compare(k.pool, o.pool); c != 0 {
		return c
	}
	return k.node - o.node
}

func leaseKey(r *sim.Record) string { return fmt.Sprintf("%s/%d/%d", r.Pool, r.Node, r.Epoch) }

// node is a node ID's lane that fills, as the server sees it.
type node struct {
	lane   *lane
	leases []*granted
}

// granted is a lease, from the decision on.
type granted struct {
	key string
	// app is its app ID, and machine the one that was told first: twins differ
	// in that.
	app     string
	machine string
	epoch   uint64
	at      time.Duration
	floor   int64
	// ceiling is the highest that was promised, or the last one once it ended.
	ceiling int64
	// since is when the server began to wait for the holder; 0: not yet.
	since time.Duration
	// deadline and restUntil, the end of the quarantine, are the true times at
	// which they come by the server's clock.
	deadline, restUntil time.Duration
	server              string // that decided on it
	revoked             bool
	over                bool
}

// find gives the lease of an epoch.
func (n *node) find(epoch uint64) *granted {
	for i := len(n.leases) - 1; i >= 0; i-- {
		if n.leases[i].epoch == epoch {
			return n.leases[i]
		}
	}
	return nil
}

// decided takes what the server decides of a node ID, and what becomes
// durable.
func (n *node) decided(r *sim.Record) {
	if n == nil {
		return
	}
	l := n.find(r.Epoch)
	switch {
	case r.Kind == sim.RecordGrant:
		n.over(r.At)
		n.leases = append(n.leases, &granted{
			key: leaseKey(r), app: r.Text, epoch: r.Epoch, at: r.At, server: r.Machine,
			floor: r.Floor, ceiling: r.Ceiling, deadline: r.Until, restUntil: r.RestUntil,
		})
	case l == nil:
	case r.Kind == sim.RecordDeadline:
		n.waits(l, r)
	case r.Kind == sim.RecordDurable && l.since == 0:
		n.bar(l, barPending, l.at, r.At, "the server writes the grant to its disk, and tells nobody before it is there")
		l.since = r.At
	case r.Kind == sim.RecordEnd:
		n.noted(l, r)
	}
}

// noted is a record that was noted as ended or revoked.
func (n *node) noted(l *granted, r *sim.Record) {
	n.lane.Marks = append(n.lane.Marks, mark{Kind: r.Text, At: micros(r.At), Text: sentence(r), Lease: l.key, Hue: n.lane.Hue})
	if r.Text == "revoked" {
		l.revoked = true
		return
	}
	n.ends(l, r.At)
	l.ceiling = r.Ceiling
	n.window(l)
}

// promised is an answer that carries the lease.
func (n *node) promised(r *sim.Record) {
	l := n.find(r.Epoch)
	if l == nil || r.Ceiling == 0 || l.over {
		return
	}
	if l.machine == "" && !serves(r.Peer) { // not one that only passes it on
		l.machine = r.Peer
	}
	n.waits(l, r)
	l.ceiling = max(l.ceiling, r.Ceiling)
}

// waits moves the deadline to where the server reckons it, and the end of the
// quarantine after it.
func (n *node) waits(l *granted, r *sim.Record) {
	if l.over || r.Until == 0 {
		return
	}
	if l.since == 0 {
		l.since = r.At // it was written, and its server died before it knew
	}
	if l.deadline < r.At && r.Until > r.At { // late, and revived; or a start waits for it once more
		n.held(l, l.deadline)
		n.rest(l, r.At)
		l.since = r.At
	}
	l.deadline, l.restUntil = r.Until, r.RestUntil
}

// over ends the last lease because another takes its place.
func (n *node) over(at time.Duration) {
	if k := len(n.leases); k > 0 && !n.leases[k-1].over {
		n.ends(n.leases[k-1], at)
		n.window(n.leases[k-1])
	}
}

// ends draws the rest of a lease.
func (n *node) ends(l *granted, at time.Duration) {
	if l.over {
		return
	}
	l.over = true
	if l.since == 0 {
		n.bar(l, barPending, l.at, min(at, l.deadline), "a grant that was decided on; no write of it was acknowledged")
		return
	}
	n.held(l, min(at, l.deadline))
	if at > l.deadline {
		n.rest(l, at)
	}
}

func (n *node) finish(at time.Duration) {
	if k := len(n.leases); k > 0 && !n.leases[k-1].over {
		l := n.leases[k-1]
		n.ends(l, at)
		n.window(l)
	}
}

func (n *node) held(l *granted, to time.Duration) {
	text := "held by " + l.holder() + ": nobody else can get it"
	if l.revoked {
		text = "revoked: " + l.holder() + " is refused heartbeats, and nobody else can get it yet"
	}
	n.bar(l, barHeld, l.since, to, text)
}

func (n *node) rest(l *granted, to time.Duration) {
	from := max(l.since, l.deadline)
	if rest := min(to, l.restUntil); rest > from {
		n.bar(l, barRest, from, rest, "the deadline of "+l.holder()+" is over: in quarantine")
		from = rest
	}
	if to > from {
		n.bar(l, barIdle, from, to, "the quarantine after "+l.holder()+" is over: free once server time is beyond the window, until the server notes that or grants it again")
	}
}

func (n *node) bar(l *granted, kind barKind, from, to time.Duration, text string) {
	b := bar{Kind: kind, From: micros(from), To: micros(to), Lease: l.key, Hue: n.lane.Hue}
	b.Text = fmt.Sprintf("%s, epoch %s: %s", n.lane.Name, shortEpoch(l.epoch), text)
	if kind == barHeld {
		b.Label = cmp.Or(l.machine, l.app)
	}
	n.lane.Bars = append(n.lane.Bars, b)
}

// holder names who has it.
func (l *granted) holder() string {
	if l.machine == "" || l.machine == l.app {
		return l.app
	}
	return fmt.Sprintf("%s (app ID %s)", l.machine, l.app)
}

// window draws the lease's window where its timestamps came to pass: the floor
// was server time when the grant was decided on.
func (n *node) window(l *granted) {
	n.lane.Bars = append(n.lane.Bars, bar{
		Kind: barWindow, From: micros(l.at), To: l.place(l.ceiling), Lease: l.key, Hue: n.lane.Hue,
		Text: fmt.Sprintf("window of %s, epoch %s: timestamps %d to %d", n.lane.Name, shortEpoch(l.epoch), l.floor, l.ceiling),
	})
}

// place is where on the page a timestamp of the lease is.
func (l *granted) place(ts int64) int64 { return micros(l.at) + (ts-l.floor)*1000 }

// minted marks the timestamps that went into IDs, in the window that they
// belong to: the last one that begins before them.
func (n *node) minted(r *sim.Record) {
	for i := len(n.leases) - 1; i >= 0; i-- {
		if l := n.leases[i]; r.Floor >= l.floor {
			n.lane.Marks = append(n.lane.Marks, mark{
				Kind: "used", At: l.place(r.Floor), Lease: l.key, Hue: n.lane.Hue,
				Text: fmt.Sprintf("%s used timestamps %d to %d", r.Machine, r.Floor, r.Ceiling),
			})
			return
		}
	}
}

// tookOver drops what the terms before were writing: it is there or not, as the
// term that begins tells when it has loaded.
func (b *builder) tookOver(r *sim.Record) {
	b.drop(r, "", "another term began while this grant was written")
}

// serverEnds drops the grants that were being written: whether they are on the
// disk shows when they are told of later.
func (b *builder) serverEnds(r *sim.Record) {
	b.drop(r, r.Machine, "the server died while it wrote this grant")
}

// drop ends the writing of grants, of one server's or of all.
func (b *builder) drop(r *sim.Record, by, why string) {
	for _, n := range b.nodes {
		if k := len(n.leases); k > 0 && n.leases[k-1].since == 0 && !n.leases[k-1].over && (by == "" || n.leases[k-1].server == by) {
			l := n.leases[k-1]
			n.bar(l, barPending, l.at, r.At, why)
			l.since = r.At
			l.deadline = r.At
		}
	}
}
