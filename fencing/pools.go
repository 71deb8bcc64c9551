package fencing

import (
	"slices"
	"strings"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// PoolName names a pool: 1 to 63 characters of a–z, 0–9 and -.
type PoolName string

// DefaultPool is the pool that is meant where none is named.
const DefaultPool PoolName = "default"

// Validate refuses a malformed name.
func (name PoolName) Validate() *Refusal {
	if len(name) == 0 || len(name) > MaxPoolName {
		return invalid("pool", "a name of %d characters: give 1 to %d of a-z, 0-9 and -", len(name),
			MaxPoolName)
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return invalid("pool", "%q has a character that is none of a-z, 0-9 and -",
				string(name))
		}
	}
	return nil
}

// Pool is a named set of node IDs with one layout and one pair of timings.
type Pool struct {
	Name   PoolName
	Layout snowflake.Layout
	// First and Last bound the pool's node IDs, both inclusive.
	First, Last snowflake.NodeID
	// TTL is what a lease gets that asks for none, MaxTTL the most that it
	// may ask for: MinTTL ≤ TTL ≤ MaxTTL ≤ MaxDuration.
	TTL, MaxTTL time.Duration
	// LongestTTL is the longest that MaxTTL ever was, and the longest TTL that
	// was ever granted; 0 stands for MaxTTL. It bounds how long a lease can last
	// that the store has forgotten (S7).
	LongestTTL time.Duration
	// Quarantine is how long an expired node ID rests at least before it can be
	// granted again: at least the stride and a tenth of TTL unless Unsafe. See
	// QuarantineOf.
	Quarantine time.Duration
	// Unsafe accepts a quarantine that is too short for P1.
	Unsafe bool
	// Opened says that the pool may grant (S7).
	Opened bool
	// CreatedAt is server time at the pool's creation.
	CreatedAt snowflake.Millis
}

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

// Validate refuses settings that are malformed, or too short for the stride.
func (p Pool) Validate(stride time.Duration) *Refusal {
	if r := p.Name.Validate(); r != nil {
		return r
	}
	if err := p.Layout.Validate(); err != nil {
		return invalid("layout", "%v", err)
	}
	switch {
	case p.First > p.Last:
		return invalid("node_ids", "first %d is above last %d: give the lower one first", p.First,
			p.Last)
	case p.Last > p.Layout.MaxNode():
		return invalid("node_ids", "last %d does not fit into %d node bits: give at most %d",
			p.Last, p.Layout.NodeBits, p.Layout.MaxNode())
	case p.TTL < MinTTL || p.TTL > MaxDuration:
		return invalid("ttl", "%v is out of range: give %v to %v", p.TTL, MinTTL, MaxDuration)
	case p.MaxTTL < p.TTL || p.MaxTTL > MaxDuration:
		return invalid("max_ttl", "%v is out of range: give the pool's ttl (%v) to %v", p.MaxTTL,
			p.TTL, MaxDuration)
	case p.Quarantine < 0 || p.Quarantine > MaxDuration:
		return invalid("quarantine", "%v is out of range: give 0 to %v", p.Quarantine, MaxDuration)
	case !p.Unsafe && p.Quarantine < stride:
		return invalid("quarantine",
			"%v is shorter than the stride (%v), so clocks that drift could let two holders live: raise it, or say unsafe", p.Quarantine, stride)
	case !p.Unsafe && p.Quarantine < p.TTL/ttlPerQuarantine:
		return invalid("quarantine",
			"%v is shorter than a tenth of the ttl (%v), so clocks that drift could let two holders live: raise it, or say unsafe", p.Quarantine, p.TTL)
	}
	return nil
}

// sessionsPerTTL is the least ratio of a pool's TTL to the session TTL of the
// election (S11): a holder must outlive a leader's silence and the takeover.
const sessionsPerTTL = 4

// ShortestTTL returns the shortest TTL that a pool or a request may have with
// several replicas (S11).
func ShortestTTL(session time.Duration) time.Duration { return sessionsPerTTL * session }

// ValidTTL refuses a pool whose TTL is below the shortest that several replicas
// can keep (S11): see Server.RequireTTL.
func (p Pool) ValidTTL(shortest time.Duration) *Refusal {
	if p.TTL < shortest {
		return refuse(ReasonForbidden,
			"ttl %v is shorter than four times the session TTL of the replicas' election, %v, so a takeover could outlast leases: raise it, or shorten the session TTL", p.TTL, shortest)
	}
	return nil
}

// validNew refuses a layout that does not suit a pool created at this server
// time (S11).
func (p Pool) validNew(at snowflake.Millis) *Refusal {
	switch last := p.Layout.LastTimestamp(); {
	case p.Layout.Origin > at:
		return refuse(ReasonForbidden,
			"the layout's origin %d is after the server's time %d: choose an origin in the past, or set the server's clock", p.Layout.Origin, at)
	case last < at.Add(minLayoutLeft):
		return refuse(ReasonForbidden,
			"the layout's last timestamp %d is less than a year after the server's time %d: take more timestamp bits or a later origin", last, at)
	}
	return nil
}

// validChange refuses the changes from old to p that S11 forbids: each would let
// an old ID be minted again.
func (p Pool) validChange(old Pool) *Refusal {
	switch {
	case p.Layout != old.Layout:
		return refuse(ReasonForbidden,
			"the layout of pool %q is %s from origin %d for good: create another pool for %s from %d",
			old.Name, old.Layout, old.Layout.Origin, p.Layout, p.Layout.Origin)
	case p.First > old.First || p.Last < old.Last:
		return refuse(ReasonForbidden,
			"the node IDs of pool %q are %d-%d and can only grow: give a range that holds them all, not %d-%d",
			old.Name, old.First, old.Last, p.First, p.Last)
	}
	return p.validWhileSuspicious(old)
}

// sameSettings reports whether two pools have the same settings. What the server
// adds to a pool is left out.
func sameSettings(a, b Pool) bool {
	a.Opened, a.CreatedAt, a.LongestTTL = b.Opened, b.CreatedAt, b.LongestTTL
	return a == b
}

// PoolChange is a request to change a pool; nil keeps a setting as it is stored.
type PoolChange struct {
	Layout                  *snowflake.Layout
	First, Last             *snowflake.NodeID
	TTL, MaxTTL, Quarantine *time.Duration
	Unsafe                  *bool
	// Confirmed says which unusual values are meant. It is no setting.
	Confirmed Confirmed
}

// New returns a new pool with these settings and the defaults for the others: all
// node IDs of the layout, and max_ttl = ttl.
func (c PoolChange) New(name PoolName) Pool {
	p := NewPool(name)
	set(&p.Layout, c.Layout)
	p.Last = p.Layout.MaxNode()
	set(&p.TTL, c.TTL)
	p.MaxTTL = p.TTL
	return c.apply(p)
}

// apply returns p with the change.
func (c PoolChange) apply(p Pool) Pool {
	set(&p.Layout, c.Layout)
	set(&p.First, c.First)
	set(&p.Last, c.Last)
	set(&p.TTL, c.TTL)
	set(&p.MaxTTL, c.MaxTTL)
	set(&p.Quarantine, c.Quarantine)
	set(&p.Unsafe, c.Unsafe)
	p.remember(0)
	return p
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// CreatePool decides on a new pool (S11). If the pool exists with the same
// settings, the answer has neither Write nor Wait, and nothing needs to be
// confirmed.
func (s *Server) CreatePool(now Now, p Pool, c Confirmed) (Decision, *Refusal) {
	at := s.advance(now)
	if s.failed != nil {
		return Decision{}, s.failed
	}
	if r := s.validPool(p); r != nil {
		return Decision{}, r
	}
	if s.changing[p.Name] {
		return Decision{Wait: WaitKey}, nil
	}
	if old := s.pools[p.Name]; old != nil {
		if sameSettings(old.Pool, p) {
			return Decision{}, nil
		}
		return Decision{}, refuse(ReasonPoolExists,
			"pool %q exists with other settings: look at it (GetPool), and update it where that is allowed", string(p.Name))
	}
	if len(s.pools)+len(s.changing) >= MaxPools {
		return Decision{}, refuse(ReasonTooManyPools,
			"there are %d pools, which is the most: use one that there is; pools can't be deleted",
			MaxPools)
	}
	if r := c.ValidNew(p); r != nil {
		return Decision{}, r
	}
	if r := p.validNew(at.server); r != nil {
		return Decision{}, r
	}
	p.CreatedAt, p.LongestTTL = at.server, p.MaxTTL
	p.Opened = s.meta.Vouched // S7: else an earlier store may have had this pool
	return s.writePool(p), nil
}

// UpdatePool decides on new settings of a pool (S11). Leases that were granted
// before keep their TTL. If nothing changes, the answer has neither Write nor
// Wait.
func (s *Server) UpdatePool(now Now, name PoolName, c PoolChange) (Decision, *Refusal) {
	s.advance(now)
	old, r := s.pool(name)
	if r != nil {
		return Decision{}, r
	}
	if s.changing[name] {
		return Decision{Wait: WaitKey}, nil
	}
	p := c.apply(old.Pool)
	if p == old.Pool {
		return Decision{}, nil
	}
	if r := p.validChange(old.Pool); r != nil {
		return Decision{}, r
	}
	if r := s.validPool(p); r != nil {
		return Decision{}, r
	}
	if r := c.Confirmed.validTimes(p, old.Pool); r != nil {
		return Decision{}, r
	}
	return s.writePool(p), nil
}

// validPool refuses settings that this server cannot serve.
func (s *Server) validPool(p Pool) *Refusal {
	if r := p.Validate(s.mark.configured); r != nil {
		return r
	}
	return p.ValidTTL(s.shortestTTL)
}

// writePool returns the decision to write a pool.
func (s *Server) writePool(p Pool) Decision {
	s.changing[p.Name] = true
	return Decision{Write: &Write{Batch: Batch{Pools: []Pool{p}}}}
}

// poolWritten makes acknowledged settings visible.
func (s *Server) poolWritten(settings Pool, at reading) {
	p := s.pools[settings.Name]
	if p == nil {
		s.pools[settings.Name] = newPool(settings, s.meta.FirstEpoch, at.steady)
		return
	}
	p.settle(s, at)
	if settings.First < p.First {
		p.fresh = settings.First // the node IDs above are known to be granted
	}
	old := p.Pool
	p.Pool, p.unsaved = settings, false
	if p.Quarantine == old.Quarantine && p.Unsafe == old.Unsafe {
		return
	}
	p.sweeping, p.sweep = true, 0
	p.settle(s, at)
}

// pool is a pool as the server runs it: its settings as acknowledged, its slots,
// and the requests that wait for a free node ID.
type pool struct {
	Pool
	index
	// since is the steady time from which this process has run the pool.
	since time.Duration
	// unsaved says that a record has a longer TTL than the stored pool knows of.
	unsaved bool
	// highest is the highest epoch in the pool, grants in progress included.
	highest Epoch
	// loaded is the highest epoch that the store held at the start (S12).
	loaded Epoch
	// granting are the grants in progress of node IDs that have no slot yet.
	granting map[snowflake.NodeID]*pendingWrite
	// fresh: no node ID from here to Last was ever granted, but for those in
	// slots and granting.
	fresh snowflake.NodeID

	queue  []place
	alarms alarms
	// watched says that somebody wants the pool's events. eventsLeft is how many
	// more events that time brings may come about before LimitEvents is called
	// again; below 0: any number.
	watched    bool
	eventsLeft int
}

func newPool(settings Pool, firstEpoch Epoch, since time.Duration) *pool {
	p := &pool{
		Pool: settings, since: since, highest: firstEpoch - 1, fresh: settings.First, eventsLeft: -1,
		granting: map[snowflake.NodeID]*pendingWrite{},
	}
	p.reserve(0)
	return p
}

// pool returns the pool that a request names, or refuses the request.
func (s *Server) pool(name PoolName) (*pool, *Refusal) {
	if s.failed != nil {
		return nil, s.failed
	}
	p := s.pools[name]
	if p == nil {
		return nil, refuse(ReasonPoolNotFound,
			"there is no pool %q: create it, or name one of those that there are (ListPools)",
			string(name))
	}
	return p, nil
}

// PoolNames returns the names of all pools, in order.
func (s *Server) PoolNames() []PoolName {
	names := make([]PoolName, 0, len(s.pools))
	for name := range s.pools {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b PoolName) int { return strings.Compare(string(a), string(b)) })
	return names
}
