package fencing

import "time"

// ttlPerQuarantine is how many times a lease's quarantine its TTL may be: clocks
// that drift apart by less than a tenth cannot let two holders live (P1).
const ttlPerQuarantine = 10

// QuarantineOf returns how long the node ID of a lease with this TTL rests after
// its deadline: the pool's quarantine or, where that is longer, a tenth of the
// TTL, since what clocks drift apart grows with the TTL. A pool that says unsafe
// gets what it asks for.
func (p Pool) QuarantineOf(ttl time.Duration) time.Duration {
	if p.Unsafe {
		return p.Quarantine
	}
	return max(p.Quarantine, ttl/ttlPerQuarantine)
}

// Suspicion returns for how long a pool that is not opened must be run before it
// may grant (S7): whoever holds one of its IDs from a store that was lost has
// lost it by then. stride is the longest that an earlier server may have kept,
// suspectFor the least that an operator asks for.
func (p Pool) Suspicion(stride, suspectFor time.Duration) time.Duration {
	longest := max(p.LongestTTL, p.MaxTTL)
	return max(longest+p.QuarantineOf(longest)+stride, suspectFor)
}

// remember keeps the longest TTL that the pool ever allowed.
func (p *Pool) remember(ttl time.Duration) { p.LongestTTL = max(p.LongestTTL, p.MaxTTL, ttl) }

// validWhileSuspicious refuses what would end the pool's suspicion earlier: it
// goes by what an earlier store may have promised, not by what this one will.
func (p Pool) validWhileSuspicious(old Pool) *Refusal {
	shorter := p.Suspicion(0, 0) < old.Suspicion(0, 0) // as by unsafe
	if old.Opened || p.MaxTTL >= old.MaxTTL && p.Quarantine >= old.Quarantine && !shorter {
		return nil
	}
	return refuse(ReasonForbidden, "pool %q is not opened yet, and by its max_ttl (%v), quarantine (%v) and unsafe (%v) it waits for holders from an earlier store: keep or raise these until it has opened",
		string(old.Name), old.MaxTTL, old.Quarantine, old.Unsafe)
}

// Suspect makes pools that are not opened wait for at least that long (S7), from
// now on and, once the next mark is written, in every later start. It only ever
// raises. Call it before the first Tick. In a store that its operator vouches for
// it does nothing: pools are open there.
func (s *Server) Suspect(least time.Duration) {
	if !s.meta.Vouched {
		s.meta.SuspectFor = max(s.meta.SuspectFor, least)
	}
}

// opensAt is when the pool's suspicion is over (S7).
func (s *Server) opensAt(p *pool) time.Duration {
	return p.since + p.Suspicion(s.mark.longest, s.meta.SuspectFor)
}
