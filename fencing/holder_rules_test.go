package fencing_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

// The properties below watch from outside what a holder is told and what it
// asks for. None looks at how it works that out.

// TestHolderC1: an instance ID has one lease, and none after that ended.
func TestHolderC1(t *testing.T) {
	forAllLives(t, func() func(step) error {
		var present fencing.InstanceID
		spent := map[fencing.InstanceID]bool{}
		return func(s step) error {
			for _, a := range s.acts {
				switch {
				case a.Kind == fencing.ActSend && spent[a.Call.Instance]:
					return fmt.Errorf("%v with instance %s, whose lease is over", a.Call.Kind,
						a.Call.Instance)
				case a.Kind == fencing.ActSend:
					present = a.Call.Instance
				case a.Kind == fencing.ActTell &&
					(a.Change == fencing.ChangeLost || a.Change == fencing.ChangeReleased):
					spent[present] = true
				}
			}
			if s.in == inAnswer && s.answer.Verdict == fencing.AnswerLost &&
				s.answer.Call.Instance == present &&
				s.before.Phase() == fencing.HolderConfirming &&
				s.answer.Call.Epoch == s.before.Lease().Epoch {
				spent[present] = true
			}
			return nil
		}
	})
}

// promises remembers what the answers so far promised for the lease that was
// last begun: the dumb version of deadline and ceiling.
type promises struct {
	instance  fencing.InstanceID
	ttl       map[fencing.Epoch]time.Duration
	deadlines map[fencing.Epoch]time.Duration
	ceilings  map[fencing.Epoch]snowflake.Millis
}

func newPromises() *promises {
	return &promises{
		ttl:       map[fencing.Epoch]time.Duration{},
		deadlines: map[fencing.Epoch]time.Duration{},
		ceilings:  map[fencing.Epoch]snowflake.Millis{},
	}
}

// hear takes in a step before it is judged.
func (p *promises) hear(s step) {
	a := s.answer
	if s.in == inAnswer && a.Verdict == fencing.AnswerGood && a.Call.Kind != fencing.CallRelease &&
		a.Call.Instance == p.instance {
		e := a.Lease.Epoch
		if s.after.Lease().Epoch != s.before.Lease().Epoch { // it was the grant
			p.ttl[e] = a.Lease.TTL
		}
		heartbeatOfOther := a.Call.Kind == fencing.CallHeartbeat && a.Call.Epoch != e
		if p.ttl[e] > 0 && !heartbeatOfOther {
			p.deadlines[e] = max(p.deadlines[e], a.Call.SentAt+p.ttl[e])
			p.ceilings[e] = max(p.ceilings[e], a.Lease.Ceiling)
		}
	}
	if c, ok := s.sent(); ok {
		p.instance = c.Instance
	}
}

// TestHolderC2: it is live no longer than the TTL after a call was sent that was
// answered well, and tells the app of nothing that was granted slowly.
func TestHolderC2(t *testing.T) {
	forAllLives(t, func() func(step) error {
		p := newPromises()
		return func(s step) error {
			p.hear(s)
			promised := p.deadlines[s.after.Lease().Epoch]
			for _, probe := range []time.Duration{s.at, promised, promised + time.Second,
				s.at + lifeTTL - 1} {
				if s.after.Live(probe) && probe >= promised {
					return fmt.Errorf("live at %v, but it was promised only until %v", probe,
						promised)
				}
			}
			slow := s.at-s.answer.Call.SentAt > s.answer.Lease.TTL/3
			if s.has(fencing.ActBegin) && s.answer.Call.Kind == fencing.CallAcquire && slow {
				return errors.New("told the app of a lease that took longer than TTL/3")
			}
			if s.has(fencing.ActBegin) && !s.after.Live(s.at) {
				return errors.New("told the app of a lease that is not live")
			}
			return nil
		}
	})
}

// TestHolderC3: with a lease there is always a heartbeat under way, for no
// longer than a try, or one due soon, past the deadline, too.
func TestHolderC3(t *testing.T) {
	forAllLives(t, func() func(step) error {
		var pending fencing.Call
		var soonest, latest time.Duration
		return func(s step) error {
			third := s.after.Lease().TTL / 3
			leased := s.after.Phase() == fencing.HolderHolding ||
				s.after.Phase() == fencing.HolderConfirming
			was := s.before.Phase() == fencing.HolderHolding ||
				s.before.Phase() == fencing.HolderConfirming
			call, sent := s.sent()
			answered := s.in == inAnswer && s.answer.Call == pending && pending != (fencing.Call{})
			good := answered && s.answer.Verdict == fencing.AnswerGood &&
				s.answer.Lease.Epoch == s.after.Lease().Epoch
			switch {
			case !leased:
			case good || !was:
				soonest, latest = s.answer.Call.SentAt+third*9/10-time.Millisecond,
					s.answer.Call.SentAt+third*11/10
			case answered || s.has(fencing.ActCancel):
				soonest, latest = s.at, s.at+fencing.MaxBackoff
			}
			if sent && leased && s.after.Phase() == fencing.HolderHolding && s.at < soonest {
				return fmt.Errorf("heartbeat before %v", soonest)
			}
			if answered || s.has(fencing.ActCancel) {
				pending = fencing.Call{}
			}
			if sent {
				pending = call
				soonest, latest = s.at, s.at+min(third, fencing.MaxTry)
			}
			if !leased {
				return nil
			}
			if next, ok := s.after.Next(); !ok || next > max(latest, s.at) {
				return fmt.Errorf("next step at %v (%t), should be by %v", next, ok, latest)
			}
			if s.in == inTick && s.at >= latest && !sent && !s.has(fencing.ActCancel) {
				return fmt.Errorf("neither heartbeat nor end of a try, though one was due by %v",
					latest)
			}
			return nil
		}
	})
}

// TestHolderC4: the app is told when the deadline passes and when a late answer
// was good, and what it was told is so.
func TestHolderC4(t *testing.T) {
	forAllLives(t, func() func(step) error {
		p := newPromises()
		told := false
		return func(s step) error {
			p.hear(s)
			for _, a := range s.acts {
				switch {
				case a.Kind == fencing.ActStop:
					told = false
				case a.Kind != fencing.ActTell:
				case a.Change == fencing.ChangeExpired && !told,
					a.Change == fencing.ChangeRevived && told:
					return fmt.Errorf("told %v, which was no change", a.Change)
				default:
					told = a.Change == fencing.ChangeHeld || a.Change == fencing.ChangeReacquired ||
						a.Change == fencing.ChangeRevived
				}
			}
			live := s.after.Phase() == fencing.HolderHolding &&
				s.at < p.deadlines[s.after.Lease().Epoch]
			if s.after.Live(s.at) != live {
				return fmt.Errorf("live: %t, should be %t", !live, live)
			}
			if told != live && s.in != inAcquire && s.in != inStopped {
				return fmt.Errorf("the app believes live: %t, and it is %t", told, live)
			}
			return nil
		}
	})
}

// TestHolderC5: LEASE_LOST stops minting at once, and a new lease is asked for.
func TestHolderC5(t *testing.T) {
	forAllLives(t, func() func(step) error {
		var present fencing.InstanceID
		return func(s step) error {
			a := s.answer
			lost := s.in == inAnswer && a.Verdict == fencing.AnswerLost &&
				a.Call.Kind == fencing.CallHeartbeat &&
				a.Call.Instance == present && a.Call.Epoch == s.before.Lease().Epoch &&
				s.before.Phase() == fencing.HolderHolding
			if c, ok := s.sent(); ok {
				present = c.Instance
			}
			switch {
			case !lost:
				return nil
			case !s.has(fencing.ActStop):
				return errors.New("goes on minting under a lost lease")
			case s.after.Live(s.at) || s.after.Live(0):
				return errors.New("live under a lost lease")
			case s.after.Phase() == fencing.HolderEnded: // told not to
				return nil
			case s.find(fencing.ActAsk) < s.find(fencing.ActStop):
				return errors.New("does not ask for a new lease after it has stopped")
			}
			return nil
		}
	})
}

// TestHolderC6: after Release nothing is minted, and the service hears of it
// only when minting has stopped, with the last timestamp used.
func TestHolderC6(t *testing.T) {
	forAllLives(t, func() func(step) error {
		var released, stopped bool
		var last snowflake.Millis
		return func(s step) error {
			if s.in == inRelease && s.before.Phase() != fencing.HolderEnded {
				if minting := s.before.Phase() == fencing.HolderHolding; minting &&
					!s.has(fencing.ActStop) {
					return errors.New("release without a stop")
				}
				released = true
			}
			if s.in == inStopped && s.before.Phase() == fencing.HolderStopping {
				stopped, last = true, s.before.Lease().Floor-1
				if s.used {
					last = s.last
				}
			}
			call, sent := s.sent()
			switch {
			case !released && sent && call.Kind == fencing.CallRelease:
				return errors.New("gives back what nobody asked it to")
			case !released:
				return nil
			case s.after.Live(s.at) || s.after.Live(0) || s.has(fencing.ActBegin) ||
				s.has(fencing.ActExtend):
				return errors.New("live after Release")
			case sent && (call.Kind != fencing.CallRelease || !stopped):
				return fmt.Errorf("%v after Release; stopped: %t", call.Kind, stopped)
			case sent && call.Last != last:
				return fmt.Errorf("told the service %d as last timestamp, it was %d", call.Last,
					last)
			}
			return nil
		}
	})
}

// TestHolderC7: deadline and ceiling are the highest that was promised for the
// epoch, whatever order the answers come in.
func TestHolderC7(t *testing.T) {
	forAllLives(t, func() func(step) error {
		p := newPromises()
		return func(s step) error {
			p.hear(s)
			b, a := s.before.Lease(), s.after.Lease()
			holding := s.before.Phase() == fencing.HolderHolding ||
				s.before.Phase() == fencing.HolderConfirming
			if s.after.Phase() != fencing.HolderHolding &&
				s.after.Phase() != fencing.HolderConfirming {
				return nil
			}
			switch e := a.Epoch; {
			case holding && b.Epoch != e:
				return fmt.Errorf("epoch %d became %d without a loss", b.Epoch, e)
			case s.after.Deadline() != p.deadlines[e]:
				return fmt.Errorf("deadline %v, promised %v", s.after.Deadline(), p.deadlines[e])
			case a.Ceiling != p.ceilings[e]:
				return fmt.Errorf("ceiling %d, promised %d", a.Ceiling, p.ceilings[e])
			case holding && (s.after.Deadline() < s.before.Deadline() || a.Ceiling < b.Ceiling):
				return errors.New("deadline or ceiling moved back")
			}
			return nil
		}
	})
}
