package service

import "time"

// NoLeaderKnown is the state of a replica that neither leads nor knows who does.
const NoLeaderKnown = "no leader known"

// StateEvery is how often to read the state again while there is no news of it: a
// mark becomes overdue by time alone.
const StateEvery = time.Second

// markOverdue is the state while the store hangs or is slower than its stride.
const markOverdue = "the store has not acknowledged the mark in time, so nothing can be promised: check its disk or members"

// Ready reports whether the service answers requests. It is not stopping; without
// replicas its store has not failed, and acknowledges the mark in time; with replicas
// it leads and the store acknowledges the mark in time, or it has reached the leader,
// of the same store, within a session's TTL.
func (s *Service) Ready() bool {
	_, ready := s.describe()
	return ready
}

// describe returns in a few words what the replica does, and whether it is ready.
func (s *Service) describe() (string, bool) {
	r := s.state.Load()
	switch {
	case s.cfg.Cluster == nil:
		if s.stopping() || isClosed(s.failed) {
			return "not serving", false
		}
		if !r.term.promises() {
			return markOverdue, false
		}
		return "ok", true
	case s.stopping():
		return "stopping", false
	case r.term != nil:
		if !r.term.promises() {
			return "leading, but " + markOverdue, false
		}
		return "leading", true
	case r.leader != nil:
		text := "following " + r.leader.member.Address
		if _, cause := r.leader.doubted(); cause != nil {
			return text + ", to which nothing can be forwarded: " + cause.Error(), !r.leader.lost()
		}
		if r.leader.otherStore.Load() {
			return text +
					", to which nothing can be forwarded: a replica of another store answers there",
				false
		}
		return text, true
	}
	return NoLeaderKnown, false
}

// State returns in a few words what the replica does, and whether it is ready, as
// /readyz does. The channel is closed when that may have changed, unless it
// changes by time alone: see StateEvery.
func (s *Service) State() (text string, ready bool, news <-chan struct{}) {
	news = s.state.Load().news // first, so that no change is missed
	text, ready = s.describe()
	return text, ready, news
}
