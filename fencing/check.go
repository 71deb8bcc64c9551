package fencing

import (
	"fmt"
	"slices"
)

// Check returns an error that names a broken invariant of the state, if any is
// broken. It takes time in proportion to the number of leases: it is for tests and
// the simulator.
func (s *Server) Check() error {
	for _, name := range s.PoolNames() {
		p := s.pools[name]
		for _, check := range []func() error{p.checkLeases, p.checkIndex, p.checkSilence,
			p.checkInstances, p.checkQueue} {
			if err := check(); err != nil {
				return fmt.Errorf("pool %q: %w", name, err)
			}
		}
		if p.LongestTTL < p.MaxTTL {
			return fmt.Errorf("pool %q: its longest TTL is %v, below its max_ttl, %v", name,
				p.LongestTTL, p.MaxTTL)
		}
		for l := range p.slots.all() {
			if l.ttl > p.LongestTTL {
				return fmt.Errorf("pool %q: node ID %d has a TTL of %v, above the longest, %v",
					name, l.node, l.ttl, p.LongestTTL)
			}
			if most := s.meta.Mark.Add(l.ttl); l.status == Live && l.ceiling > most {
				return fmt.Errorf(
					"pool %q: node ID %d was promised up to %d, above mark + TTL = %d", name,
					l.node, l.ceiling, most)
			}
		}
	}
	return nil
}

// checkLeases checks that epochs are distinct and at most the highest one, that
// floor ≤ ceiling + 1, and that the table and the set of node IDs agree.
func (p *pool) checkLeases() error {
	epochs := make([]Epoch, 0, p.slots.len)
	for l := range p.slots.all() {
		switch {
		case p.slots.at(l.node) != l:
			return fmt.Errorf("the slot of node ID %d is filed under another node ID", l.node)
		case l.epoch > p.highest:
			return fmt.Errorf("node ID %d has epoch %d, above the highest, %d", l.node, l.epoch,
				p.highest)
		case l.floor > l.ceiling+1:
			return fmt.Errorf("node ID %d has floor %d, above its ceiling, %d", l.node, l.floor,
				l.ceiling)
		}
		epochs = append(epochs, l.epoch)
	}
	slices.Sort(epochs)
	for i := 1; i < len(epochs); i++ {
		if epochs[i] == epochs[i-1] {
			return fmt.Errorf("two node IDs both have epoch %d", epochs[i])
		}
	}
	listed := 0
	for node := range p.nodes.all() {
		if p.slots.at(node) == nil {
			return fmt.Errorf("node ID %d is listed, but has no slot", node)
		}
		listed++
	}
	if listed != p.slots.len || p.nodes.len != listed {
		return fmt.Errorf("the set of node IDs yields %d of %d, for %d slots", listed, p.nodes.len,
			p.slots.len)
	}
	return nil
}

// checkIndex checks that each slot is in the one part of the index that its
// indexedAs names, unless a write that will move it is in progress, and that no heap
// has it due too late.
func (p *pool) checkIndex() error {
	moving, free := 0, 0
	for l := p.free.first; l != nil; l = l.next {
		free++
	}
	for l := range p.slots.all() {
		switch {
		case l.indexedAs == 0 && (l.pending == nil || !l.pending.kind.moves()):
			return fmt.Errorf("node ID %d is in no part of the index, and no write will put it there", l.node)
		case l.indexedAs == 0:
			moving++
		case l.indexedAs == Quarantined && !l.cooling && !p.sweeping && l.due > l.deadline+p.QuarantineOf(l.ttl):
			return fmt.Errorf("node ID %d is due after deadline + quarantine: it would be quarantined for too long", l.node)
		case l.status == Ended && l.indexedAs == Quarantined && !l.cooling:
			return fmt.Errorf("node ID %d waits for its quarantine, though its lease is ended", l.node)
		case l.indexedAs == Held && (p.expiring[l.heapAt] != l || l.due > l.deadline):
			return fmt.Errorf(
				"node ID %d is held, but not in the heap of those that expire, or due after its deadline", l.node)
		case l.indexedAs == Quarantined && !l.cooling && p.resting[l.heapAt] != l,
			l.indexedAs == Quarantined && l.cooling && p.cooling[l.heapAt] != l:
			return fmt.Errorf("node ID %d is quarantined, but not in the heap that it names",
				l.node)
		}
	}
	if sum := len(p.expiring) + len(p.resting) + len(
		p.cooling) + p.free.len + moving; sum != p.slots.len || free != p.free.len {
		return fmt.Errorf(
			"the parts of the index have %d slots (%d of %d free ones), but there are %d", sum,
			free, p.free.len, p.slots.len)
	}
	return nil
}

// checkSilence checks that each record that is not ended is tracked for silence,
// unless its write is in progress, and that no ended record has a silence note.
func (p *pool) checkSilence() error {
	inLines := 0
	for l := range p.slots.all() {
		switch at := int(l.quietAt) - 1; {
		case l.status == Ended && l.note != nil:
			return fmt.Errorf("node ID %d has an ended record with a silence note", l.node)
		case l.quietAt == queuedForNote:
			inLines++
		case l.quietAt > 0 && (p.quiet[at] != l || l.checkAt > l.noteAt):
			return fmt.Errorf(
				"node ID %d is not at its place in the heap of those that become silent, or is checked after its noteAt", l.node)
		case l.quietAt == 0 && l.status != Ended && l.pending == nil:
			return fmt.Errorf("node ID %d is not tracked for silence", l.node)
		}
	}
	if inLines > len(p.silent) {
		return fmt.Errorf("%d slots say that they wait for a silence note, but only %d do", inLines,
			len(p.silent))
	}
	return nil
}

// checkInstances checks that each instance in the index leads to its live record,
// or to its grant in progress.
func (p *pool) checkInstances() error {
	for hash, node := range p.byInstance.all() {
		if c := p.pendingOf(node); c != nil && c.kind == pendingGrant &&
			hashOfInstance(&c.instance) == hash {
			continue
		}
		if l := p.slots.at(node); l == nil || l.status != Live ||
			hashOfInstance(&l.instance) != hash {
			return fmt.Errorf(
				"an instance leads to node ID %d, whose record is not live or of another instance",
				node)
		}
	}
	return nil
}
