package fencing

import (
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// minLayoutLeft is how long a new pool's layout must still last (S11).
const minLayoutLeft = 365 * 24 * time.Hour

// NewPool returns a pool with the defaults for all but its name: Twitter's
// layout with all its node IDs, TTL and max_ttl 30 s, quarantine 30 s.
func NewPool(name PoolName) Pool {
	return Pool{
		Name:       name,
		Layout:     snowflake.DefaultLayout,
		First:      0,
		Last:       snowflake.DefaultLayout.MaxNode(),
		TTL:        DefaultTTL,
		MaxTTL:     DefaultTTL,
		Quarantine: DefaultQuarantine,
	}
}

// Validate says what is wrong with the pool's settings under a stride, if
// anything.
func (p Pool) Validate(stride time.Duration) *Refusal {
	if r := p.Name.Validate(); r != nil {
		return r
	}
	if err := p.Layout.Validate(); err != nil {
		return invalid("layout", "%v", err)
	}
	switch {
	case p.First > p.Last:
		return invalid("node_ids", "first %d is above last %d: give the lower one first", p.First, p.Last)
	case p.Last > p.Layout.MaxNode():
		return invalid("node_ids", "last %d does not fit into %d node bits: give at most %d", p.Last, p.Layout.NodeBits, p.Layout.MaxNode())
	case p.TTL < MinTTL || p.TTL > MaxDuration:
		return invalid("ttl", "%v is out of range: give %v to %v", p.TTL, MinTTL, MaxDuration)
	case p.MaxTTL < p.TTL || p.MaxTTL > MaxDuration:
		return invalid("max_ttl", "%v is out of range: give the pool's ttl (%v) to %v", p.MaxTTL, p.TTL, MaxDuration)
	case p.Quarantine < 0 || p.Quarantine > MaxDuration:
		return invalid("quarantine", "%v is out of range: give 0 to %v", p.Quarantine, MaxDuration)
	case !p.Unsafe && p.Quarantine < stride:
		return invalid("quarantine", "%v is shorter than the stride (%v), so clocks that drift could let two holders live: raise it, or say unsafe", p.Quarantine, stride)
	case !p.Unsafe && p.Quarantine < p.TTL/ttlPerQuarantine:
		return invalid("quarantine", "%v is shorter than a tenth of the ttl (%v), so clocks that drift could let two holders live: raise it, or say unsafe", p.Quarantine, p.TTL)
	}
	return nil
}

// sessionsPerTTL is how many times the election's session TTL a pool's TTL must
// be (S11): a holder outlives the silence and the takeover after it.
const sessionsPerTTL = 4

// ShortestTTL is the least that a TTL may be with several replicas, a pool's or
// one that is asked for (S11).
func ShortestTTL(session time.Duration) time.Duration { return sessionsPerTTL * session }

// ValidTTL says whether the pool's TTL is under the shortest that several
// replicas can keep (S11): see Server.RequireTTL.
func (p Pool) ValidTTL(shortest time.Duration) *Refusal {
	if p.TTL < shortest {
		return refuse(ReasonForbidden, "ttl %v is shorter than four times the session TTL of the replicas' election, %v, so a takeover could outlast leases: raise it, or shorten the session TTL", p.TTL, shortest)
	}
	return nil
}

// validNew says whether the layout suits a pool that is created at this
// server time (S11).
func (p Pool) validNew(at snowflake.Millis) *Refusal {
	switch last := p.Layout.LastTimestamp(); {
	case p.Layout.Origin > at:
		return refuse(ReasonForbidden, "the layout's origin %d is after the server's time %d: choose an origin in the past, or set the server's clock", p.Layout.Origin, at)
	case last < at.Add(minLayoutLeft):
		return refuse(ReasonForbidden, "the layout's last timestamp %d is less than a year after the server's time %d: take more timestamp bits or a later origin", last, at)
	}
	return nil
}

// validChange says whether S11 lets old become p: each change that it forbids
// would let an old ID be minted again.
func (p Pool) validChange(old Pool) *Refusal {
	switch {
	case p.Layout != old.Layout:
		return refuse(ReasonForbidden, "the layout of pool %q is %s from origin %d for good: create another pool for %s from %d",
			old.Name, old.Layout, old.Layout.Origin, p.Layout, p.Layout.Origin)
	case p.First > old.First || p.Last < old.Last:
		return refuse(ReasonForbidden, "the node IDs of pool %q are %d-%d and can only grow: give a range that holds them all, not %d-%d",
			old.Name, old.First, old.Last, p.First, p.Last)
	}
	return p.validWhileSuspicious(old)
}

// sameSettings says whether two pools were asked for alike, whatever has
// become of them since.
func sameSettings(a, b Pool) bool {
	a.Opened, a.CreatedAt, a.LongestTTL = b.Opened, b.CreatedAt, b.LongestTTL
	return a == b
}

// Validate says what is wrong with the name, if anything.
func (name PoolName) Validate() *Refusal {
	if len(name) == 0 || len(name) > MaxPoolName {
		return invalid("pool", "a name of %d characters: give 1 to %d of a-z, 0-9 and -", len(name), MaxPoolName)
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return invalid("pool", "%q has a character that is none of a-z, 0-9 and -", string(name))
		}
	}
	return nil
}
