package explore

import (
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

// past is what happened and a later step can contradict.
type past struct {
	// closed are windows in which minting has ended: their timestamps may have
	// been used. The first len are valid.
	closed [2 * MaxInstances]window
	len    uint8
	// promised is the highest epoch that a server has promised, and latest the
	// highest of each node ID.
	promised fencing.Epoch
	latest   [MaxNodes]fencing.Epoch
	// ended is the highest epoch of each node ID whose record was durable as
	// ended or revoked.
	ended [MaxNodes]fencing.Epoch
}

// window is the range of timestamps that may go into IDs under a lease.
type window struct {
	node           snowflake.NodeID
	epoch          fencing.Epoch
	floor, ceiling snowflake.Millis
}

// touches reports whether two windows share a timestamp of one node ID.
func (v window) touches(o window) bool {
	return v.node == o.node && v.floor <= o.ceiling && o.floor <= v.ceiling
}

// remember sets the state's past.
func (w *world) remember(s *state, p past) {
	s.past = w.pasts.number(p, func() *past { return &p })
}

// close adds a window in which minting has ended to the past.
func (w *world) close(s *state, v window) {
	if v.floor > v.ceiling || v == (window{}) {
		return
	}
	p := *w.pasts.at(s.past)
	for _, o := range p.closed[:p.len] {
		if o == v {
			w.breaks(Uniqueness, "%v was open twice", w.window(v))
		}
	}
	if int(p.len) == len(p.closed) {
		w.breaks(Uniqueness, "more than %d windows were closed", len(p.closed))
		return
	}
	p.closed[p.len] = v
	p.len++
	w.remember(s, p)
}

// granting checks a new grant (P3).
func (w *world) granting(s *state, rec *fencing.Record) {
	if p := w.pasts.at(s.past); rec.Epoch <= p.promised {
		w.breaks(Fencing, "server %d grants node ID %d under epoch %s, and %s was promised before",
			w.serverName(s), rec.Node, w.epoch(rec.Epoch), w.epoch(p.promised))
	}
}

// promising checks a server's promise. A deposed server does not know what later
// servers have promised.
func (w *world) promising(s *state, l *fencing.Lease, deposed bool) {
	old := w.pasts.at(s.past)
	p := *old
	for node, latest := range p.latest {
		if latest == l.Epoch && snowflake.NodeID(node) != l.Node {
			w.breaks(Fencing, "server %d promises node ID %d under epoch %s, which node ID %d has",
				w.serverName(s), l.Node, w.epoch(l.Epoch), node)
		}
	}
	switch latest := p.latest[l.Node]; {
	case deposed:
	case l.Epoch < latest:
		w.breaks(Fencing, "server %d promises node ID %d under epoch %s again, after %s",
			w.serverName(s), l.Node, w.epoch(l.Epoch), w.epoch(latest))
	case l.Epoch <= p.ended[l.Node]:
		w.breaks(Finality,
			"server %d promises node ID %d under epoch %s again, which the store holds as ended or revoked",
			w.serverName(s), l.Node, w.epoch(l.Epoch))
	}
	p.promised, p.latest[l.Node] = max(p.promised, l.Epoch), max(p.latest[l.Node], l.Epoch)
	if p != *old {
		w.remember(s, p)
	}
}

// ended remembers that the store holds a record as ended or revoked.
func (w *world) ended(s *state, r *fencing.Record) {
	p := *w.pasts.at(s.past)
	p.ended[r.Node] = max(p.ended[r.Node], r.Epoch)
	w.remember(s, p)
}

// check checks what depends on a whole state.
func (w *world) check(s *state) {
	w.checkServer(s.leader)
	for _, d := range s.deposed {
		w.checkServer(d.server)
	}
	p := w.pasts.at(s.past)
	for i, n := range s.holders[:w.scope.Holders] {
		h := w.holders.at(n)
		if h.broken != nil {
			w.breaks(HolderState, "%s: %v", nameOf(i), h.broken)
		}
		for j, m := range s.holders[:i] {
			o := w.holders.at(m)
			if h.minting && o.minting && h.window.touches(o.window) {
				w.breaks(Uniqueness, "%s may mint in %s, and %s in %s",
					nameOf(i), w.window(h.window), nameOf(j), w.window(o.window))
			}
			if !w.scope.Lies && h.node == o.node && h.live(s) && o.live(s) {
				w.breaks(Exclusion, "%s and %s are both live holders of node ID %d",
					nameOf(j), nameOf(i), h.node)
			}
		}
		for _, v := range p.closed[:p.len] {
			if h.minting && h.window.touches(v) {
				w.breaks(Uniqueness, "%s may mint in %s, and %s may have been minted before",
					nameOf(i), w.window(h.window), w.window(v))
			}
		}
	}
	for i, v := range p.closed[:p.len] {
		for _, o := range p.closed[:i] {
			if v.touches(o) {
				w.breaks(Uniqueness, "%s and %s may both have been minted", w.window(o),
					w.window(v))
			}
		}
	}
}

// checkServer checks the invariants of a server.
func (w *world) checkServer(n uint32) {
	if v := w.servers.at(n); n != 0 && v.broken != nil {
		w.breaks(ServerState, "%v", v.broken)
	}
}
