package page

import (
	"cmp"
	"fmt"
	"time"

	"github.com/cirrus-id/cirrus/sim"
)

// nodeKey names a node ID.
type nodeKey struct {
	pool string
	node int
}

// String returns the name of the node ID's lane.
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

// leaseKey returns the Lease of all bars of one lease.
func leaseKey(r *sim.Record) string { return fmt.Sprintf("%s/%d/%d", r.Pool, r.Node, r.Epoch) }

// node is a node ID's lane, as the server sees it, and its leases so far.
type node struct {
	lane   *lane
	leases []*granted
}

// granted is a lease from the decision to grant it on.
type granted struct {
	key string
	// app is the app ID. machine is the first that was told of the lease: two apps
	// may have one app ID.
	app     string
	machine string
	epoch   uint64
	at      time.Duration
	floor   int64
	// ceiling is the highest that was promised, or the last one once the lease has
	// ended.
	ceiling int64
	// since is when the server started to wait for the holder's heartbeats. 0: not
	// yet.
	since time.Duration
	// deadline and restUntil are true times: when the server's clock reaches the
	// deadline, and the end of the quarantine.
	deadline, restUntil time.Duration
	server              string // which decided on it
	revoked             bool
	ended               bool
}

// find returns the lease of an epoch, or nil.
func (n *node) find(epoch uint64) *granted {
	for i := len(n.leases) - 1; i >= 0; i-- {
		if n.leases[i].epoch == epoch {
			return n.leases[i]
		}
	}
	return nil
}

// decided adds a server's decision on the node ID, or a write that is durable.
func (n *node) decided(r *sim.Record) {
	if n == nil {
		return
	}
	l := n.find(r.Epoch)
	switch {
	case r.Kind == sim.RecordGrant:
		n.replace(r.At)
		n.leases = append(n.leases, &granted{
			key: leaseKey(r), app: r.Text, epoch: r.Epoch, at: r.At, server: r.Machine,
			floor: r.Floor, ceiling: r.Ceiling, deadline: r.Until, restUntil: r.RestUntil,
		})
	case l == nil:
	case r.Kind == sim.RecordDeadline:
		n.waits(l, r)
	case r.Kind == sim.RecordDurable && l.since == 0:
		n.bar(l, barPending, l.at, r.At,
			"the server writes the grant to its disk, and answers when it is durable")
		l.since = r.At
	case r.Kind == sim.RecordEnd:
		n.endsOrRevokes(l, r)
	}
}

// endsOrRevokes adds the decision to end or to revoke a record.
func (n *node) endsOrRevokes(l *granted, r *sim.Record) {
	n.lane.Marks = append(n.lane.Marks,
		mark{Kind: r.Text, At: micros(r.At), Text: sentence(r), Lease: l.key, Hue: n.lane.Hue})
	if r.Text == "revoked" {
		l.revoked = true
		return
	}
	n.ends(l, r.At)
	l.ceiling = r.Ceiling
	n.window(l)
}

// promised adds an answer that carries the lease.
func (n *node) promised(r *sim.Record) {
	l := n.find(r.Epoch)
	if l == nil || r.Ceiling == 0 || l.ended {
		return
	}
	if l.machine == "" && !serves(r.Peer) { // a replica only forwards the answer
		l.machine = r.Peer
	}
	n.waits(l, r)
	l.ceiling = max(l.ceiling, r.Ceiling)
}

// waits sets the deadline and the end of the quarantine to what the server says.
func (n *node) waits(l *granted, r *sim.Record) {
	if l.ended || r.Until == 0 {
		return
	}
	if l.since == 0 {
		l.since = r.At // the grant is durable, but its server died before it knew
	}
	// A late heartbeat, or a start that waits for the holder again.
	if l.deadline < r.At && r.Until > r.At {
		n.held(l, l.deadline)
		n.rest(l, r.At)
		l.since = r.At
	}
	l.deadline, l.restUntil = r.Until, r.RestUntil
}

// replace ends the last lease, because another takes its place.
func (n *node) replace(at time.Duration) {
	if k := len(n.leases); k > 0 && !n.leases[k-1].ended {
		n.ends(n.leases[k-1], at)
		n.window(n.leases[k-1])
	}
}

// ends draws the lease up to its end.
func (n *node) ends(l *granted, at time.Duration) {
	if l.ended {
		return
	}
	l.ended = true
	if l.since == 0 {
		n.bar(l, barPending, l.at, min(at, l.deadline),
			"a grant that was decided on; no write of it was acknowledged")
		return
	}
	n.held(l, min(at, l.deadline))
	if at > l.deadline {
		n.rest(l, at)
	}
}

// finish ends the last lease at the end of the run.
func (n *node) finish(at time.Duration) {
	if k := len(n.leases); k > 0 && !n.leases[k-1].ended {
		l := n.leases[k-1]
		n.ends(l, at)
		n.window(l)
	}
}

// held draws the time in which the server waits for the holder.
func (n *node) held(l *granted, to time.Duration) {
	text := "held by " + l.holder() + ": nobody else can get it"
	if l.revoked {
		text = "revoked: " + l.holder() + " is refused heartbeats, and nobody else can get it yet"
	}
	n.bar(l, barHeld, l.since, to, text)
}

// rest draws the quarantine, and the time after it.
func (n *node) rest(l *granted, to time.Duration) {
	from := max(l.since, l.deadline)
	if rest := min(to, l.restUntil); rest > from {
		n.bar(l, barRest, from, rest, "the deadline of "+l.holder()+" has passed: in quarantine")
		from = rest
	}
	if to > from {
		n.bar(l, barIdle, from, to,
			"the quarantine after "+l.holder()+" has ended: free once server time has passed "+
				"the window, until the server writes that or grants it again")
	}
}

// bar adds a bar to the lane.
func (n *node) bar(l *granted, kind barKind, from, to time.Duration, text string) {
	b := bar{Kind: kind, From: micros(from), To: micros(to), Lease: l.key, Hue: n.lane.Hue}
	b.Text = fmt.Sprintf("%s, epoch %s: %s", n.lane.Name, shortEpoch(l.epoch), text)
	if kind == barHeld {
		b.Label = cmp.Or(l.machine, l.app)
	}
	n.lane.Bars = append(n.lane.Bars, b)
}

// holder returns the holder's machine and app ID.
func (l *granted) holder() string {
	if l.machine == "" || l.machine == l.app {
		return l.app
	}
	return fmt.Sprintf("%s (app ID %s)", l.machine, l.app)
}

// window draws the lease's window at the true times of its timestamps: the floor is
// the server time of the decision.
func (n *node) window(l *granted) {
	n.lane.Bars = append(n.lane.Bars, bar{
		Kind: barWindow, From: micros(l.at), To: l.place(l.ceiling), Lease: l.key, Hue: n.lane.Hue,
		Text: fmt.Sprintf("window of %s, epoch %s: timestamps %d to %d",
			n.lane.Name, shortEpoch(l.epoch), l.floor, l.ceiling),
	})
}

// place returns the place of a timestamp on the page.
func (l *granted) place(ts int64) int64 { return micros(l.at) + (ts-l.floor)*1000 }

// minted marks the timestamps that went into IDs in their window: the last one that
// starts before them.
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

// tookOver ends the pending grants of earlier terms. What of them is durable, the
// new term says when it has loaded.
func (b *builder) tookOver(r *sim.Record) {
	b.drop(r, "", "another term started while this grant was being written")
}

// serverEnds ends the pending grants of a server that ends. Later records say
// whether they are durable.
func (b *builder) serverEnds(r *sim.Record) {
	b.drop(r, r.Machine, "the server ended while it wrote this grant")
}

// drop ends the pending grants of one server, or of all if by is empty.
func (b *builder) drop(r *sim.Record, by, why string) {
	for _, n := range b.nodes {
		if k := len(n.leases); k > 0 && n.leases[k-1].since == 0 && !n.leases[k-1].ended &&
			(by == "" || n.leases[k-1].server == by) {
			l := n.leases[k-1]
			n.bar(l, barPending, l.at, r.At, why)
			l.since = r.At
			l.deadline = r.At
		}
	}
}
