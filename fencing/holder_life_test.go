package fencing_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

const lifeTTL = 30 * time.Second

// input says which step of a holder was taken.
type input string

const (
	inAcquire input = "acquire"
	inTick    input = "tick"
	inAnswer  input = "answer"
	inRelease input = "release"
	inStopped input = "stopped"
	inAbandon input = "abandon"
)

// step is one input of a life and what came of it.
type step struct {
	in            input
	at            time.Duration
	answer        fencing.Answer // with inAnswer
	last          snowflake.Millis
	used          bool // with inStopped
	acts          []fencing.Action
	before, after fencing.Holder
}

func (s step) has(kind fencing.ActionKind) bool { return s.find(kind) >= 0 }

func (s step) find(kind fencing.ActionKind) int {
	for i, a := range s.acts {
		if a.Kind == kind {
			return i
		}
	}
	return -1
}

// sent gives the call that the step asked for, if any.
func (s step) sent() (fencing.Call, bool) {
	if i := s.find(fencing.ActSend); i >= 0 {
		return s.acts[i].Call, true
	}
	return fencing.Call{}, false
}

func (s step) String() string {
	return fmt.Sprintf("%s at %v, answer %+v: %v → %v, %+v", s.in, s.at, s.answer, s.before.Phase(),
		s.after.Phase(), s.acts)
}

// odds draws n from 0 to below 100, each as likely as any other.
func odds(t *rapid.T, label string) int { return rapid.SampledFrom(percent[:]).Draw(t, label) }

var percent = func() (p [100]int) {
	for i := range p {
		p[i] = i
	}
	return p
}()

// life drives a holder at random: time goes by in leaps, calls are answered
// late, twice, out of order or never, and by a service that is not always right.
type life struct {
	t         *rapid.T
	h         fencing.Holder
	now       time.Duration
	calls     []fencing.Call
	epochs    map[fencing.InstanceID]fencing.Epoch
	instances int
	watch     func(step) error
}

// forAllLives plays many lives, and shows each step to a fresh watch.
func forAllLives(t *testing.T, watch func() func(step) error) {
	rapid.Check(t, func(t *rapid.T) {
		for range rapid.SampledFrom([]int{1, 5, 20}).Draw(t, "lives") {
			l := &life{t: t, watch: watch(), epochs: make(map[fencing.InstanceID]fencing.Epoch)}
			l.h = fencing.NewHolder(fencing.HolderConfig{App: "app",
				NoReacquire: odds(t, "reacquire") < 10})
			l.h.Addresses(rapid.SampledFrom([]int{1, 1, 3}).Draw(t, "addresses"))
			l.acquire()
			for range rapid.SampledFrom([]int{5, 20, 60}).Draw(t, "steps") {
				l.step()
				if l.h.Phase() == fencing.HolderEnded && odds(t, "end") < 30 {
					break
				}
			}
		}
	})
}

func (l *life) step() {
	l.now += rapid.SampledFrom([]time.Duration{
		0, 0, time.Millisecond, time.Millisecond, 10 * time.Millisecond, 700 * time.Millisecond,
		700 * time.Millisecond,
		3 * time.Second, 3 * time.Second, 9 * time.Second, 11 * time.Second, lifeTTL, 3 * lifeTTL,
	}).Draw(l.t, "pause")
	switch n := odds(l.t, "input"); {
	case l.h.Phase() == fencing.HolderStopping && n < 50:
		l.take(l.stopped())
	case n < 30:
		l.take(step{in: inTick})
	case n < 50:
		if next, ok := l.h.Next(); ok {
			l.now = max(l.now, next)
		}
		l.take(step{in: inTick})
	case n < 94:
		l.take(step{in: inAnswer, answer: l.someAnswer()})
	case n < 97:
		l.acquire()
	case n < 99:
		l.take(step{in: inRelease})
	default:
		l.take(step{in: inAbandon})
	}
}

func (l *life) acquire() { l.take(step{in: inAcquire}) }

// take carries a step out, has it watched, and answers what it asks for.
func (l *life) take(s step) {
	s.at, s.before = l.now, l.h
	jitter := fencing.Jitter(rapid.Uint16().Draw(l.t, "jitter"))
	switch s.in {
	case inAcquire:
		l.instances++
		s.acts = l.h.Acquire(s.at, fencing.InstanceID(fmt.Sprintf("instance-%08d", l.instances)))
	case inTick:
		s.acts = l.h.Tick(s.at, jitter)
	case inAnswer:
		s.acts = l.h.Answered(s.at, s.answer, jitter)
	case inRelease:
		s.acts = l.h.Release(s.at)
	case inStopped:
		s.acts = l.h.Stopped(s.at, s.last, s.used)
	case inAbandon:
		s.acts = l.h.Abandon(s.at)
	}
	s.after = l.h
	if err := l.h.Check(); err != nil {
		l.t.Fatalf("%v\nafter %v", err, s)
	}
	if err := l.watch(s); err != nil {
		l.t.Fatalf("%v\nin %v", err, s)
	}
	if call, ok := s.sent(); ok {
		l.calls = append(l.calls, call)
	}
	switch {
	case s.has(fencing.ActAsk):
		l.acquire()
	case s.has(fencing.ActStop) && odds(l.t, "stopped") < 75:
		l.now += 5 * time.Millisecond
		l.take(l.stopped())
	}
}

// stopped is what a generator might say: nothing used, or something.
func (l *life) stopped() step {
	lease := l.h.Lease()
	if rapid.Bool().Draw(l.t, "unused") {
		return step{in: inStopped}
	}
	return step{in: inStopped, used: true,
		last: snowflake.Millis(rapid.Int64Range(int64(lease.Floor), int64(lease.Ceiling)).Draw(l.t,
			"last"))}
}

// someAnswer answers one of the last calls, maybe not for the first time.
func (l *life) someAnswer() fencing.Answer {
	n := len(l.calls)
	a := fencing.Answer{Call: l.calls[n-1-rapid.IntRange(0, min(n, 4)-1).Draw(l.t, "call")]}
	if odds(l.t, "newest") < 60 {
		a.Call = l.calls[n-1]
	}
	switch v := odds(l.t, "verdict"); {
	case v < 60:
		a.Verdict = fencing.AnswerGood
	case v < 82:
		a.Verdict = fencing.AnswerFailed
		a.RetryAfter = time.Duration(rapid.IntRange(0, 90).Draw(l.t, "retry")) * time.Second
		a.Elsewhere = rapid.Bool().Draw(l.t, "elsewhere")
	case v < 97:
		a.Verdict = fencing.AnswerLost
	default:
		a.Verdict = fencing.AnswerRefused
	}
	if a.Verdict == fencing.AnswerGood && a.Call.Kind != fencing.CallRelease {
		a.Lease = l.someLease(a.Call)
	}
	return a
}

// someLease is what a call was answered with: promised somewhen between sending
// and now, mostly under the instance's epoch, sometimes with a shorter TTL.
func (l *life) someLease(c fencing.Call) fencing.Lease {
	epoch, ok := l.epochs[c.Instance]
	if !ok || odds(l.t, "epoch") < 7 {
		epoch = fencing.Epoch(len(l.epochs)*10 + 1 + odds(l.t, "other")%9)
		if !ok {
			l.epochs[c.Instance] = epoch
		}
	}
	at := snowflake.Millis(1000).Add(
		time.Duration(rapid.Int64Range(int64(c.SentAt), int64(l.now)).Draw(l.t, "promised")))
	ttl := rapid.SampledFrom([]time.Duration{lifeTTL, lifeTTL, lifeTTL, lifeTTL / 2}).Draw(l.t,
		"ttl")
	return fencing.Lease{
		Pool: c.Pool, Node: snowflake.NodeID(epoch % 7), Epoch: epoch, App: "app", TTL: ttl,
		ServerTime: at, Floor: min(1000+snowflake.Millis(epoch), at), Ceiling: at.Add(ttl),
		Layout: plainLayout,
	}
}
