package fencing

import (
	"maps"
	"slices"

	"github.com/cirrus-id/cirrus/snowflake"
)

// Clone returns a server with the same state that shares nothing with s: no call on
// one of them changes the other. A Write that s asked for before may be acknowledged
// to both.
func (s *Server) Clone() *Server {
	c := *s
	c.pools = make(map[PoolName]*pool, len(s.pools))
	for name, p := range s.pools {
		c.pools[name] = p.clone()
	}
	c.changing = maps.Clone(s.changing)
	c.events = slices.Clone(s.events)
	return &c
}

func (p *pool) clone() *pool {
	c := *p
	c.slots = p.slots.clone()
	c.granting = make(map[snowflake.NodeID]*pendingWrite, len(p.granting))
	for node, grant := range p.granting {
		c.granting[node] = grant.clone()
	}
	c.quiet, c.silent = quietHeap(slotHeap(p.quiet).in(&c.slots)), slotHeap(p.silent).in(&c.slots)
	c.expiring, c.resting, c.cooling = p.expiring.in(&c.slots), p.resting.in(&c.slots),
		p.cooling.in(&c.slots)
	c.free = slotList{}
	for l := p.free.first; l != nil; l = l.next {
		c.free.push(c.slots.at(l.node))
	}
	c.nodes, c.unnoted, c.queue = p.nodes.clone(), slices.Clone(p.unnoted), slices.Clone(p.queue)
	c.byInstance, c.byApp, c.alarms = p.byInstance.clone(), p.byApp.clone(), p.alarms.clone()
	return &c
}

func (l *slot) clone() *slot {
	c := *l
	c.pending, c.prev, c.next = l.pending.clone(), nil, nil
	return &c
}

func (c *pendingWrite) clone() *pendingWrite {
	if c == nil {
		return nil
	}
	copied := *c
	return &copied
}

// in returns the same heap over the slots that another table has for its node IDs.
func (h slotHeap) in(slots *slotTable) slotHeap {
	if h == nil {
		return nil
	}
	c := make(slotHeap, len(h))
	for i, l := range h {
		c[i] = slots.at(l.node)
	}
	return c
}
