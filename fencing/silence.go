package fencing

import (
	"container/heap"
	"time"
)

// maxNotes is how many records are noted with one write of the mark: as ended
// or as silent (S5).
const maxNotes = 100

// A Tick looks at no more than maxChecks leases whose time has come, so that it
// takes no time in proportion to the pool; checkPause is when the next one goes
// on where there are more.
const (
	maxChecks  = 1024
	checkPause = 5 * time.Millisecond
)

// silentAt is when a lease that was heard last at a steady time counts as silent
// (S5): not before all that earlier servers can still promise is behind us, and
// holders have had the time to be heard by this one.
func (s *Server) silentAt(heard, ttl time.Duration) time.Duration {
	return max(heard+ttl*2/3, s.mark.since+2*s.mark.longest)
}

// notedFor is how long a note of a lease that stays silent is good enough (S5).
// What the clock shows since the last one is lost at a restart.
func (s *Server) notedFor(ttl time.Duration) time.Duration { return ttl/20 + s.mark.stride }

// listen takes in that a lease counts as silent from noteAt on.
func (p *pool) trackSilence(l *slot) {
	switch {
	case l.status == Ended:
		if l.quietAt > 0 {
			heap.Remove(&p.quiet, int(l.quietAt)-1)
		}
	case l.quietAt == 0:
		l.checkAt = l.noteAt
		heap.Push(&p.quiet, l)
	case l.quietAt > 0 && l.noteAt < l.checkAt:
		l.checkAt = l.noteAt
		heap.Fix(&p.quiet, int(l.quietAt)-1)
	}
}

// look moves leases that have become silent from the heap into the line of
// those to be noted, and says whether it left any that it had to look at.
func (s *Server) collectSilent(at reading) (more bool) {
	due := false
	for _, p := range s.pools {
		due = due || p.quiet.due(at)
	}
	if !due {
		return false
	}
	checks := maxChecks
	for _, name := range s.PoolNames() { // in order, so that a run can be repeated
		p := s.pools[name]
		for ; checks > 0 && p.quiet.due(at); checks-- {
			l := p.quiet[0]
			if l.noteAt > at.steady { // it was heard since
				l.checkAt = l.noteAt
				heap.Fix(&p.quiet, 0)
				continue
			}
			heap.Pop(&p.quiet)
			l.quietAt = queuedForNote
			p.silent = append(p.silent, l)
		}
		more = more || p.quiet.due(at)
	}
	return more
}

// note adds to the mark's write what is to be noted with it (S5): half of it
// ended and half silent leases, where there are enough of both, and of one pool
// after the other.
func (s *Server) note(w *Write, at reading) {
	names := s.namesAfter(s.lastNoted)
	for _, part := range []struct {
		add  func(*pool, *Write, reading, int)
		most int
	}{{s.noteEnded, maxNotes / 2}, {s.noteSilent, maxNotes}, {s.noteEnded, maxNotes}} {
		for _, name := range names {
			if len(w.Batch.Records) == part.most {
				break
			}
			s.lastNoted = name
			part.add(s.pools[name], w, at, part.most)
		}
	}
	s.notesLeft = len(w.Batch.Records) == maxNotes
}

// namesAfter are the names of all pools in order, from the one after a name.
func (s *Server) namesAfter(last PoolName) []PoolName {
	names := s.PoolNames()
	for i, name := range names {
		if name > last {
			return append(names[i:len(names):len(names)], names[:i]...)
		}
	}
	return names
}

// noteSilent adds silence notes, until the write has so many records: nothing
// will be promised under such a lease before another write of its record, so
// what a start needs to know of it is how much time it has left (S5, S6).
func (s *Server) noteSilent(p *pool, w *Write, at reading, most int) {
	for len(p.silent) > 0 && len(w.Batch.Records) < most {
		l := p.silent[0]
		p.silent = p.silent[1:]
		l.quietAt = 0
		switch {
		case l.status == Ended, l.pending != nil: // whose end makes it listen again
			continue
		case l.noteAt > at.steady: // it was heard since
		case p.isFree(l, at): // it is in line to be noted as ended
			l.noteAt = at.steady + s.notedFor(l.ttl)
		default:
			l.noteAt = at.steady + s.notedFor(l.ttl)
			rec := l.record(p.Name)
			rec.Silence = Silence{Noted: true, Left: timeLeft(l.deadline - at.steady), Ceiling: l.ceiling}
			w.Batch.Records = append(w.Batch.Records, p.begin(l, rec, pendingSilenceNote))
		}
		p.trackSilence(l)
	}
}

// timeLeft is what a note says of the time until the deadline: rounded up, and
// no less than −MaxDuration, after which no quarantine lasts. Such a lease can
// only be waiting for its ceiling to pass.
func timeLeft(d time.Duration) time.Duration { return max(upToMillis(d), -MaxDuration) }

// upToMillis rounds up.
func upToMillis(d time.Duration) time.Duration {
	down := d.Truncate(time.Millisecond) // below 0 it is up
	if down < d {
		down += time.Millisecond
	}
	return down
}

// hear takes the silence note of a lease away, whose holder was heard (S5). The
// answer follows the write: a start that finds the note gives the lease no
// other TTL, so a promise beside it would be forgotten. The rules are asked
// again then, S10 among them.
func (s *Server) removeNote(p *pool, l *slot, at reading) *Write {
	rec := l.record(p.Name)
	rec.Silence = Silence{}
	rec = p.begin(l, rec, pendingNoteRemoval)
	l.pending.deadline = at.steady + l.ttl
	return &Write{Batch: Batch{Records: []Record{rec}}}
}

// hearAgain moves the deadline for a holder that is heard while the write that
// takes the note away is under way.
func (s *Server) extendPending(c *pendingWrite, at reading) {
	if c.kind == pendingNoteRemoval && s.promising(at) {
		c.deadline = max(c.deadline, at.steady+c.ttl)
	}
}

// heard makes a lease whose note is durably gone show, with the deadline of the
// last heartbeat that came before.
func (s *Server) noteRemoved(p *pool, l *slot, rec *Record, c *pendingWrite, at reading) {
	l.set(rec)
	l.deadline = max(l.deadline, c.deadline)
	l.noteAt = s.silentAt(c.deadline-l.ttl, l.ttl)
	p.place(l, at)
	switch {
	case c.from != Held && l.indexedAs == Held:
		s.emit(p, EventGranted, l, at) // it had expired
	case c.from == Held && l.indexedAs != Held:
		s.emit(p, EventExpired, l, at)
	}
	if c.from != Free && l.indexedAs == Free {
		s.emit(p, EventFreed, l, at)
	}
}

// quietHeap has the lease at its root that is silent first. Heartbeats move
// noteAt without touching it, so lookAt is a lower bound: a lease that is heard
// costs one look in two thirds of its TTL.
type quietHeap []*slot

// queuedForNote is the lookSlot of a lease in the line of those to be noted.
const queuedForNote = -1

func (h quietHeap) due(at reading) bool { return len(h) > 0 && h[0].checkAt <= at.steady }

// Len, Less, Swap, Push and Pop are for package heap.
func (h quietHeap) Len() int           { return len(h) }
func (h quietHeap) Less(i, j int) bool { return h[i].checkAt < h[j].checkAt }
func (h quietHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].quietAt, h[j].quietAt = int32(i)+1, int32(j)+1
}

// Push puts a lease at the end.
func (h *quietHeap) Push(x any) {
	l := x.(*slot)
	*h = append(*h, l)
	l.quietAt = int32(len(*h))
}

// Pop takes the last one.
func (h *quietHeap) Pop() any {
	last := len(*h) - 1
	l := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	l.quietAt = 0
	return l
}
