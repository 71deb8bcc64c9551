package fencing

import "time"

// Acquire starts the holder, or answers ActAsk: instance must be fresh, random
// and told to nobody else (C1). When no instance ID is wanted it changes nothing.
func (h *Holder) Acquire(at time.Duration, instance InstanceID) []Action {
	if h.phase != HolderNew && (h.phase != HolderAcquiring || h.instance != "") {
		return nil
	}
	h.phase, h.instance, h.due = HolderAcquiring, instance, at
	return h.sendIfDue(at, nil)
}

// acquired handles the answer to an Acquire of the present instance.
func (h *Holder) acquired(at time.Duration, a Answer, current bool, j Jitter,
	acts []Action) []Action {
	switch {
	case h.phase == HolderHolding || h.phase == HolderConfirming:
		if a.Verdict == AnswerGood { // doubled or late: no more than a heartbeat's
			acts = h.extend(at, a, acts)
		}
	case h.phase != HolderAcquiring:
	case a.Verdict == AnswerGood:
		acts = h.granted(at, a, j, h.cancel(acts))
	case !current:
	case a.Verdict == AnswerRefused:
		acts = h.end(ChangeRefused, acts)
	case a.Verdict == AnswerFailed && !a.Elsewhere && a.Call.Wait < h.wait():
		h.due = at // the address works, so the holder may queue there
	default:
		if a.Verdict == AnswerLost {
			h.instance = "" // C1
		}
		h.retry(at, a.RetryAfter, a.Elsewhere, j)
	}
	return acts
}

// granted takes over a new lease. If it came slowly, the lease is confirmed first (C2).
func (h *Holder) granted(at time.Duration, a Answer, j Jitter, acts []Action) []Action {
	h.lease, h.failures, h.round.tried = a.Lease, 0, 0
	h.deadline = a.Call.SentAt + h.lease.TTL // C2: from before the request was sent
	h.due = a.Call.SentAt + every(h.lease, j)
	if at-a.Call.SentAt > h.lease.HeartbeatEvery() {
		h.phase, h.due = HolderConfirming, at // C2
		return acts
	}
	return h.begin(a.Call.SentAt, acts)
}

// begin starts the generator's session, and then tells the app of its live lease.
func (h *Holder) begin(sentAt time.Duration, acts []Action) []Action {
	change := ChangeHeld
	if h.held {
		change = ChangeReacquired
	}
	h.phase, h.live, h.held = HolderHolding, true, true
	began := h.about(ActBegin)
	began.SentAt = sentAt
	return append(acts, began, h.tell(change))
}
