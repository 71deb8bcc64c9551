package fencing

import (
	"maps"
	"slices"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

const (
	// maxAlarms is the most raised alarms that a pool remembers. A client that makes
	// up more leases than that can make some be raised twice, but none be left out.
	maxAlarms = 1024
	// plausibleAhead is how far in the future an epoch may lie that a store can have
	// granted: the error that its clock may have had.
	plausibleAhead = time.Hour
)

// alarm is what an alarm is about. It is raised once.
type alarm struct {
	node  snowflake.NodeID
	epoch Epoch
}

// alarms are the last alarms that were raised, maxAlarms at most.
type alarms struct {
	raised map[alarm]bool
	// order is a ring buffer: oldest is the index of the alarm to forget next.
	order  []alarm
	oldest int
}

// first reports whether the alarm was not raised before, and remembers that it is
// raised now.
func (a *alarms) first(k alarm) bool {
	switch {
	case a.raised[k]:
		return false
	case a.raised == nil:
		a.raised = map[alarm]bool{}
	}
	if len(a.order) < maxAlarms {
		a.order = append(a.order, k)
	} else {
		delete(a.raised, a.order[a.oldest])
		a.order[a.oldest] = k
		a.oldest = (a.oldest + 1) % maxAlarms
	}
	a.raised[k] = true
	return true
}

func (a *alarms) clone() alarms {
	return alarms{raised: maps.Clone(a.raised), order: slices.Clone(a.order), oldest: a.oldest}
}

// lost returns the refusal of a request under a lease that its sender does not
// hold. l is the acknowledged slot of the node ID; nil if there is none. The
// refusal says whether the request shows that the store has lost a write (S12).
func (s *Server) lost(p *pool, ref LeaseRef, l *slot, at reading) *Refusal {
	r := refuse(ReasonLeaseLost,
		"the lease of node ID %d of pool %q under epoch %d is not yours, or not any more: stop minting and acquire anew", ref.Node, string(p.Name), ref.Epoch)
	switch {
	case !s.unknownHere(p, ref.Epoch, l):
	case s.madeUp(p, ref, at):
		r.MadeUp = true
	default:
		r.Forgotten = p.alarms.first(alarm{ref.Node, ref.Epoch})
	}
	return r
}

// unknownHere reports whether the store does not know of a grant under the epoch:
// the node ID has no record, or one with a lower epoch; or the epoch is above all
// that were loaded and below all that were granted since.
func (s *Server) unknownHere(p *pool, e Epoch, l *slot) bool {
	return l == nil || e > l.epoch || e > p.loaded && e < s.meta.FirstEpoch
}

// madeUp reports whether no store can have granted this lease by now, not even one
// whose server's clock was ahead by plausibleAhead.
func (s *Server) madeUp(p *pool, ref LeaseRef, at reading) bool {
	most := max(firstEpoch(at.server.Add(plausibleAhead)),
		p.highest+Epoch(plausibleAhead/time.Second)*epochsPerSecond)
	return ref.Node < p.First || ref.Node > p.Last || ref.Epoch > most
}
