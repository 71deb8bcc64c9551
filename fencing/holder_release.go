package fencing

import (
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// Release gives the lease back. Minting has to stop first (C6), so Release asks for
// ActStop, and the service is told after Stopped. Without a lease the holder ends at
// once; a lease that an Acquire in flight is still granted runs out by itself.
func (h *Holder) Release(at time.Duration) []Action {
	acts := h.expire(at)
	switch h.phase {
	case HolderNew, HolderAcquiring:
		return h.end(ChangeReleased, h.cancel(acts))
	case HolderConfirming, HolderHolding:
		h.phase, h.live = HolderStopping, false
		return append(h.cancel(acts), h.about(ActStop))
	}
	return acts
}

// Stopped answers the ActStop of a Release: nothing is minted under the lease any
// more. last is the highest timestamp that went into an ID; used is false if none
// did.
func (h *Holder) Stopped(at time.Duration, last snowflake.Millis, used bool) []Action {
	if h.phase != HolderStopping {
		return nil
	}
	h.last = h.lease.Floor - 1
	if used {
		h.last = max(last, h.last)
	}
	h.phase, h.failures = HolderReleasing, 0
	h.due, h.releaseBy = at, at+MaxRelease
	return h.sendIfDue(at, nil)
}

// Abandon ends the holder without telling the service: the lease, if there is
// one, runs out by itself. Nothing will be minted under it (C6).
func (h *Holder) Abandon(at time.Duration) []Action {
	acts := h.cancel(h.expire(at))
	switch h.phase {
	case HolderHolding:
		acts = append(acts, h.about(ActStop))
	case HolderStopping, HolderReleasing:
		return h.end(ChangeReleased, acts)
	}
	h.phase, h.live = HolderEnded, false
	return acts
}

// released handles the answer to a Release.
func (h *Holder) released(at time.Duration, a Answer, current bool, j Jitter,
	acts []Action) []Action {
	switch {
	case h.phase != HolderReleasing:
	case a.Verdict != AnswerFailed:
		acts = h.end(ChangeReleased, h.cancel(acts))
	case current:
		h.retry(at, a.RetryAfter, a.Elsewhere, j)
	}
	return acts
}
