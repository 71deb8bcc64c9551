package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/internal/reach"
	"github.com/cirrus-id/cirrus/snowflake"
)

const (
	// maxNap is the longest that the loop goes without a look at the steady
	// clock. Timers stand still while a machine is suspended and it does not, so
	// this is how late an expiry is told after waking up.
	maxNap = time.Second
	// maxEvents is how many events wait for a slow OnChange.
	maxEvents = 1024
)

// errNoAnswer is what is known of a call that was given up.
var errNoAnswer = errors.New("no answer in time: check that the service runs and can be reached")

// loop is what only the holder's loop may touch.
type loop struct {
	rules   fencing.Holder
	base    context.Context // of all calls
	session *snowflake.Session

	cancel context.CancelFunc // of the call under way
	asked  *reach.Address     // where the last call went
	calls  int                // and lookups that have not returned, cancelled ones too
	lookup lookup

	events  []Event // not yet told
	telling bool

	// lastErr is why the last call failed; nil if it did not.
	lastErr error
}

func newLoop(base context.Context, cfg fencing.HolderConfig) loop {
	return loop{rules: fencing.NewHolder(cfg), base: base, cancel: func() {}, lookup: lookup{cancel: func() {}}}
}

// mailbox is what others want the loop to do, in the order in which they said.
type mailbox struct {
	mu   sync.Mutex
	todo []func()
	wake chan struct{} // holds a token while there may be something to do
}

func (m *mailbox) post(f func()) {
	m.mu.Lock()
	m.todo = append(m.todo, f)
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *mailbox) take() []func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	todo := m.todo
	m.todo = nil
	return todo
}

// run is the holder's one loop: it hears what happened, asks the rules what to
// do, does it, and waits. It ends when the rules are over and all that it
// started has returned.
func (h *Holder) run() {
	timer := h.cfg.timers.NewTimer(maxNap)
	defer timer.Stop()
	h.begin()
	for !h.idle() {
		timer.Reset(h.nap())
		h.cfg.runner.Wait(timer.Chan(), h.mail.wake, nil)
		for _, f := range h.mail.take() {
			f()
		}
		h.tick()
		h.deliver()
	}
	h.service.addrs.Close()
}

// idle says that nothing more can happen.
func (h *Holder) idle() bool {
	l := &h.loop
	return h.over.isOpen() && l.calls == 0 && !l.telling && len(l.events) == 0
}

// nap is how long there is nothing to do.
func (h *Holder) nap() time.Duration {
	next, ok := h.loop.rules.Next()
	if !ok {
		return maxNap
	}
	return min(maxNap, max(0, next-h.steady()))
}

// steady reads the clock that all of a step's rules go by.
func (h *Holder) steady() time.Duration { return h.cfg.steady.Now() }

func (h *Holder) jitter() fencing.Jitter { return fencing.Jitter(h.cfg.random()) }

// acquire starts a lease's life with a fresh instance ID (C1).
func (h *Holder) acquire() {
	h.perform(h.loop.rules.Acquire(h.steady(), h.instance()))
}

// instance makes a fresh instance ID of 128 random bits (C1).
func (h *Holder) instance() fencing.InstanceID {
	return fencing.InstanceID(fmt.Sprintf("%016x%016x", h.cfg.random(), h.cfg.random()))
}

// tick lets the rules see the time if that can matter to them.
func (h *Holder) tick() {
	now := h.steady()
	if next, ok := h.loop.rules.Next(); !ok || now < next {
		return
	}
	acts := h.loop.rules.Tick(now, h.jitter())
	if slices.ContainsFunc(acts, func(a fencing.Action) bool { return a.Kind == fencing.ActCancel }) {
		h.note(errNoAnswer)
		h.leave(h.loop.asked, errNoAnswer)
	}
	h.perform(acts)
}

// answered hands the rules what became of a call, in the order in which answers
// arrive (C7). gaveUp says that the call was cancelled: how it then failed tells
// nothing.
func (h *Holder) answered(from *reach.Address, a fencing.Answer, err error, gaveUp bool) {
	h.loop.calls--
	if !gaveUp {
		h.noteCall(a, err)
		h.noteAddress(from, a, err)
	}
	h.perform(h.loop.rules.Answered(h.steady(), a, h.jitter()))
}

func (h *Holder) noteCall(a fencing.Answer, err error) {
	if err != nil && h.loop.lastErr == nil { // one line for a row of failures
		h.log.say(slog.LevelWarn, "call failed", "call", a.Call.Kind.String(), "verdict", a.Verdict.String(), "error", err)
	}
	if a.Call.Kind == fencing.CallRelease && a.Verdict == fencing.AnswerLost {
		err = nil // there was nothing left to give back
	}
	h.note(err)
}

// note keeps why a call failed.
func (h *Holder) note(err error) {
	h.loop.lastErr = err
	h.why.Store(nil)
	if err != nil {
		h.why.Store(&err)
	}
	if h.loop.rules.Phase() == fencing.HolderReleasing {
		h.releaseErr = err
	}
}

// release is Release's first half: when it returns, nothing is minted any more.
func (h *Holder) release() {
	h.perform(h.loop.rules.Release(h.steady()))
	h.stopped.open()
}

// abandon ends the holder without another call.
func (h *Holder) abandon(cause error) {
	if h.over.isOpen() {
		return
	}
	if l := &h.loop; l.calls > 0 && h.service.addrs.Len() > 1 && l.asked != nil && !l.asked.Works() {
		h.service.addrs.Leave(l.asked, errNoAnswer) // so far
	}
	last := h.service.addrs.Err() // says more
	if last == nil {
		last = h.loop.lastErr
	}
	if last != nil {
		cause = fmt.Errorf("%w (given up: %w)", last, cause)
	}
	h.holdErr, h.releaseErr = cause, cause
	h.perform(h.loop.rules.Abandon(h.steady()))
}

// perform does what the rules ask for, in their order.
func (h *Holder) perform(acts []fencing.Action) {
	for ; len(acts) > 0; acts = acts[1:] {
		switch a := acts[0]; a.Kind {
		case fencing.ActSend:
			h.send(a.Call)
		case fencing.ActCancel:
			h.loop.cancel()
		case fencing.ActAsk:
			h.acquire()
		case fencing.ActBegin:
			if err := h.mint(a); err != nil {
				h.refuse(a, err)
				return
			}
		case fencing.ActExtend:
			h.extend(a)
		case fencing.ActStop:
			h.stop()
		case fencing.ActTell:
			h.tell(a)
		}
	}
	if h.loop.rules.Phase() == fencing.HolderEnded {
		h.loop.lookup.cancel()
		h.over.open() // before first: who passes that looks whether it is over
		h.stopped.open()
		h.first.open()
	}
}

// send makes a call beside the loop. Its outcome comes back by mail.
func (h *Holder) send(c fencing.Call) {
	h.lookAgain()
	ctx, cancel := context.WithCancel(h.loop.base)
	address, caller := h.service.use()
	h.loop.cancel, h.loop.asked = cancel, address
	h.loop.calls++
	h.cfg.runner.Go(func() {
		answer, err := caller.do(ctx, c)
		gaveUp := ctx.Err() != nil
		cancel()
		h.mail.post(func() { h.answered(address, answer, err, gaveUp) })
	})
}

// mint gives the generator a new state (G4), and then shows the lease.
func (h *Holder) mint(a fencing.Action) error {
	session, err := h.generator.Begin(snowflake.Grant{
		Layout:   a.Lease.Layout,
		Node:     a.Lease.Node,
		Floor:    a.Lease.Floor,
		Ceiling:  a.Lease.Ceiling,
		Deadline: a.Deadline,
		Time:     h.sample(a),
	})
	if err != nil {
		return err
	}
	h.loop.session = session
	h.show(a)
	return nil
}

// extend takes over what a good heartbeat brought.
func (h *Holder) extend(a fencing.Action) {
	err := h.loop.session.Extend(snowflake.Extension{Ceiling: a.Lease.Ceiling, Deadline: a.Deadline, Time: h.sample(a)})
	if err != nil {
		h.log.say(slog.LevelError, "generator refused a heartbeat's answer", "lease", describe(a.Lease), "error", err)
	}
	h.show(a)
}

// sample is what the answer that a came from tells about server time (G1). It
// was sent before and is looked at now: that it may have lain about in between
// makes the round trip longer, and nothing wrong.
func (h *Holder) sample(a fencing.Action) snowflake.TimeSample {
	now := h.steady()
	return snowflake.TimeSample{ServerTime: a.Lease.ServerTime, RoundTrip: now - a.SentAt, ReceivedAt: now}
}

// show lets the app see the lease as it is now.
func (h *Holder) show(a fencing.Action) {
	lost := h.now.Load().lost
	if lost.isOpen() {
		lost = make(latch)
	}
	h.now.Store(&view{lease: a.Lease, deadline: a.Deadline, held: true, lost: lost})
}

// stop ends minting under the lease for good (C5, C6) and, for a Release, tells
// the rules what was used.
func (h *Holder) stop() {
	v := *h.now.Load()
	v.held = false
	h.now.Store(&v)
	var last snowflake.Millis
	var used bool
	if h.loop.session != nil {
		last, used = h.loop.session.Stop()
		h.loop.session = nil
	}
	v.lost.open()
	h.perform(h.loop.rules.Stopped(h.steady(), last, used))
}

// refuse ends the holder because the generator found that the lease is no new
// one: the service has granted a window twice, so it has lost its memory.
func (h *Holder) refuse(a fencing.Action, err error) {
	h.note(err)
	a.Change = fencing.ChangeRefused
	h.tell(a)
	h.perform(h.loop.rules.Abandon(h.steady()))
}

// tell queues an event and logs it.
func (h *Holder) tell(a fencing.Action) {
	e := Event{Change: a.Change, Lease: Lease{Lease: a.Lease}}
	if h.loop.rules.Phase() == fencing.HolderHolding {
		e.Lease.Remaining = max(0, a.Deadline-h.steady())
	}
	level := slog.LevelWarn
	switch a.Change {
	case Held, Reacquired, Revived:
		level = slog.LevelInfo
		h.first.open()
	case Expired:
		e.Err = h.loop.lastErr
		h.now.Load().lost.open()
	case Lost:
		e.Err = h.loop.lastErr
	case Released:
		level = slog.LevelInfo
		e.Err = h.releaseErr
	case Refused:
		e.Err = h.loop.lastErr
		h.holdErr = e.Err
	}
	h.log.say(level, "lease "+a.Change.String(), "lease", describe(a.Lease), "error", e.Err)
	if h.cfg.onChange == nil {
		return
	}
	h.loop.events = append(h.loop.events, e)
	if n := len(h.loop.events); n > maxEvents {
		h.loop.events = h.loop.events[n-maxEvents:]
		h.log.say(slog.LevelWarn, "OnChange is too slow: the oldest event was dropped", "waiting", maxEvents)
	}
}

// deliver tells the app all that waits, beside the loop: one batch after the
// other, so events keep their order and none is waited for.
func (h *Holder) deliver() {
	l := &h.loop
	if l.telling || len(l.events) == 0 {
		return
	}
	events := l.events
	l.events, l.telling = nil, true
	h.cfg.runner.Go(func() {
		for _, e := range events {
			h.cfg.onChange(e)
		}
		h.mail.post(func() { h.loop.telling = false })
	})
}
