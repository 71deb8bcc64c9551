package fencing

import (
	"container/heap"
	"time"
)

// maxNotes is the most records that one write of the mark notes, as ended or as
// silent (S5).
const maxNotes = 100

// One Tick checks at most maxChecks leases that may have become silent, so that its
// duration does not grow with the pool. If there are more, the next Tick goes on
// after checkPause.
const (
	maxChecks  = 1024
	checkPause = 5 * time.Millisecond
)

// silentAt returns the steady time from which a lease counts as silent (S5) whose
// last heartbeat came at heard. It is not before earlier servers can promise
// nothing more and holders have had the time to reach this server.
func (s *Server) silentAt(heard, ttl time.Duration) time.Duration {
	return max(heard+ttl*2/3, s.mark.since+2*s.mark.longest)
}

// notedFor returns how long after a silence note the next one of the same lease is
// due (S5). A restart forgets the time that has passed since the last note.
func (s *Server) notedFor(ttl time.Duration) time.Duration { return ttl/20 + s.mark.stride }

// trackSilence puts the slot at its place in the quiet heap after its noteAt or
// status has changed. An ended lease leaves the heap.
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

// collectSilent moves slots that have become silent from the quiet heap to silent,
// where they wait for a note. more says that maxChecks was too few for all.
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
			if l.noteAt > at.steady { // a heartbeat came since
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

// note adds to the write of the mark the leases to be noted with it (S5): half of
// them ended and half silent if there are enough of both. The pools take turns.
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

// namesAfter returns the names of all pools in order, starting after last.
func (s *Server) namesAfter(last PoolName) []PoolName {
	names := s.PoolNames()
	for i, name := range names {
		if name > last {
			return append(names[i:len(names):len(names)], names[:i]...)
		}
	}
	return names
}

// noteSilent adds silence notes to the write until it has most records. Nothing is
// promised under a noted lease before another write of its record, so the next
// start only needs to know the time until its deadline (S5, S6).
func (s *Server) noteSilent(p *pool, w *Write, at reading, most int) {
	for len(p.silent) > 0 && len(w.Batch.Records) < most {
		l := p.silent[0]
		p.silent = p.silent[1:]
		l.quietAt = 0
		switch {
		case l.status == Ended, l.pending != nil: // recordWritten tracks it again
			continue
		case l.noteAt > at.steady: // a heartbeat came since
		case p.isFree(l, at): // noteEnded notes it
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

// timeLeft returns the time until the deadline as a note stores it: rounded up to
// a millisecond, and no less than −MaxDuration. No quarantine is longer than that,
// so such a lease only waits for its ceiling to pass.
func timeLeft(d time.Duration) time.Duration { return max(upToMillis(d), -MaxDuration) }

// upToMillis rounds up to a millisecond.
func upToMillis(d time.Duration) time.Duration {
	down := d.Truncate(time.Millisecond) // below 0 this rounds up
	if down < d {
		down += time.Millisecond
	}
	return down
}

// removeNote decides on removing the silence note of a lease whose holder sent a
// heartbeat (S5). The heartbeat is answered only after the write: a start that
// finds the note extends the lease by nothing, so it would forget a promise that
// was made meanwhile. After the write, the request is judged again by all rules,
// S10 among them.
func (s *Server) removeNote(p *pool, l *slot, at reading) *Write {
	rec := l.record(p.Name)
	rec.Silence = Silence{}
	rec = p.begin(l, rec, pendingNoteRemoval)
	l.pending.deadline = at.steady + l.ttl
	return &Write{Batch: Batch{Records: []Record{rec}}}
}

// extendPending moves the deadline for a heartbeat that comes while the removal of
// the note is in progress.
func (s *Server) extendPending(c *pendingWrite, at reading) {
	if c.kind == pendingNoteRemoval && s.promising(at) {
		c.deadline = max(c.deadline, at.steady+c.ttl)
	}
}

// noteRemoved shows a lease whose note is durably removed, with the deadline of
// the last heartbeat that came meanwhile.
func (s *Server) noteRemoved(p *pool, l *slot, rec *Record, c *pendingWrite, at reading) {
	l.set(rec)
	l.deadline = max(l.deadline, c.deadline)
	l.noteAt = s.silentAt(c.deadline-l.ttl, l.ttl)
	p.place(l, at)
	switch {
	case c.from != Held && l.indexedAs == Held:
		s.emit(p, EventGranted, l, at) // it had expired, and is live again
	case c.from == Held && l.indexedAs != Held:
		s.emit(p, EventExpired, l, at)
	}
	if c.from != Free && l.indexedAs == Free {
		s.emit(p, EventFreed, l, at)
	}
}

// quietHeap has the slot with the lowest checkAt at its root. Heartbeats move
// noteAt without touching the heap, so checkAt ≤ noteAt: a lease with heartbeats
// costs one check in two thirds of its TTL.
type quietHeap []*slot

// queuedForNote is the quietAt of a slot that waits in silent for a note.
const queuedForNote = -1

func (h quietHeap) due(at reading) bool { return len(h) > 0 && h[0].checkAt <= at.steady }

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (h quietHeap) Len() int           { return len(h) }
func (h quietHeap) Less(i, j int) bool { return h[i].checkAt < h[j].checkAt }
func (h quietHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].quietAt, h[j].quietAt = int32(i)+1, int32(j)+1
}

// Push appends a slot.
func (h *quietHeap) Push(x any) {
	l := x.(*slot)
	*h = append(*h, l)
	l.quietAt = int32(len(*h))
}

// Pop removes and returns the last slot.
func (h *quietHeap) Pop() any {
	last := len(*h) - 1
	l := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	l.quietAt = 0
	return l
}
