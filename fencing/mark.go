package fencing

import (
	"time"
)

// maxOpened is the most pools that one write of the mark opens (S7). With the mark
// and maxNotes records that makes 128 keys, the most that a store takes at once.
// The other pools are due when the write is acknowledged.
const maxOpened = 27

// markLease is the mark as this term's right to promise (S10).
type markLease struct {
	// configured is how far ahead this term writes the mark, and for how long a
	// written mark allows promises. stride is stored with each mark: the longer of
	// configured and the stride that an earlier term may still keep.
	stride, configured time.Duration
	// longest is the stride at the start of the term: an earlier term may have kept
	// it. configured ≤ stride ≤ longest.
	longest time.Duration
	// since is the steady time at which the term started: when it had loaded the
	// store.
	since time.Duration
	// sent is a steady time before the last acknowledged write of the mark was sent;
	// written says that there was such a write in this term.
	sent    time.Duration
	written bool
	// writing says that a write of the mark is in progress: a key has one at most
	// (S1).
	writing bool
}

// holds reports whether the last acknowledged write still allows promises.
func (m *markLease) holds(steady time.Duration) bool {
	return m.written && steady < m.sent+m.configured
}

// acknowledged takes in that the write of the mark that was sent then is durable.
func (m *markLease) acknowledged(sent time.Duration) {
	m.sent, m.written, m.writing = sent, true, false
}

// shorten makes the next mark store the configured stride if that is shorter than
// the stored one. It waits for two things. The longer stride must have passed
// since this term's start, so that an earlier term can promise nothing more: the
// next start waits for the stored stride only (S6, S10). And the mark must lie at
// most the shorter stride ahead: the next start takes mark − stride as a time that
// has passed (S8). This term has kept the shorter stride from its start.
func (m *markLease) shorten(steady, ahead time.Duration) {
	if m.configured < m.stride && steady >= m.since+m.stride && ahead <= m.configured {
		m.stride = m.configured
	}
}

// Tick does what is due by time: it keeps the mark ahead of server time, notes
// silent leases and those whose node ID came free by time (S5), opens pools whose
// suspicion has ended (S7), and moves slots that lag in the index. Make its write,
// if any, durable like any other. Call Tick again at the steady time next at the
// latest, after its write is acknowledged, and when a Decision says WaitMark.
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

// markDue reports whether the mark is to be written: half of the configured stride
// has passed in server time or on the steady clock, or there are more notes.
func (s *Server) markDue(at reading) bool {
	half := s.mark.configured / 2
	if s.notesLeft && at.steady >= s.nextNotes() {
		return true
	}
	return !s.mark.written || at.steady >= s.mark.sent+half || at.server > s.meta.Mark.Add(-half)
}

// poolsDue reports whether any pool is to be written now.
func (s *Server) poolsDue(at reading) bool {
	for _, p := range s.pools {
		if s.poolDue(p, at) {
			return true
		}
	}
	return false
}

// poolDue reports whether the pool is to be written now: it can be opened, or the
// store does not have its longest TTL yet. No other write of the pool may be in
// progress.
func (s *Server) poolDue(p *pool, at reading) bool {
	return !s.changing[p.Name] && (p.unsaved || s.opens(p, at))
}

// opens reports whether the pool can be opened now: its suspicion has ended.
func (s *Server) opens(p *pool, at reading) bool {
	return !p.Opened && at.steady >= s.opensAt(p)
}

// nextTick returns the steady time at which the mark or a pool is due next.
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

// nextNotes returns the steady time of the next notes if one write of the mark had
// no room for all: soon, but with pauses for the store's other writes.
func (s *Server) nextNotes() time.Duration { return s.mark.sent + s.mark.configured/20 }

// save returns a due pool as it is to be written.
func (s *Server) save(p *pool, at reading) Pool {
	settings := p.Pool
	settings.Opened = p.Opened || s.opens(p, at)
	s.changing[p.Name] = true
	return settings
}

// noteEnded adds to the write the leases whose node ID came free by time, with the
// exact ceiling that this server knows, until the write has most records (S5).
func (s *Server) noteEnded(p *pool, w *Write, at reading, most int) {
	p.settle(s, at)
	for skip := maxSkipped; skip > 0 && len(p.unnoted) > 0 && len(w.Batch.Records) < most; skip-- {
		l := p.slots.at(p.unnoted[0])
		p.unnoted = p.unnoted[1:]
		if l.indexedAs != Free || l.status == Ended || l.pending != nil || !p.isFree(l, at) {
			continue // live again, granted again, quarantined again, or already noted
		}
		rec := l.ended(p.Name)
		w.Batch.Records = append(w.Batch.Records, p.begin(l, rec, pendingEndNote))
	}
}
