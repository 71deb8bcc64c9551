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
	// maxWait is the longest that the loop waits before it reads the steady clock
	// again. Timers stop while the machine is suspended, the steady clock does
	// not, so an expiry is reported this late at most after the machine resumes.
	maxWait = time.Second
	// maxEvents is how many events wait for a slow OnChange.
	maxEvents = 1024
)

// errNoAnswer is the error of a call that was given up.
var errNoAnswer = errors.New("no answer in time: check that the service runs and can be reached")

// loop is the state that only the holder's loop may use.
type loop struct {
	rules   fencing.Holder
	base    context.Context // of all calls
	session *snowflake.Session

	cancel context.CancelFunc // of the call in progress
	asked  *reach.Address     // where the last call went
	calls  int                // calls and lookups that have not returned, canceled ones too
	lookup lookup

	events     []Event // not yet delivered
	delivering bool    // OnChange is running

	// lastErr is the error of the last call; nil if that call succeeded.
	lastErr error
}

func newLoop(base context.Context, cfg fencing.HolderConfig) loop {
	return loop{rules: fencing.NewHolder(cfg), base: base, cancel: func() {},
		lookup: lookup{cancel: func() {}}}
}

// mailbox is a queue of functions that other goroutines want the loop to run.
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

// run is the holder's loop: it takes what happened from the mailbox, asks the
// rules what to do, does that, and waits. It returns when the rules have ended
// and all that it started has returned.
func (h *Holder) run() {
	timer := h.cfg.timers.NewTimer(maxWait)
	defer timer.Stop()
	h.begin()
	for !h.idle() {
		timer.Reset(h.untilDue())
		h.cfg.runner.Wait(timer.Chan(), h.mail.wake, nil)
		for _, f := range h.mail.take() {
			f()
		}
		h.tick()
		h.deliver()
	}
	h.service.addrs.Close()
}

// idle reports whether nothing more can happen.
func (h *Holder) idle() bool {
	l := &h.loop
	return h.ended.isOpen() && l.calls == 0 && !l.delivering && len(l.events) == 0
}

// untilDue returns how long the loop may wait.
func (h *Holder) untilDue() time.Duration {
	next, ok := h.loop.rules.Next()
	if !ok {
		return maxWait
	}
	return min(maxWait, max(0, next-h.steady()))
}

// steady reads the steady clock, which the rules use.
func (h *Holder) steady() time.Duration { return h.cfg.steady.Now() }

func (h *Holder) jitter() fencing.Jitter { return fencing.Jitter(h.cfg.random()) }

// acquire asks for a new lease with a fresh instance ID (C1).
func (h *Holder) acquire() {
	h.perform(h.loop.rules.Acquire(h.steady(), h.instance()))
}

// instance returns a fresh instance ID of 128 random bits (C1).
func (h *Holder) instance() fencing.InstanceID {
	return fencing.InstanceID(fmt.Sprintf("%016x%016x", h.cfg.random(), h.cfg.random()))
}

// tick passes the time to the rules if something is due.
func (h *Holder) tick() {
	now := h.steady()
	if next, ok := h.loop.rules.Next(); !ok || now < next {
		return
	}
	acts := h.loop.rules.Tick(now, h.jitter())
	if slices.ContainsFunc(acts,
		func(a fencing.Action) bool { return a.Kind == fencing.ActCancel }) {
		h.note(errNoAnswer)
		h.leave(h.loop.asked, errNoAnswer)
	}
	h.perform(acts)
}

// answered passes the outcome of a call to the rules, in the order in which
// answers arrive (C7). gaveUp says that the call was canceled: its error then
// says nothing about the service.
func (h *Holder) answered(from *reach.Address, a fencing.Answer, err error, gaveUp bool) {
	h.loop.calls--
	if !gaveUp {
		h.noteCall(a, err)
		h.noteAddress(from, a, err)
	}
	h.perform(h.loop.rules.Answered(h.steady(), a, h.jitter()))
}

// noteCall records the outcome of a call and logs the first failure of several in
// a row.
func (h *Holder) noteCall(a fencing.Answer, err error) {
	if err != nil && h.loop.lastErr == nil {
		h.log.say(slog.LevelWarn, "call failed",
			"call", a.Call.Kind.String(), "verdict", a.Verdict.String(), "error", err)
	}
	if a.Call.Kind == fencing.CallRelease && a.Verdict == fencing.AnswerLost {
		err = nil // nothing was held that could be given back
	}
	h.note(err)
}

// note records the error of the last call; nil: it succeeded.
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

// release carries out the first half of Release: it stops minting and sends the
// Release call. Nothing is minted after it has returned.
func (h *Holder) release() {
	h.perform(h.loop.rules.Release(h.steady()))
	h.stopped.open()
}

// abandon ends the holder because of cause, without another call.
func (h *Holder) abandon(cause error) {
	if h.ended.isOpen() {
		return
	}
	if l := &h.loop; l.calls > 0 && h.service.addrs.Len() > 1 && l.asked != nil &&
		!l.asked.Works() {
		h.service.addrs.Leave(l.asked, errNoAnswer)
	}
	last := h.service.addrs.Err() // names every address that failed
	if last == nil {
		last = h.loop.lastErr
	}
	if last != nil {
		cause = fmt.Errorf("%w (given up: %w)", last, cause)
	}
	h.holdErr, h.releaseErr = cause, cause
	h.perform(h.loop.rules.Abandon(h.steady()))
}

// perform carries out what the rules ask for, in order.
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
			if err := h.beginSession(a); err != nil {
				h.refuse(a, err)
				return
			}
		case fencing.ActExtend:
			h.extend(a)
		case fencing.ActStop:
			h.stop()
		case fencing.ActTell:
			h.report(a)
		}
	}
	if h.loop.rules.Phase() == fencing.HolderEnded {
		h.loop.lookup.cancel()
		h.ended.open() // before first: Hold checks ended after it has waited for first
		h.stopped.open()
		h.first.open()
	}
}

// send makes a call outside the loop. Its outcome is posted to the mailbox.
func (h *Holder) send(c fencing.Call) {
	h.lookUpIfDue()
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

// beginSession starts a new session of the generator (G4), then publishes the
// lease.
func (h *Holder) beginSession(a fencing.Action) error {
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
	h.publish(a)
	return nil
}

// extend applies a good heartbeat to the session, then publishes the lease.
func (h *Holder) extend(a fencing.Action) {
	err := h.loop.session.Extend(snowflake.Extension{
		Ceiling: a.Lease.Ceiling, Deadline: a.Deadline, Time: h.sample(a),
	})
	if err != nil {
		h.log.say(slog.LevelError, "the generator refused the answer to a heartbeat",
			"lease", describe(a.Lease), "error", err)
	}
	h.publish(a)
}

// sample returns what the answer that led to a says about server time (G1). The
// round trip is counted until now: if the answer has waited in the mailbox, the
// round trip is longer than it was, which widens the bounds but keeps them true.
func (h *Holder) sample(a fencing.Action) snowflake.TimeSample {
	now := h.steady()
	return snowflake.TimeSample{ServerTime: a.Lease.ServerTime, RoundTrip: now - a.SentAt,
		ReceivedAt: now}
}

// publish stores the lease as the app sees it from now on.
func (h *Holder) publish(a fencing.Action) {
	lost := h.now.Load().lost
	if lost.isOpen() {
		lost = make(latch)
	}
	h.now.Store(&snapshot{lease: a.Lease, deadline: a.Deadline, held: true, lost: lost})
}

// stop ends minting under the lease for good (C5, C6) and tells the rules the
// last timestamp used, which a Release passes on.
func (h *Holder) stop() {
	s := *h.now.Load()
	s.held = false
	h.now.Store(&s)
	var last snowflake.Millis
	var used bool
	if h.loop.session != nil {
		last, used = h.loop.session.Stop()
		h.loop.session = nil
	}
	s.lost.open()
	h.perform(h.loop.rules.Stopped(h.steady(), last, used))
}

// refuse ends the holder because the generator found that the lease is no new
// one: the service has granted a window twice, so its store has lost data.
func (h *Holder) refuse(a fencing.Action, err error) {
	h.note(err)
	a.Change = fencing.ChangeRefused
	h.report(a)
	h.perform(h.loop.rules.Abandon(h.steady()))
}

// report logs a change and queues it for OnChange.
func (h *Holder) report(a fencing.Action) {
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
		h.log.say(slog.LevelWarn, "OnChange is too slow: the oldest event was dropped",
			"waiting", maxEvents)
	}
}

// deliver passes all queued events to OnChange, outside the loop. Only one batch
// is delivered at a time, so events keep their order and the loop never waits.
func (h *Holder) deliver() {
	l := &h.loop
	if l.delivering || len(l.events) == 0 {
		return
	}
	events := l.events
	l.events, l.delivering = nil, true
	h.cfg.runner.Go(func() {
		for _, e := range events {
			h.cfg.onChange(e)
		}
		h.mail.post(func() { h.loop.delivering = false })
	})
}
