package fencing

import "time"

// ttlPerQuarantine is the most that a lease's TTL may be, in quarantines: then
// clocks that drift apart by less than a tenth cannot let two holders live (P1).
const ttlPerQuarantine = 10

// QuarantineOf returns the quarantine of a lease with this TTL: the pool's, or a
// tenth of the TTL if that is longer, because the drift between clocks grows with
// the TTL. With Unsafe it is always the pool's.
func (p Pool) QuarantineOf(ttl time.Duration) time.Duration {
	if p.Unsafe {
		return p.Quarantine
	}
	return max(p.Quarantine, ttl/ttlPerQuarantine)
}

// Suspicion returns for how long a pool that is not opened must be served before it
// may grant (S7): by then, no holder of a node ID from a lost store may be live.
// stride is the longest that an earlier server may have kept, suspectFor the least
// suspicion that an operator asks for.
func (p Pool) Suspicion(stride, suspectFor time.Duration) time.Duration {
	longest := max(p.LongestTTL, p.MaxTTL)
	return max(longest+p.QuarantineOf(longest)+stride, suspectFor)
}

// remember raises LongestTTL to this TTL and to MaxTTL.
func (p *Pool) remember(ttl time.Duration) { p.LongestTTL = max(p.LongestTTL, p.MaxTTL, ttl) }

// validWhileSuspicious refuses a change from old to p that would end the pool's
// suspicion earlier: its length follows from what an earlier store may have
// promised, not from what this store will.
func (p Pool) validWhileSuspicious(old Pool) *Refusal {
	shorter := p.Suspicion(0, 0) < old.Suspicion(0, 0) // as by unsafe
	if old.Opened || p.MaxTTL >= old.MaxTTL && p.Quarantine >= old.Quarantine && !shorter {
		return nil
	}
	return refuse(ReasonForbidden, "pool %q is not opened yet, and by its max_ttl (%v), quarantine (%v) and unsafe (%v) it waits for holders from an earlier store: keep or raise these until it has opened",
		string(old.Name), old.MaxTTL, old.Quarantine, old.Unsafe)
}

// Suspect makes the suspicion of pools that are not opened last at least that long
// (S7): from now on and, once the next mark is written, at every later start. It
// never shortens a suspicion. Call it before the first Tick. It does nothing in a
// store that its operator vouches for: the pools there are open.
func (s *Server) Suspect(least time.Duration) {
	if !s.meta.Vouched {
		s.meta.SuspectFor = max(s.meta.SuspectFor, least)
	}
}

// opensAt returns the steady time at which the pool's suspicion ends (S7).
func (s *Server) opensAt(p *pool) time.Duration {
	return p.since + p.Suspicion(s.mark.longest, s.meta.SuspectFor)
}
