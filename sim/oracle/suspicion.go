package oracle

import "time"

// S7 suspicion: a suspicious pool is not opened too early.

// opens: by the time at which a pool is opened, whoever holds one of its node IDs
// from a store that was lost must have lost it, whatever the pool was set to since.
func (o *Oracle) opens(t *term, p *pool) {
	least := p.longest + max(p.suspected, p.longest/10) + t.longest
	if since := t.steady() - p.since; since+t.tolerance() < least {
		o.violate(PromiseSuspicion,
			"pool %q is opened %v after it became suspicious; its longest TTL, %v, its quarantine, %v, and the stride, %v, make %v",
			p.Name, since, p.longest, p.suspected, t.longest, least)
	}
}

// suspicion is for how long a suspicious pool waits, at the most.
func (o *Oracle) suspicion(t *term, p *pool) time.Duration {
	longest := max(p.LongestTTL, p.MaxTTL)
	return max(longest+o.quarantine(p.Name, longest)+t.longest, t.meta.SuspectFor)
}
