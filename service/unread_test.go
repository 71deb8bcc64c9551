package service

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// stuckLog is a log whose reader stands still from the line on that begins with
// words, until gate is closed.
type stuckLog struct {
	slog.Handler
	words string
	gate  chan struct{}
	stuck chan struct{} // is closed when somebody waits
}

func newStuckLog(words string) *stuckLog {
	return &stuckLog{Handler: slog.DiscardHandler, words: words}
}

// begin is for the bubble that the log is used in: its channels belong there.
func (h *stuckLog) begin() { h.gate, h.stuck = make(chan struct{}), make(chan struct{}) }

func (h *stuckLog) Enabled(context.Context, slog.Level) bool { return true }

func (h *stuckLog) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, h.words) {
		close(h.stuck)
		<-h.gate
	}
	return nil
}

func (h *stuckLog) wait(t *testing.T) {
	t.Helper()
	synctest.Wait()
	select {
	case <-h.stuck:
	default:
		t.Fatalf("nobody logged %q", h.words)
	}
}

// S9, S14: a store that failed ends the service, and requests are answered,
// before anybody has read of it.
func TestFailureIsLoggedLast(t *testing.T) {
	log := newStuckLog("the store or its use failed")
	inBubble(t, bubbleOptions{log: log}, func(b *bubble) {
		log.begin()
		lease := b.acquired("app")
		b.store.failWith(errors.New("no disk"))
		late := b.acquire("late", 0)
		log.wait(t)
		select {
		case <-b.s.Failed():
		default:
			t.Error("Failed is not closed while the log stands still")
		}
		beat := b.heartbeat(lease)
		synctest.Wait()
		beat.failed(t, "a heartbeat after the failure", storeDown)
		close(log.gate)
		synctest.Wait()
		late.failed(t, "the grant whose write failed", storeDown)
	})
}

// S14: an alarm about the clock holds up no heartbeat.
func TestClockAlarmIsLoggedOutsideTheCore(t *testing.T) {
	log := newStuckLog("the wall clock is far ahead")
	inBubble(t, bubbleOptions{log: log}, func(b *bubble) {
		log.begin()
		lease := b.acquired("app")
		b.wall.lead.Store(int64(time.Hour))
		time.Sleep(6 * time.Second) // the mark is looked at
		log.wait(t)
		beat := b.heartbeat(lease)
		synctest.Wait()
		beat.done(t, "a heartbeat beside the alarm")
		close(log.gate)
	})
}

// S14: a replica that was chosen serves before it says that it leads.
func TestLeadsBeforeItTells(t *testing.T) {
	log := newStuckLog("this replica leads")
	inFleet(t, nil, func(f *fleet) {
		log.begin()
		a := f.start("a", func(c *Config) { c.Logger = slog.New(log) })
		f.c.lead(a.member)
		f.settle()
		log.wait(t)
		a.acquired("app")
		close(log.gate)
	})
}

// A replica that was chosen, and gets nowhere, lets others lead.
func TestIdleLeadershipIsResigned(t *testing.T) {
	inFleet(t, []string{"a", "b"}, func(f *fleet) {
		a, b := f.all[0], f.all[1]
		f.c.holdIf(func(o *clusterOp) bool {
			return o.who == a.member.self.ID &&
				o.op == "take over"
		})
		f.c.lead(a.member)
		f.pass(idleTimeout - time.Second)
		if f.c.resignations(a.member) != 0 {
			t.Fatal("it resigned early")
		}
		f.pass(2 * time.Second)
		if f.c.resignations(a.member) == 0 {
			t.Fatal("it keeps the leadership and does nothing about it")
		}
		f.c.next()
		f.settle()
		b.acquired("app")
	})
}

// The leadership is kept for as long as there is a term, and between two of them.
func TestBusyLeadershipIsKept(t *testing.T) {
	leading(t, func(f *fleet, a *replica) {
		lease := a.acquired("app")
		for range 20 {
			f.pass(5 * time.Second)
			a.heartbeatDone(lease)
		}
		f.c.failIf(opIs("commit"), errTimeout)
		f.pass(6 * time.Second) // to the next mark
		f.c.failIf(nil, nil)
		f.pass(idleTimeout)
		if n := f.c.resignations(a.member); n > 1 { // by termTries
			t.Errorf("it resigned %d times", n)
		}
	})
}

// Whatever sends a request away is counted as it leaves.
func TestRefusalsAtTheEndAreCounted(t *testing.T) {
	inFleet(t, []string{"a", "b"}, func(f *fleet) {
		a, b := f.all[0], f.all[1]
		f.makeLead(a)
		lease := a.acquired("app")
		f.makeLead(b)
		f.settle()
		b.s.StopRequests()
		refused := b.heartbeat(lease)
		f.settle()
		refused.failed(t, "a heartbeat at one that stops", shuttingDown)
		if got := b.metric("cirrus_refusals_total", string(reasonStopping)); got != 1 {
			t.Errorf("%v refusals of SHUTTING_DOWN are counted, want 1", got)
		}
	})
}
