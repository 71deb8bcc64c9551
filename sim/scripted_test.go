package sim

import (
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/sim/kernel"
	"github.com/cirrus-id/cirrus/sim/plan"
)

// Lives whose every step is given, for what chance would take too long to bring.

// TestLongLeaseComesBack: a lease with a TTL of an hour whose holder has died is
// granted to who waits for it, though who serves is restarted every ten minutes:
// told to stop, killed, or taken over from (P4).
func TestLongLeaseComesBack(t *testing.T) {
	const (
		ttl, quarantine, every = time.Hour, 6 * time.Minute, 10 * time.Minute
		most                   = (ttl + quarantine) * 16 / 10
	)
	stop := func(s *server) { s.restart(func() {}) }
	kill := func(s *server) { s.crash("killed") }
	for _, test := range []struct {
		name     string
		replicas int
		ends     []func(*server)
	}{
		{"stopped", -1, []func(*server){stop}},
		{"killed", -1, []func(*server){kill}},
		{"one after the other", -1, []func(*server){stop, kill}},
		{"takeovers", 3, []func(*server){kill, stop}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(plan.Config{Seed: 1, Profile: plan.Calm, Apps: 2,
				Replicas: test.replicas}, &kernel.Workers{})
			defer w.close()
			w.pool.TTL, w.pool.MaxTTL, w.pool.Quarantine, w.pool.Last = ttl, ttl, quarantine,
				w.pool.First
			for _, a := range w.apps {
				a.life, a.every, a.wait, a.ttl = 100*ttl, time.Minute, time.Minute, 0
			}
			w.setClocks()
			w.begin()
			dead, waits := w.apps[0], w.apps[1]
			until := func(what string, least time.Duration, wanted func() bool) {
				for end := w.now() + least; !wanted(); w.liveUntil(w.now() + time.Second) {
					if w.now() > end {
						t.Fatalf("%s within %v", what, least)
					}
				}
			}
			holds := func(a *app) func() bool {
				return func() bool { _, ok := a.live(); return ok }
			}
			w.after(0, "start", dead.boot)
			until("the first app got no node ID", time.Minute, holds(dead))
			dead.gone = true
			dead.end(RecordCrash, "")
			died := w.now()
			w.after(0, "start", waits.boot)
			for i := 0; !holds(waits)() && w.now() < died+2*most; i++ {
				for next := w.now() + every; w.now() < next && !holds(waits)(); {
					w.liveUntil(w.now() + time.Second)
				}
				s := w.primary
				if w.replicated() {
					s = w.leads
				}
				test.ends[i%len(test.ends)](s)
			}
			if w.violation != nil {
				t.Fatal(w.violation)
			}
			took := w.now() - died
			t.Logf("its node ID has another holder after %v", took)
			if took > most {
				t.Errorf("its node ID has another holder after %v, want %v at the most", took, most)
			}
			if starts := w.situations["a start went on from a silence note"]; starts < 3 {
				t.Errorf("%d starts went on from a silence note, want some", starts)
			}
		})
	}
}

// TestSilentTail: what a log has lost, and no file tells of, costs neither epochs
// nor the alarm.
func TestSilentTail(t *testing.T) {
	const seeds = 100
	report, err := Campaign(t.Context(), Options{
		Start: 1, Seeds: seeds, KeepGoing: true, NoFloors: true,
		Config: plan.Config{Profile: plan.Vows, Replicas: -1,
			Without: []plan.Kind{plan.BareCopy, plan.FalseInit, plan.BadBit, plan.TwinMemory,
				plan.Impostor}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range report.Violations {
		t.Error(v.Failure(""))
	}
	for _, s := range []string{"the holder of a lease that the store had lost came back",
		"the server found that its store had lost a write"} {
		if n := report.Situations[s]; n < 3 {
			t.Errorf("the situation %q came about in %d of %d runs", s, n, seeds)
		}
	}
}
