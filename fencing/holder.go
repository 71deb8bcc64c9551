package fencing

import (
	"fmt"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// HolderPhase is the step of its life that a holder is in.
type HolderPhase uint8

// The phases of a holder.
const (
	// HolderNew: nothing was asked of it yet.
	HolderNew HolderPhase = iota
	// HolderAcquiring: it has no lease and is asking for one.
	HolderAcquiring
	// HolderConfirming: it was granted a lease, but slowly, and sends a heartbeat
	// before the app is told of the lease (C2).
	HolderConfirming
	// HolderHolding: it has a lease; live until the deadline.
	HolderHolding
	// HolderStopping: it gives the lease back, and waits for minting to stop (C6).
	HolderStopping
	// HolderReleasing: minting has stopped, and it is telling the service.
	HolderReleasing
	// HolderEnded: it has no lease and wants none.
	HolderEnded
)

// String gives the phase in lower case.
func (p HolderPhase) String() string {
	names := [...]string{"new", "acquiring", "confirming", "holding", "stopping", "releasing",
		"ended"}
	if int(p) < len(names) {
		return names[p]
	}
	return "unknown"
}

// Holder holds the holder's rules, C1 to C7, as a value. Its methods are told what
// happened and what steady time it is (at), and return what to do; they do nothing
// themselves. Two holders that are told the same return the same. A copy is a
// holder of its own, and two can be compared with ==. Not safe for concurrent use.
//
// Times are steady times of one clock, read before the step that they are
// passed to, and never going back from step to step. After each step, Next says
// when Tick is due.
//
// An Acquire that brought no lease gets the verdict AnswerRefused if the pool does
// not exist, the request is malformed or forbidden, the layout is exhausted, or no
// node ID is free and the service does not say when one can be. It gets AnswerFailed
// in all other cases.
type Holder struct {
	cfg   HolderConfig
	phase HolderPhase
	// instance is the present instance ID; empty if a fresh one is needed (C1).
	instance InstanceID
	// lease is the present lease, or the last one in phases that have none. Its
	// Ceiling and ServerTime are the highest of all answers (C7).
	lease Lease
	// deadline ≤ SentAt of the last Acquire or Heartbeat + lease.TTL.
	deadline time.Duration
	// live is what the app was told last. Between the deadline and the next step it
	// is out of date; the method Live never is.
	live bool
	// held: the app had a lease before this one.
	held bool

	// call is the last call that was asked for. While it is inFlight, its answer is
	// waited for until giveUp. Otherwise the next call is sent at due.
	call     Call
	inFlight bool
	giveUp   time.Duration
	due      time.Duration
	// failures counts the rounds that failed since the last good answer, until the
	// backoff has reached MaxBackoff. With one address, a try is a round.
	failures uint8
	round    round

	// last is the Release's last timestamp; releaseBy is when the Release is given up.
	last      snowflake.Millis
	releaseBy time.Duration
}

// NewHolder returns a holder that has not asked for anything yet. The config
// must be valid.
func NewHolder(cfg HolderConfig) Holder {
	if cfg.Pool == "" {
		cfg.Pool = DefaultPool
	}
	return Holder{cfg: cfg}
}

// Phase returns the holder's phase.
func (h Holder) Phase() HolderPhase { return h.phase }

// Lease returns the present lease or, if there is none, the last one.
func (h Holder) Lease() Lease { return h.lease }

// Deadline returns the steady time at which the lease stops being live.
func (h Holder) Deadline() time.Duration { return h.deadline }

// Live reports whether the holder may use its node ID at steady time at: it is a
// live holder, in the sense of P1.
func (h Holder) Live(at time.Duration) bool {
	return h.phase == HolderHolding && at < h.deadline // C4
}

// Next returns the steady time at which Tick is due; ok is false if it never is.
func (h Holder) Next() (at time.Duration, ok bool) {
	switch {
	case h.phase == HolderNew || h.phase == HolderStopping || h.phase == HolderEnded:
		return 0, false
	case h.inFlight:
		at = h.giveUp
	default:
		at = h.due
	}
	if h.live {
		at = min(at, h.deadline)
	}
	return at, true
}

// Tick does what is due at a time. Early or needless ticks do no harm.
func (h *Holder) Tick(at time.Duration, j Jitter) []Action {
	acts := h.expire(at)
	if h.inFlight && at >= h.giveUp {
		h.inFlight = false
		acts = append(acts, Action{Kind: ActCancel})
		h.retry(at, 0, true, j)
	}
	return h.sendIfDue(at, acts)
}

// Answered tells what became of a call. Answers may come late, doubled or out
// of order (C7).
func (h *Holder) Answered(at time.Duration, a Answer, j Jitter) []Action {
	acts := h.expire(at)
	current := h.inFlight && a.Call == h.call
	if current {
		h.inFlight = false
	}
	if a.Verdict == AnswerGood && a.Call.Kind != CallRelease && !sound(a) {
		a.Verdict, a.Elsewhere = AnswerFailed, true
	}
	if current && !a.Elsewhere {
		h.round.answered()
	}
	switch {
	case a.Call.Instance != h.instance: // about an earlier lease
	case a.Call.Kind == CallAcquire:
		acts = h.acquired(at, a, current, j, acts)
	case a.Call.Kind == CallHeartbeat:
		acts = h.heartbeaten(at, a, current, j, acts)
	case a.Call.Kind == CallRelease:
		acts = h.released(at, a, current, j, acts)
	}
	return h.sendIfDue(at, acts)
}

// expire tells the app once that the deadline has passed (C4).
func (h *Holder) expire(at time.Duration) []Action {
	if !h.live || h.Live(at) {
		return nil
	}
	h.live = false
	return []Action{h.tell(ChangeExpired)}
}

// end ends the holder for any reason but a loss.
func (h *Holder) end(c Change, acts []Action) []Action {
	h.phase = HolderEnded
	return append(acts, h.tell(c))
}

// about is an action on the lease as it is now.
func (h *Holder) about(kind ActionKind) Action {
	return Action{Kind: kind, Lease: h.lease, Deadline: h.deadline}
}

func (h *Holder) tell(c Change) Action {
	a := h.about(ActTell)
	a.Change = c
	return a
}

// Check says which of the holder's invariants is broken, if any.
func (h Holder) Check() error {
	leased := h.phase >= HolderConfirming && h.phase <= HolderReleasing
	switch {
	case h.phase > HolderEnded:
		return fmt.Errorf("holder in phase %d, which does not exist", h.phase)
	case leased && (h.instance == "" || h.lease.Epoch == 0):
		return fmt.Errorf("holder %v without a lease", h.phase)
	case leased && h.lease.Ceiling < h.lease.Floor:
		return fmt.Errorf("holder with ceiling %d below floor %d", h.lease.Ceiling, h.lease.Floor)
	case leased && h.call.Kind != CallRelease && h.deadline > h.call.SentAt+h.lease.TTL:
		return fmt.Errorf("holder with a deadline %v later than TTL after its last call (C2)",
			h.deadline-h.call.SentAt)
	case h.live && h.phase != HolderHolding:
		return fmt.Errorf("holder told the app that it is live, but it is %v (C5, C6)", h.phase)
	case h.inFlight && (h.phase == HolderNew || h.phase == HolderStopping ||
		h.phase == HolderEnded):
		return fmt.Errorf("holder %v with a %v under way", h.phase, h.call.Kind)
	case h.round.tried > 0 && h.round.tried >= h.round.addresses:
		return fmt.Errorf("holder that went on to address %d of %d (C3)", h.round.tried+1,
			h.round.addresses)
	case h.inFlight && h.call.Instance != h.instance:
		return fmt.Errorf("holder with a %v of another instance under way (C1)", h.call.Kind)
	case h.inFlight && (h.call.Kind == CallRelease) != (h.phase == HolderReleasing):
		return fmt.Errorf("holder %v with a %v under way (C6)", h.phase, h.call.Kind)
	}
	return nil
}
