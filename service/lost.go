package service

import (
	"sync"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
)

// lostPause is the least time between two lines of the log about lost writes. Those
// found meanwhile share the next line.
const lostPause = time.Second

// lostWrites are refusals that show that the store has lost a write (S12).
type lostWrites struct {
	n    int
	last *fencing.Refusal
}

func (l *lostWrites) add(o lostWrites) {
	if o.n > 0 {
		l.n, l.last = l.n+o.n, o.last
	}
}

// lostBy returns the lost write that a refusal shows, if it shows one.
func lostBy(r *fencing.Refusal) lostWrites {
	if !r.Forgotten {
		return lostWrites{}
	}
	return lostWrites{1, r}
}

// lostLog holds the lost writes that are not logged yet.
type lostLog struct {
	mu      sync.Mutex
	pending lostWrites
	busy    bool // a task logs them
	// total is how many were counted since the service was made.
	total int
}

// countLost counts lost writes, and has them logged.
func (s *base) countLost(l lostWrites) {
	if l.n == 0 {
		return
	}
	s.metrics.forgotten.Add(float64(l.n))
	s.lost.mu.Lock()
	defer s.lost.mu.Unlock()
	s.lost.total += l.n
	if told := s.cfg.Observer.LostWrites; told != nil {
		told(s.lost.total)
	}
	s.lost.pending.add(l)
	if !s.lost.busy {
		s.lost.busy = s.spawn(s.logLost)
	}
}

// logLost logs lost writes, in one line each lostPause, until none is pending.
// No answer waits for it (S14).
func (s *base) logLost() {
	for {
		s.lost.mu.Lock()
		l := s.lost.pending
		s.lost.pending, s.lost.busy = lostWrites{}, l.n > 0
		s.lost.mu.Unlock()
		if l.n == 0 {
			return
		}
		s.log.Error(
			"a holder knows of a later grant than the store does, so the store has lost a write: stop the service, check the disk, and recover the store (S12)",
			"refusal", l.last.Message, "since_last_told", l.n)
		s.pause(lostPause)
	}
}
