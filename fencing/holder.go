package fencing

import (
	"fmt"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// How a holder paces its calls.
const (
	// MaxWait is the longest that an Acquire may queue for a free node ID.
	MaxWait = time.Minute
	// MaxBackoff bounds the time between a heartbeat or release that failed and
	// the next try (C3), and that between two Acquires unless the service names
	// a longer one.
	MaxBackoff = 2 * time.Second
	// MaxRetryAfter bounds how long a holder without a lease waits because the
	// service said so: something may come free earlier.
	MaxRetryAfter = time.Minute
	// MaxTry is the longest that one try may take, on top of an Acquire's wait.
	// For a heartbeat it is a third of the TTL, if that is less. Several
	// addresses share it.
	MaxTry = 5 * time.Second
	// MaxRelease is how long a Release that fails is tried again. After that
	// the lease runs out by itself.
	MaxRelease = 30 * time.Second

	firstBackoff = 100 * time.Millisecond
)

// Jitter is a random number, evenly distributed, that spreads out in time what
// many holders do.
type Jitter uint16

// of gives an even share of d: from 0 up to, but not including, d.
func (j Jitter) of(d time.Duration) time.Duration { return d >> 16 * time.Duration(j) }

// HolderConfig is what a holder asks for.
type HolderConfig struct {
	// Pool is the pool's name. Empty: DefaultPool.
	Pool PoolName
	// App is what the app calls itself: 1 to MaxAppID bytes of UTF-8.
	App AppID
	// TTL is the lease's: MinTTL to MaxDuration, and at most the pool's max_ttl.
	// 0: the pool's.
	TTL time.Duration
	// Wait is how long the service may queue an Acquire for a free node ID: 0 to
	// MaxWait.
	Wait time.Duration
	// NoReacquire: a lost lease ends the holder; it doesn't ask for another.
	NoReacquire bool
}

// Validate says what is wrong with the config, if anything. Whether the pool
// exists and allows the TTL is for the service to say.
func (c HolderConfig) Validate() error {
	if c.Pool != "" {
		if r := c.Pool.Validate(); r != nil {
			return r
		}
	}
	if r := c.App.Validate(); r != nil {
		return r
	}
	switch {
	case c.TTL != 0 && (c.TTL < MinTTL || c.TTL > MaxDuration):
		return invalid("ttl", "%v is out of range: give %v to %v, or leave it out", c.TTL, MinTTL, MaxDuration)
	case c.Wait < 0 || c.Wait > MaxWait:
		return invalid("wait", "%v is out of range: give 0 to %v", c.Wait, MaxWait)
	}
	return nil
}

// HolderPhase is where a holder stands.
type HolderPhase uint8

// The phases of a holder.
const (
	// HolderNew: nothing was asked of it yet.
	HolderNew HolderPhase = iota
	// HolderAcquiring: it has no lease and is asking for one.
	HolderAcquiring
	// HolderConfirming: it was granted a lease, but slowly, and heartbeats once
	// before the app hears of it (C2).
	HolderConfirming
	// HolderHolding: it has a lease; live until the deadline.
	HolderHolding
	// HolderStopping: it is to give the lease back, and minting is being
	// stopped first (C6).
	HolderStopping
	// HolderReleasing: minting has stopped, and the service is being told.
	HolderReleasing
	// HolderEnded: it has no lease and wants none.
	HolderEnded
)

// String gives the phase in lower case.
func (p HolderPhase) String() string {
	names := [...]string{"new", "acquiring", "confirming", "holding", "stopping", "releasing", "ended"}
	if int(p) < len(names) {
		return names[p]
	}
	return "unknown"
}

// Holder is one holder's side of a lease: rules C1 to C7 as a value. It is told
// what happened and what steady time it is (at), and answers what to do; it
// never acts itself. Two holders that are told the same do the same. A copy is
// a holder of its own, two can be compared with ==. Not safe for concurrent use.
//
// Times are steady times of one clock, read before the step that they are
// passed to, and never going back from step to step. After each step, Next says
// when Tick is due.
//
// To Acquire, of all that is not a lease, these verdicts are to be given:
// AnswerRefused where the pool doesn't exist, the request is malformed or
// forbidden, the layout exhausted, or where no node ID is free and the service
// doesn't say when one can be; AnswerFailed for all else.
type Holder struct {
	cfg   HolderConfig
	phase HolderPhase
	// instance is the present one; empty: a fresh one is needed (C1).
	instance InstanceID
	// lease is the present lease, in the phases that have none the last one. Its
	// Ceiling and ServerTime are the highest that any answer told (C7).
	lease Lease
	// deadline ≤ SentAt of the last Acquire or Heartbeat + lease.TTL.
	deadline time.Duration
	// live is what the app was told. Between the deadline and the next step it
	// is out of date; Live is not.
	live bool
	// held: the app had a lease before this one.
	held bool

	// call is the last one asked for. While inFlight, its answer is waited for
	// until giveUp; otherwise the next one is to be sent at due.
	call     Call
	inFlight bool
	giveUp   time.Duration
	due      time.Duration
	// failures counts rounds that failed since the last good try, up to where
	// backoff has reached its most. With one address a try is a round.
	failures uint8
	round    round

	// last goes into the Release; releaseBy is when it is given up.
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

// Phase says where the holder stands.
func (h Holder) Phase() HolderPhase { return h.phase }

// Lease returns the present lease or, if there is none, the last one.
func (h Holder) Lease() Lease { return h.lease }

// Deadline is the steady time at which the lease stops being live.
func (h Holder) Deadline() time.Duration { return h.deadline }

// Live says whether the holder may use its node ID at steady time at: it is a
// live holder, in the sense of P1.
func (h Holder) Live(at time.Duration) bool {
	return h.phase == HolderHolding && at < h.deadline // C4
}

// Next returns the steady time at which Tick is due, if it is ever.
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

// Acquire starts the holder, or answers ActAsk: instance must be fresh, random
// and told to nobody else (C1). When no instance ID is wanted it changes nothing.
func (h *Holder) Acquire(at time.Duration, instance InstanceID) []Action {
	if h.phase != HolderNew && (h.phase != HolderAcquiring || h.instance != "") {
		return nil
	}
	h.phase, h.instance, h.due = HolderAcquiring, instance, at
	return h.sendIfDue(at, nil)
}

// Tick lets the holder see what time it is. Early or needless ticks do no harm.
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

// Release gives the lease back: minting has to stop first (C6), so what it asks
// for is ActStop, and the service is told after Stopped. With no lease the
// holder is over at once; one that is granted all the same, by an Acquire still
// under way, runs out by itself.
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

// Stopped answers the ActStop of a Release: nothing will be minted under the
// lease any more. last is the highest timestamp that went into an ID, used is
// false if there was none.
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

// expire notices that the deadline has passed (C4).
func (h *Holder) expire(at time.Duration) []Action {
	if !h.live || h.Live(at) {
		return nil
	}
	h.live = false
	return []Action{h.tell(ChangeExpired)}
}

// acquired is Answered for an Acquire of the present instance.
func (h *Holder) acquired(at time.Duration, a Answer, current bool, j Jitter, acts []Action) []Action {
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
		h.due = at // it works, so that one can queue there
	default:
		if a.Verdict == AnswerLost {
			h.instance = "" // C1
		}
		h.retry(at, a.RetryAfter, a.Elsewhere, j)
	}
	return acts
}

// granted takes over a new lease.
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

// begin tells the app of a lease that is live, the generator first.
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

// heartbeaten is Answered for a Heartbeat of the present instance, and so of the
// present lease: an instance has no more than one (C1).
func (h *Holder) heartbeaten(at time.Duration, a Answer, current bool, j Jitter, acts []Action) []Action {
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
	case current: // all else is no news of the lease: ask again (C3)
		h.retry(at, a.RetryAfter, a.Elsewhere, j)
	}
	return acts
}

// extend takes over what a good answer brings: deadline and ceiling only move
// forward, and another epoch changes nothing (C7).
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

// lose stops at once and acquires anew (C5). A lease that the app never heard
// of is replaced in any case.
func (h *Holder) lose(at time.Duration, acts []Action) []Action {
	told := h.phase == HolderHolding
	h.phase, h.live = HolderAcquiring, false
	h.instance, h.due, h.failures = "", at, 0 // C1
	if !told {
		return acts
	}
	acts = append(acts, h.about(ActStop), h.tell(ChangeLost))
	if h.cfg.NoReacquire {
		h.phase = HolderEnded
	}
	return acts
}

// released is Answered for a Release.
func (h *Holder) released(at time.Duration, a Answer, current bool, j Jitter, acts []Action) []Action {
	switch {
	case h.phase != HolderReleasing:
	case a.Verdict != AnswerFailed:
		acts = h.end(ChangeReleased, h.cancel(acts))
	case current:
		h.retry(at, a.RetryAfter, a.Elsewhere, j)
	}
	return acts
}

// end is for what ends the holder but for a loss.
func (h *Holder) end(c Change, acts []Action) []Action {
	h.phase = HolderEnded
	return append(acts, h.tell(c))
}

// cancel gives up the call that is under way.
func (h *Holder) cancel(acts []Action) []Action {
	if !h.inFlight {
		return acts
	}
	h.inFlight = false
	return append(acts, Action{Kind: ActCancel})
}

// retry says when the next try is due after one that failed: at once where
// there is another address to try, else after a half to the whole of a time that
// doubles with each round (C3), and not before the service said.
func (h *Holder) retry(at, after time.Duration, elsewhere bool, j Jitter) {
	after, over := h.round.failed(elsewhere, after)
	if !over {
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

// sendIfDue sends the next call if it is time and none is under way.
func (h *Holder) sendIfDue(at time.Duration, acts []Action) []Action {
	if h.inFlight || at < h.due {
		return acts
	}
	switch h.phase {
	case HolderAcquiring:
		if h.instance == "" {
			return append(acts, Action{Kind: ActAsk}) // C1
		}
		return h.send(at, CallAcquire, h.wait()+h.patience(MaxTry), acts)
	case HolderConfirming, HolderHolding: // past the deadline, too (C3)
		return h.send(at, CallHeartbeat, h.patience(min(h.lease.HeartbeatEvery(), MaxTry)), acts)
	case HolderReleasing:
		if at >= h.releaseBy {
			return h.end(ChangeReleased, acts)
		}
		return h.send(at, CallRelease, h.patience(MaxTry), acts)
	}
	return acts
}

// send asks for a call that is given up after try.
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

// about is an action on the lease as it is now.
func (h *Holder) about(kind ActionKind) Action {
	return Action{Kind: kind, Lease: h.lease, Deadline: h.deadline}
}

func (h *Holder) tell(c Change) Action {
	a := h.about(ActTell)
	a.Change = c
	return a
}

// isOf says whether an answer is about the present lease (C7).
func (h *Holder) isOf(l Lease) bool {
	return l.Epoch == h.lease.Epoch && l.Node == h.lease.Node
}

// every is TTL/3 ± 10 % (C3).
func every(l Lease, j Jitter) time.Duration {
	third := l.HeartbeatEvery()
	return third - third/10 + j.of(third/5)
}

// sound says whether a good answer can be what it claims. One that can't is
// taken for a failure: it came from something other than our service.
func sound(a Answer) bool {
	l := a.Lease
	return l.Pool == a.Call.Pool && l.Epoch > 0 && l.Layout.Validate() == nil && l.Node <= l.Layout.MaxNode() &&
		l.TTL >= MinTTL && l.TTL <= MaxDuration &&
		l.Floor >= l.Layout.Origin && l.Floor <= l.Layout.LastTimestamp() && l.Floor <= l.Ceiling &&
		l.ServerTime >= l.Layout.Origin && l.ServerTime <= l.Ceiling
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
		return fmt.Errorf("holder with a deadline %v later than TTL after its last call (C2)", h.deadline-h.call.SentAt)
	case h.live && h.phase != HolderHolding:
		return fmt.Errorf("holder told the app that it is live, but it is %v (C5, C6)", h.phase)
	case h.inFlight && (h.phase == HolderNew || h.phase == HolderStopping || h.phase == HolderEnded):
		return fmt.Errorf("holder %v with a %v under way", h.phase, h.call.Kind)
	case h.round.tried > 0 && h.round.tried >= h.round.addresses:
		return fmt.Errorf("holder that went on to address %d of %d (C3)", h.round.tried+1, h.round.addresses)
	case h.inFlight && h.call.Instance != h.instance:
		return fmt.Errorf("holder with a %v of another instance under way (C1)", h.call.Kind)
	case h.inFlight && (h.call.Kind == CallRelease) != (h.phase == HolderReleasing):
		return fmt.Errorf("holder %v with a %v under way (C6)", h.phase, h.call.Kind)
	}
	return nil
}
