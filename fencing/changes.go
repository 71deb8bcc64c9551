package fencing

import (
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// PoolChange is what UpdatePool may be asked for; nil keeps what is stored.
type PoolChange struct {
	Layout                  *snowflake.Layout
	First, Last             *snowflake.NodeID
	TTL, MaxTTL, Quarantine *time.Duration
	Unsafe                  *bool
	// Confirmed is what of it is said to be meant; it is no setting.
	Confirmed Confirmed
}

// New returns a new pool with these settings and the defaults for the rest:
// all the layout's node IDs, and the TTL as the longest one, too.
func (c PoolChange) New(name PoolName) Pool {
	p := NewPool(name)
	set(&p.Layout, c.Layout)
	p.Last = p.Layout.MaxNode()
	set(&p.TTL, c.TTL)
	p.MaxTTL = p.TTL
	return c.apply(p)
}

// apply returns the pool with the change.
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

// CreatePool decides on a new pool (S11). One that exists with the same
// settings is as good as created: the answer has neither Write nor Wait, and
// nothing of it needs to be confirmed.
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
		return Decision{}, refuse(ReasonPoolExists, "pool %q exists with other settings: look at it (GetPool, `cirrus pools get`), and update it where that is allowed", string(p.Name))
	}
	if len(s.pools)+len(s.changing) >= MaxPools {
		return Decision{}, refuse(ReasonTooManyPools, "there are %d pools, which is the most: use one that there is; pools can't be deleted", MaxPools)
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

// UpdatePool decides on other settings (S11). Leases granted before keep
// their TTL. A change that changes nothing has neither Write nor Wait.
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

// validPool says what is wrong with settings that are asked for, if anything.
func (s *Server) validPool(p Pool) *Refusal {
	if r := p.Validate(s.mark.configured); r != nil {
		return r
	}
	return p.ValidTTL(s.shortestTTL)
}

func (s *Server) writePool(p Pool) Decision {
	s.changing[p.Name] = true
	return Decision{Write: &Write{Batch: Batch{Pools: []Pool{p}}}}
}

// poolWritten makes acknowledged settings show.
func (s *Server) poolWritten(settings Pool, at reading) {
	p := s.pools[settings.Name]
	if p == nil {
		s.pools[settings.Name] = newPool(settings, s.meta.FirstEpoch, at.steady)
		return
	}
	p.settle(s, at)
	if settings.First < p.First {
		p.fresh = settings.First // what is above has been looked through
	}
	rested := p.Pool
	p.Pool, p.unsaved = settings, false
	if p.Quarantine == rested.Quarantine && p.Unsafe == rested.Unsafe {
		return
	}
	p.sweeping, p.sweep = true, 0
	p.settle(s, at)
}

// add takes in the lease of an ID that was never granted before.
func (p *pool) add(l *lease) {
	p.leases.add(l)
	p.nodes.add(l.node)
}

// forgetApp drops the way from an app to an ID that another grant replaces.
func (p *pool) forgetApp(l *lease) {
	p.byApp.remove(hashOfApp(l.app), l.node)
}
