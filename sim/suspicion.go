package sim

import (
	"time"

	"github.com/cirrus-id/cirrus/fencing"
)

// What is checked of strides that shrink, and of stores that are suspicious.

// shrinks looks at a mark that is about to be written with a shorter stride than
// the term has loaded: a process before it may still promise under that one, so
// whoever loads next must find it until it has passed since the loading (S8).
func (c *checker) shrinks(t *term, meta *fencing.Meta, s time.Duration) {
	if meta == nil || t.astray() || meta.Stride >= t.stored {
		return
	}
	if since := s - t.loadedAt; since+t.tolerance() < t.stored {
		c.w.violate(PromiseStride, "the stride is stored as %v only %v after a start that found it to be %v", meta.Stride, since, t.stored)
	}
	c.w.saw("a shorter stride took effect")
}

// keeps is the stride that a term keeps: the one that it was told, where that is
// shorter than the stored one (S8).
func (t *term) keeps() time.Duration {
	if t.server.proc != t.proc {
		return t.meta.Stride // it has ended
	}
	return min(t.meta.Stride, t.server.stride)
}

// recoveredStride looks at the mark and the stride that `cirrus recover` leaves.
// A process that has lost the store and doesn't know may promise up to the last
// mark that it has written, and the world's clocks were never ahead.
func (c *checker) recoveredStride(before, meta fencing.Meta) {
	w := c.w
	if least := max(w.stride, before.Stride); meta.Stride < least {
		w.violate(PromiseRecover, "recover left stride %v, but %v was stored, and it was told %v", meta.Stride, before.Stride, w.stride)
	}
	if lost := c.meta; lost.Stride <= meta.Stride && meta.Mark < lost.Mark {
		w.violate(PromiseRecover, "recover left the mark at %d, but who has lost the store and doesn't know may promise up to %d", meta.Mark, lost.Mark)
	}
}

// opens looks at a suspicious pool that was opened: by then whoever holds one of
// its node IDs from a store that was lost must have lost it, whatever the pool
// was set to since (S7).
func (c *checker) opens(t *term, st *poolState) {
	s := t.server.machine.steady()
	least := st.longest + max(st.suspected, st.longest/10) + t.longest
	if since := s - st.since; since+t.tolerance() < least {
		c.w.violate(PromiseSuspicion, "pool %q is opened %v after it became suspicious; its longest TTL, %v, its quarantine, %v, and the stride, %v, make %v",
			st.Name, since, st.longest, st.suspected, t.longest, least)
	}
}

// suspicion is for how long a suspicious pool waits, at the most (S7).
func (c *checker) suspicion(t *term, p *poolState) time.Duration {
	longest := max(p.LongestTTL, p.MaxTTL)
	return max(longest+c.quarantine(p.Name, longest)+t.longest, t.meta.SuspectFor)
}

// remember notes what of a pool's settings counts for as long as it lives: its
// longest TTL, in this store or an earlier one, and the longest quarantine that
// it has had while it was suspicious.
func (st *poolState) remember(p *fencing.Pool) {
	st.longest = max(st.longest, p.MaxTTL)
	if p.Opened {
		st.suspected = 0
	} else {
		st.suspected = max(st.suspected, p.Quarantine)
	}
}
