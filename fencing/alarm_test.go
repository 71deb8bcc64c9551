package fencing

import (
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// S12: a refusal says whether the request shows that the store has lost a write, or
// was made up.
func TestAlarms(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(3))
	g.lease("a")
	loaded := g.store.records[recordKey{DefaultPool, 0}].Epoch
	// A start with a base above what was loaded, as after a lost write.
	g.store.meta.FirstEpoch += 1000 * epochsPerSecond
	g.restart(10 * time.Second)
	g.leap(2 * time.Minute)
	now := g.lease("b") // node ID 1, or 0 again
	base := g.store.meta.FirstEpoch
	if now.Epoch < base {
		t.Fatalf("the new lease has epoch %d, below the base, %d", now.Epoch, base)
	}
	hour := Epoch(3600 * epochsPerSecond)
	for _, c := range []struct {
		what            string
		node            snowflake.NodeID
		epoch           Epoch
		forgotten, made bool
	}{
		{"the lease before", now.Node, loaded, false, false},
		{"one that is known", now.Node, now.Epoch - 1, now.Epoch-1 < base, false},
		{"above the record's", now.Node, now.Epoch + 1, true, false},
		{"between what was loaded and the base", now.Node, loaded + 1, true, false},
		{"the last below the base", now.Node, base - 2, true, false},
		{"a node ID never granted", 3, now.Epoch, true, false},
		{"as high as a store can be by now", now.Node, now.Epoch + hour, true, false},
		{"above all that a store can have granted", now.Node, now.Epoch + hour + 1, false, true},
		{"the highest", 3, 1<<64 - 1, false, true},
		{"a node ID beyond the range", 4, now.Epoch, false, true},
	} {
		ref := LeaseRef{Pool: DefaultPool, Node: c.node, Epoch: c.epoch, Instance: hashOf("forger")}
		_, r := g.s.Heartbeat(g.now, ref)
		wantReason(t, c.what, r, ReasonLeaseLost)
		if r.Forgotten != c.forgotten || r.MadeUp != c.made {
			t.Errorf("%s: forgotten %v, made up %v, want %v and %v", c.what, r.Forgotten, r.MadeUp,
				c.forgotten, c.made)
		}
		if _, r = g.s.Heartbeat(g.now, ref); r.Forgotten {
			t.Errorf("%s: the alarm was raised twice, want once", c.what)
		}
	}
}

// S12: made-up alarms, however many, suppress no real one, and the memory for alarms
// is bounded.
func TestAlarmsAreBounded(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(3))
	l := g.lease("a")
	raised := func(e Epoch) bool {
		_, r := g.s.Heartbeat(g.now,
			LeaseRef{Pool: DefaultPool, Node: l.Node, Epoch: e, Instance: hashOf("b")})
		return r.Forgotten
	}
	for i := range 3 * maxAlarms {
		if !raised(l.Epoch + 1000 + Epoch(i)) {
			t.Fatalf("alarm %d was not raised", i)
		}
	}
	if !raised(l.Epoch+1) || raised(l.Epoch+1) {
		t.Error("the real alarm after many made-up ones was not raised exactly once")
	}
	a := &g.s.pools[DefaultPool].alarms
	if len(a.raised) != maxAlarms || len(a.order) != maxAlarms {
		t.Errorf("the map remembers %d alarms and the ring %d, want %d", len(a.raised),
			len(a.order), maxAlarms)
	}
}
