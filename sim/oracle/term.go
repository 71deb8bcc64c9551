package oracle

// S10 term: only the last term writes, each write is sent once, and no takeover
// that lands late ends a term.

// deposesInTime: a takeover that was sent before the last term began does not begin
// the next one.
func (o *Oracle) deposesInTime(old, t *term) {
	if old != nil && old.since > t.sentAt {
		o.violate(PromiseTerm,
			"%s begins term %d by a takeover that it sent %v before %s began term %d: one that lands late must not depose the next leader", t.server.name, t.number, old.since-t.sentAt, old.server.name, old.number)
	}
}

// sentTwice reports a transaction whose writes were not announced.
func (o *Oracle) sentTwice(t *term, keys int) {
	o.violate(PromiseTerm,
		"%s sends a transaction with %d keys of which it had not said that they are to be written: a write must not be sent again", t.server.name, keys)
}

// leaderWrites: who writes has the last term.
func (o *Oracle) leaderWrites(t *term) bool {
	if t != o.leader {
		o.violate(PromiseTerm, "%s writes as of its term %d, but %s has begun term %d since",
			t.server.name, t.number, o.leader.server.name, o.leader.number)
		return false
	}
	return true
}
