package service

import (
	"sync"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
)

// lostPause is how long a line of the log about lost writes is good for: those
// noticed meanwhile share the next one.
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

// lostBy is the lost write that a refusal shows, if it does.
func lostBy(r *fencing.Refusal) lostWrites {
	if !r.Forgotten {
		return lostWrites{}
	}
	return lostWrites{1, r}
}

// lostLog is what is to be logged of lost writes.
type lostLog struct {
	mu   sync.Mutex
	todo lostWrites
	busy bool // a task logs it
	// total is how many were counted since the service was made.
	total int
}

// tellLost counts lost writes, and has them logged.
func (s *Service) tellLost(l lostWrites) {
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
	s.lost.todo.add(l)
	if !s.lost.busy {
		s.lost.busy = s.spawn(s.logLost)
	}
}

// logLost logs lost writes, in one line each lostPause, until there are no more.
// No answer waits for it (S14).
func (s *Service) logLost() {
	for {
		s.lost.mu.Lock()
		l := s.lost.todo
		s.lost.todo, s.lost.busy = lostWrites{}, l.n > 0
		s.lost.mu.Unlock()
		if l.n == 0 {
			return
		}
		s.log.Error("a holder knows of a later grant than the store does, so the store has lost a write: stop the service, check the disk, and recover the store (S12)",
			"refusal", l.last.Message, "since_last_told", l.n)
		s.pause(lostPause)
	}
}
