package fencing

import (
	"maps"
	"slices"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

const (
	// maxAlarms is how many alarms a pool remembers to have told. Whoever makes
	// up more than that has some told twice, and none silenced.
	maxAlarms = 1024
	// plausibleAhead is how far beyond now an epoch may lie that a store can have
	// granted: what clocks may be wrong by.
	plausibleAhead = time.Hour
)

// alarm is what an alarm is about: told once.
type alarm struct {
	node  snowflake.NodeID
	epoch Epoch
}

// alarms are those that were told last.
type alarms struct {
	raised map[alarm]bool
	// order is a ring: oldest is the place of the one that is forgotten next.
	order  []alarm
	oldest int
}

// first says whether the alarm has not been told yet, and takes it for told.
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

// lost is the answer to whoever holds the lease no more. It rests on an
// acknowledged record, or on there being none. S12: it says whether the request
// shows that the store has lost a write.
func (s *Server) lost(p *pool, ref LeaseRef, l *slot, at reading) *Refusal {
	r := refuse(ReasonLeaseLost, "the lease of node ID %d of pool %q under epoch %d is not yours, or not any more: stop minting and acquire anew", ref.Node, string(p.Name), ref.Epoch)
	switch {
	case !s.unknownHere(p, ref.Epoch, l):
	case s.madeUp(p, ref, at):
		r.MadeUp = true
	default:
		r.Forgotten = p.alarms.first(alarm{ref.Node, ref.Epoch})
	}
	return r
}

// unknownHere says whether this store can't have granted the epoch as far as it
// knows: there is no record, or an older one; or the epoch is above all that was
// loaded and below all that was granted since.
func (s *Server) unknownHere(p *pool, e Epoch, l *slot) bool {
	return l == nil || e > l.epoch || e > p.loaded && e < s.meta.FirstEpoch
}

// madeUp says whether no store can have granted this by now, even one that was
// served under a clock that is an hour ahead.
func (s *Server) madeUp(p *pool, ref LeaseRef, at reading) bool {
	most := max(firstEpoch(at.server.Add(plausibleAhead)), p.highest+Epoch(plausibleAhead/time.Second)*epochsPerSecond)
	return ref.Node < p.First || ref.Node > p.Last || ref.Epoch > most
}
