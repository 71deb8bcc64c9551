package fencing_test

import (
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

// replica is how one address of the service behaves.
type replica uint8

const (
	serves      replica = iota
	refuses             // at once
	hangs               // says nothing, ever
	unavailable         // says so, and to come back after a second
	full                // a working service without a free node ID for 45 s
)

// tour drives a holder with several addresses, one call after the other.
type tour struct {
	*testing.T
	h        fencing.Holder
	replicas []replica
	at       int // the address in use
	now      time.Duration
	ttl      time.Duration
	asked    []int // the addresses, in the order of the calls
	calls    []fencing.Call
	sent     []time.Duration
}

func newTour(t *testing.T, cfg fencing.HolderConfig, ttl time.Duration, replicas ...replica) *tour {
	cfg.App = "app"
	d := &tour{T: t, h: fencing.NewHolder(cfg), replicas: replicas, ttl: ttl}
	d.h.Addresses(len(replicas))
	return d
}

// until goes on until a call was answered well, or a number of calls was made.
func (d *tour) until(calls int) {
	d.do(d.h.Acquire(d.now, "instance-00000001"), calls)
}

// goOn lets the next calls be made.
func (d *tour) goOn(calls int) {
	next, _ := d.h.Next()
	d.now = max(d.now, next)
	d.do(d.h.Tick(d.now, 0), len(d.calls)+calls)
}

func (d *tour) do(acts []fencing.Action, calls int) {
	d.Helper()
	for {
		if err := d.h.Check(); err != nil {
			d.Fatal(err)
		}
		var call *fencing.Call
		for i := range acts {
			switch acts[i].Kind {
			case fencing.ActCancel:
				d.at = (d.at + 1) % len(d.replicas)
			case fencing.ActSend:
				call = &acts[i].Call
			}
		}
		if call == nil {
			next, _ := d.h.Next()
			d.now = max(d.now, next)
			acts = d.h.Tick(d.now, 0)
			continue
		}
		d.calls, d.asked, d.sent = append(d.calls, *call), append(d.asked, d.at),
			append(d.sent, d.now)
		a := fencing.Answer{Call: *call, Verdict: fencing.AnswerFailed}
		switch d.replicas[d.at] {
		case hangs:
			if len(d.calls) == calls {
				return
			}
			d.now, _ = d.h.Next()
			acts = d.h.Tick(d.now, 0)
			continue
		case serves:
			a.Verdict = fencing.AnswerGood
			a.Lease = fencing.Lease{
				Pool: call.Pool, Node: 1, Epoch: 1, TTL: d.ttl, Floor: 1000, ServerTime: 1000,
				Ceiling: snowflake.Millis(1000).Add(d.ttl), Layout: plainLayout,
			}
			d.h.Answered(d.now, a, 0)
			return
		case unavailable:
			a.Elsewhere, a.RetryAfter = true, time.Second
		case refuses:
			a.Elsewhere = true
		case full:
			a.RetryAfter = 45 * time.Second
		}
		if a.Elsewhere {
			d.at = (d.at + 1) % len(d.replicas)
		}
		acts = d.h.Answered(d.now, a, 0)
		if len(d.calls) == calls {
			return
		}
	}
}

// TestRoundIsShort: whichever of three addresses is dead and which is silent,
// the one that works is reached well before the deadline, at any TTL (C3).
func TestRoundIsShort(t *testing.T) {
	for _, ttl := range []time.Duration{time.Second, 3 * time.Second, 30 * time.Second, time.Hour} {
		for _, bad := range [][2]replica{{hangs, hangs}, {hangs, refuses}, {unavailable, hangs},
			{refuses, refuses}} {
			d := newTour(t, fencing.HolderConfig{}, ttl, serves, bad[0], bad[1])
			d.until(1)
			d.replicas = []replica{bad[0], bad[1], serves}
			d.goOn(3)
			took, due := d.now-d.sent[1], ttl/3*11/10
			if len(d.calls) != 4 || d.asked[3] != 2 || due+took > ttl*3/4 {
				t.Errorf("TTL %v, %v: asked %v, and took %v for a heartbeat that is due by %v", ttl,
					bad, d.asked, took, due)
			}
			if !d.h.Live(d.now) {
				t.Errorf("TTL %v, %v: not live any more", ttl, bad)
			}
			for _, c := range d.calls {
				if c.Instance != d.calls[0].Instance {
					t.Errorf("asked as %s, then as %s", d.calls[0].Instance, c.Instance)
				}
			}
		}
	}
}

// TestRoundsBackOff: all addresses are tried at once, then there is a pause that
// grows to MaxBackoff with the rounds, and none is shorter than what any of them
// asked for (C3).
func TestRoundsBackOff(t *testing.T) {
	for _, tt := range []struct {
		name     string
		replicas []replica
		pauses   []time.Duration // jitter is 0: half of each
	}{
		{"dead", []replica{refuses, refuses, refuses}, []time.Duration{50, 100, 200, 400, 800, 1000, 1000}},
		{"not yet ready", []replica{refuses, unavailable, refuses}, []time.Duration{1000, 1000, 1000}},
	} {
		d := newTour(t, fencing.HolderConfig{}, 30*time.Second, tt.replicas...)
		d.until(3 * (len(tt.pauses) + 1))
		for i := range d.calls {
			pause := time.Duration(0)
			if i > 0 {
				pause = d.sent[i] - d.sent[i-1]
			}
			want := time.Duration(0)
			if i > 0 && i%3 == 0 {
				want = tt.pauses[i/3-1] * time.Millisecond
			}
			if pause != want || d.asked[i] != i%3 {
				t.Errorf("%s: call %d at address %d after %v, want %d after %v", tt.name, i,
					d.asked[i], pause, i%3, want)
			}
		}
	}
}

// TestRoundsGetLonger: a service may be slow everywhere, so what is too short
// for it becomes as long as for a lone address.
func TestRoundsGetLonger(t *testing.T) {
	d := newTour(t, fencing.HolderConfig{}, 30*time.Second, hangs, hangs, hangs)
	d.until(3 * 8)
	tries := map[int]time.Duration{}
	for i := 1; i < len(d.sent); i++ {
		if i%3 != 0 {
			tries[i/3] = d.sent[i] - d.sent[i-1]
		}
	}
	for round, want := range []time.Duration{fencing.MaxTry / 3, fencing.MaxTry / 3 * 2,
		fencing.MaxTry, fencing.MaxTry} {
		if got := tries[round]; got < want-time.Millisecond || got > want+time.Millisecond {
			t.Errorf("round %d: tries of %v, want %v", round, got, want)
		}
	}
}

// TestQueuesWhereItWorks: only an address that has answered is asked to let us
// wait in line: a silent one would look the same.
func TestQueuesWhereItWorks(t *testing.T) {
	d := newTour(t, fencing.HolderConfig{Wait: time.Minute}, 30*time.Second, hangs, refuses, full)
	d.until(4)
	if took := d.sent[3]; took > fencing.MaxTry/3 {
		t.Errorf("in line after %v", took)
	}
	for i, want := range []time.Duration{0, 0, 0, time.Minute} {
		if at := min(i, 2); d.calls[i].Wait != want || d.asked[i] != at {
			t.Errorf("call %d waits %v at address %d, want %v at %d", i, d.calls[i].Wait,
				d.asked[i], want, at)
		}
	}
	if next, _ := d.h.Next(); next-d.now != 45*time.Second {
		t.Errorf("asks again after %v, want 45 s: there was no free node ID even in line",
			next-d.now)
	}
	alone := newTour(t, fencing.HolderConfig{Wait: time.Minute}, 30*time.Second, full)
	alone.until(1)
	if alone.calls[0].Wait != time.Minute {
		t.Errorf("a lone address is asked for a wait of %v", alone.calls[0].Wait)
	}
}

// TestStaysWhereItWorks: a working service's no makes a holder go nowhere else.
func TestStaysWhereItWorks(t *testing.T) {
	d := newTour(t, fencing.HolderConfig{}, 30*time.Second, full, serves)
	d.until(2)
	if d.asked[1] != 0 || d.sent[1] != 45*time.Second {
		t.Errorf("asked addresses %v at %v", d.asked, d.sent)
	}
}

// TestLoneAddress: it gets all the time that there is for a try.
func TestLoneAddress(t *testing.T) {
	d := newTour(t, fencing.HolderConfig{}, 6*time.Second, hangs)
	d.until(1)
	if next, _ := d.h.Next(); next != fencing.MaxTry {
		t.Errorf("an acquire may take %v", next)
	}
	d = newTour(t, fencing.HolderConfig{}, 6*time.Second, serves)
	d.until(1)
	d.replicas[0] = hangs
	d.goOn(1)
	if next, _ := d.h.Next(); next-d.now != 2*time.Second {
		t.Errorf("a heartbeat may take %v", next-d.now)
	}
}

// TestManyAddresses: a try of many addresses is long enough to be answered.
func TestManyAddresses(t *testing.T) {
	d := newTour(t, fencing.HolderConfig{}, time.Second, make([]replica, fencing.MaxAddresses)...)
	d.until(1)
	d.replicas[0] = hangs
	d.goOn(1)
	if next, _ := d.h.Next(); next-d.now != 100*time.Millisecond {
		t.Errorf("a heartbeat may take %v", next-d.now)
	}
}

// TestImpossibleAnswer: what can't be our service's answer sends a holder on.
func TestImpossibleAnswer(t *testing.T) {
	d := newTour(t, fencing.HolderConfig{}, 30*time.Second, hangs, hangs)
	d.until(1)
	acts := d.h.Answered(0, fencing.Answer{Call: d.calls[0], Verdict: fencing.AnswerGood}, 0)
	if len(acts) != 1 || acts[0].Kind != fencing.ActSend {
		t.Errorf("did %v, want the next address to be asked at once", acts)
	}
}

// TestFewerAddresses: they can become fewer in the middle of a round.
func TestFewerAddresses(t *testing.T) {
	d := newTour(t, fencing.HolderConfig{}, 30*time.Second, refuses, refuses, refuses, refuses)
	d.until(3)
	d.h.Addresses(2)
	if err := d.h.Check(); err != nil {
		t.Error(err)
	}
	d.h.Addresses(0)
	d.h.Addresses(1 << 20)
	if err := d.h.Check(); err != nil {
		t.Error(err)
	}
}
