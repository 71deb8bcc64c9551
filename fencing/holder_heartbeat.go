package fencing

import "time"

// heartbeaten handles the answer to a Heartbeat of the present instance, and so of
// the present lease: an instance has no more than one (C1).
func (h *Holder) heartbeaten(at time.Duration, a Answer, current bool, j Jitter,
	acts []Action) []Action {
	if h.phase != HolderHolding && h.phase != HolderConfirming {
		return acts
	}
	switch {
	case a.Verdict == AnswerLost: // definite, however late it comes
		return h.lose(at, h.cancel(acts))
	case a.Verdict == AnswerGood && h.isOf(a.Lease):
		if current {
			h.failures, h.due = 0, a.Call.SentAt+every(h.lease, j)
		}
		return h.extend(at, a, acts)
	case current: // no other answer says anything about the lease: ask again (C3)
		h.retry(at, a.RetryAfter, a.Elsewhere, j)
	}
	return acts
}

// extend moves deadline and ceiling forward after a good answer. An answer with
// another epoch changes nothing (C7).
func (h *Holder) extend(at time.Duration, a Answer, acts []Action) []Action {
	if !h.isOf(a.Lease) {
		return acts
	}
	// C2. The TTL is the lease's own, whatever the answer says.
	h.deadline = max(h.deadline, a.Call.SentAt+h.lease.TTL)
	h.lease.Ceiling = max(h.lease.Ceiling, a.Lease.Ceiling)
	extended := h.about(ActExtend)
	extended.SentAt, extended.Lease.ServerTime = a.Call.SentAt, a.Lease.ServerTime
	h.lease.ServerTime = max(h.lease.ServerTime, a.Lease.ServerTime)
	switch {
	case h.phase == HolderHolding:
		acts = append(acts, extended)
		if !h.live && h.Live(at) { // C4: late, but good
			h.live = true
			acts = append(acts, h.tell(ChangeRevived))
		}
	case a.Call.Kind == CallHeartbeat && at < h.deadline: // C2: confirmed
		acts = h.begin(a.Call.SentAt, acts)
	}
	return acts
}

// lose stops minting at once and acquires anew (C5). A lease that the app was never
// told of is replaced even with NoReacquire.
func (h *Holder) lose(at time.Duration, acts []Action) []Action {
	known := h.phase == HolderHolding
	h.phase, h.live = HolderAcquiring, false
	h.instance, h.due, h.failures = "", at, 0 // C1
	if !known {
		return acts
	}
	acts = append(acts, h.about(ActStop), h.tell(ChangeLost))
	if h.cfg.NoReacquire {
		h.phase = HolderEnded
	}
	return acts
}

// isOf reports whether an answered lease is the present one (C7).
func (h *Holder) isOf(l Lease) bool {
	return l.Epoch == h.lease.Epoch && l.Node == h.lease.Node
}

// sound reports whether a good answer holds a possible lease. If not, it came from
// something other than the service, and counts as a failure.
func sound(a Answer) bool {
	l := a.Lease
	return l.Pool == a.Call.Pool && l.Epoch > 0 && l.Layout.Validate() == nil &&
		l.Node <= l.Layout.MaxNode() &&
		l.TTL >= MinTTL && l.TTL <= MaxDuration &&
		l.Floor >= l.Layout.Origin && l.Floor <= l.Layout.LastTimestamp() && l.Floor <= l.Ceiling &&
		l.ServerTime >= l.Layout.Origin && l.ServerTime <= l.Ceiling
}
