package fencing

import "time"

// cancel gives up the call in flight, if there is one.
func (h *Holder) cancel(acts []Action) []Action {
	if !h.inFlight {
		return acts
	}
	h.inFlight = false
	return append(acts, Action{Kind: ActCancel})
}

// retry sets when the next try is due after one that failed. It is due at once
// while this round has another address to try. After a round it is due after a
// half to the whole of a backoff that doubles with each round (C3), and not before
// the service said.
func (h *Holder) retry(at, after time.Duration, elsewhere bool, j Jitter) {
	after, ended := h.round.failed(elsewhere, after)
	if !ended {
		h.due = at
		return
	}
	backoff := min(firstBackoff<<h.failures, MaxBackoff)
	if backoff < MaxBackoff {
		h.failures++
	}
	most := MaxBackoff
	if h.phase == HolderAcquiring {
		most = MaxRetryAfter
	}
	wait := backoff/2 + j.of(backoff/2)
	h.due = at + max(wait, min(after+j.of(after/10), most))
}

// sendIfDue sends the next call if it is due and none is in flight.
func (h *Holder) sendIfDue(at time.Duration, acts []Action) []Action {
	if h.inFlight || at < h.due {
		return acts
	}
	switch h.phase {
	case HolderAcquiring:
		if h.instance == "" {
			return append(acts, Action{Kind: ActAsk}) // C1
		}
		return h.send(at, CallAcquire, h.wait()+h.tryTimeout(MaxTry), acts)
	case HolderConfirming, HolderHolding: // past the deadline, too (C3)
		return h.send(at, CallHeartbeat, h.tryTimeout(min(h.lease.HeartbeatEvery(), MaxTry)), acts)
	case HolderReleasing:
		if at >= h.releaseBy {
			return h.end(ChangeReleased, acts)
		}
		return h.send(at, CallRelease, h.tryTimeout(MaxTry), acts)
	}
	return acts
}

// send asks for a call that is given up after the time try.
func (h *Holder) send(at time.Duration, kind CallKind, try time.Duration, acts []Action) []Action {
	// at was read before the request is sent (C2).
	c := Call{Kind: kind, SentAt: at, Pool: h.cfg.Pool, Instance: h.instance}
	switch kind {
	case CallAcquire:
		c.App, c.TTL, c.Wait = h.cfg.App, h.cfg.TTL, h.wait()
	case CallRelease:
		c.Last = max(h.last, 0)
		fallthrough
	case CallHeartbeat:
		c.Node, c.Epoch = h.lease.Node, h.lease.Epoch
	}
	h.call, h.inFlight, h.giveUp = c, true, at+try
	return append(acts, Action{Kind: ActSend, Call: c})
}

// every returns the time between two heartbeats, TTL/3 ± 10 % (C3).
func every(l Lease, j Jitter) time.Duration {
	third := l.HeartbeatEvery()
	return third - third/10 + j.of(third/5)
}
