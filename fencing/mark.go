package fencing

import (
	"time"
)

// maxOpened is how many pools are opened with it (S7). Together with the mark
// and the notes they stay within the 128 keys that a store takes at once; the
// rest is due when the write is acknowledged.
const maxOpened = 27

// markLease is the mark as this term's right to promise (S10).
type markLease struct {
	// configured is how far ahead this term writes marks, and for how long one
	// carries its promises. stride is stored with each mark: the longer of
	// configured and what an earlier term may still keep.
	stride, configured time.Duration
	// longest is the stride that the term began with: an earlier one may have
	// kept it.
	longest time.Duration
	// since is the steady time at which the term began (its loading ended).
	since time.Duration
	// sent is the steady time before the last acknowledged write was sent;
	// written says that there was one in this term.
	sent    time.Duration
	written bool
	// writing says that a write is under way: one key, one write (S1).
	writing bool
}

// holds says whether the last acknowledged write still carries promises.
func (m *markLease) holds(steady time.Duration) bool {
	return m.written && steady < m.sent+m.configured
}

func (m *markLease) acknowledged(sent time.Duration) {
	m.sent, m.written, m.writing = sent, true, false
}

// shorten stores a stride that was configured shorter than the stored one, once
// all that an earlier term could still promise under the longer one lies behind
// this term's start: whoever loads the shorter one waits no longer than that
// (S6, S10). This term has kept the shorter one from its start. The mark must
// have come within it, too: the next start takes mark − stride for a time that
// has been (S8).
func (m *markLease) shorten(steady, ahead time.Duration) {
	if m.configured < m.stride && steady >= m.since+m.stride && ahead <= m.configured {
		m.stride = m.configured
	}
}

// Tick does what time alone brings: it keeps the mark ahead of server time,
// notes IDs that came free by time as ended (S5), opens pools whose suspicion
// is over (S7), and works off what lags. The write that it returns, if any, goes out like
// any other; next is the steady time at which to call again at the latest.
// Call it again, too, after its write is acknowledged, and when a decision
// says WaitMark.
func (s *Server) Tick(now Now) (w *Write, next time.Duration) {
	at := s.advance(now)
	if s.failed != nil {
		return nil, at.steady + MaxDuration
	}
	s.mark.shorten(at.steady, s.meta.Mark.Sub(at.server))
	if s.mark.writing {
		return nil, at.steady + MaxDuration
	}
	more := s.collectSilent(at)
	if !s.markDue(at) && !s.poolsDue(at) {
		next = s.nextTick(at)
		if more {
			next = min(next, at.steady+checkPause)
		}
		if s.settleLag(at) {
			next = min(next, at.steady+settlePause)
		}
		return nil, next
	}
	meta := s.meta
	meta.Mark = max(meta.Mark, at.server.Add(s.mark.configured)) // S1: the mark is only ever raised
	meta.Stride = s.mark.stride
	s.mark.writing = true
	w = &Write{Batch: Batch{Meta: &meta}, sent: at.steady}
	for _, name := range s.PoolNames() { // in order, so that a run can be repeated
		p := s.pools[name]
		if s.poolDue(p, at) && len(w.Batch.Pools) < maxOpened {
			w.Batch.Pools = append(w.Batch.Pools, s.save(p, at))
		}
	}
	s.note(w, at)
	return w, at.steady + s.mark.configured/2
}

// markDue: written anew at half the configured stride, counted both in server time and
// on the steady clock.
func (s *Server) markDue(at reading) bool {
	half := s.mark.configured / 2
	if s.notesLeft && at.steady >= s.nextNotes() {
		return true
	}
	return !s.mark.written || at.steady >= s.mark.sent+half || at.server > s.meta.Mark.Add(-half)
}

func (s *Server) poolsDue(at reading) bool {
	for _, p := range s.pools {
		if s.poolDue(p, at) {
			return true
		}
	}
	return false
}

// poolDue says whether the pool is to be written now: it can be opened, or the
// store has to learn its longest TTL. No other write of it may be under way.
func (s *Server) poolDue(p *pool, at reading) bool {
	return !s.changing[p.Name] && (p.unsaved || s.opens(p, at))
}

// opens says whether the pool can be opened now: its suspicion is over.
func (s *Server) opens(p *pool, at reading) bool {
	return !p.Opened && at.steady >= s.opensAt(p)
}

func (s *Server) nextTick(at reading) time.Duration {
	half := s.mark.configured / 2
	next := min(s.mark.sent+half, at.steady+s.meta.Mark.Add(-half).Sub(at.server)+time.Millisecond)
	if s.notesLeft {
		next = min(next, s.nextNotes())
	}
	for _, p := range s.pools {
		if !p.Opened && !s.changing[p.Name] {
			next = min(next, s.opensAt(p))
		}
	}
	return max(next, at.steady)
}

// nextNotes is when more leases are noted than one write of the mark could
// take: soon, but not so soon that the store has nothing else to do.
func (s *Server) nextNotes() time.Duration { return s.mark.sent + s.mark.configured/20 }

// save decides on the write of a pool that is due.
func (s *Server) save(p *pool, at reading) Pool {
	settings := p.Pool
	settings.Opened = p.Opened || s.opens(p, at)
	s.changing[p.Name] = true
	return settings
}

// noteEnded adds what came free by time, with the exact ceiling that this
// server knows, until the write has so many records (S5).
func (s *Server) noteEnded(p *pool, w *Write, at reading, most int) {
	p.settle(s, at)
	for skip := maxSkipped; skip > 0 && len(p.unnoted) > 0 && len(w.Batch.Records) < most; skip-- {
		l := p.slots.at(p.unnoted[0])
		p.unnoted = p.unnoted[1:]
		if l.indexedAs != Free || l.status == Ended || l.pending != nil || !p.isFree(l, at) {
			continue // revived, granted anew, resting anew, or noted already
		}
		rec := l.ended(p.Name)
		w.Batch.Records = append(w.Batch.Records, p.begin(l, rec, pendingEndNote))
	}
}
