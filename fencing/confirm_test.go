package fencing

import (
	"strings"
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// S11: settings with effects that no later change undoes have to be confirmed when a
// pool is created.
func TestCreationIsConfirmed(t *testing.T) {
	const day = 24 * time.Hour
	long, early := Confirmed{LongTimes: true}, Confirmed{EarlyOrigin: true}
	for _, c := range []struct {
		name   string
		change func(*Pool)
		with   Confirmed
		field  string // the refused field; "": the pool is created
	}{
		{"a day", func(p *Pool) { p.MaxTTL, p.Quarantine = day, day }, Confirmed{}, ""},
		{"a max_ttl above a day", func(p *Pool) { p.MaxTTL = day + 1 }, early, "max_ttl"},
		{"a TTL above a day", func(p *Pool) { p.TTL, p.MaxTTL, p.Quarantine = 2*day, 2*day, day }, Confirmed{}, "max_ttl"},
		{"a quarantine above a day", func(p *Pool) { p.Quarantine = day + 1 }, early, "quarantine"},
		{"long times, confirmed", func(p *Pool) { p.MaxTTL, p.Quarantine = MaxDuration, MaxDuration }, long, ""},
		{"long times beyond what there may be", func(p *Pool) { p.MaxTTL = MaxDuration + 1 }, long, "max_ttl"},
		{"no origin", func(p *Pool) { p.Layout.Origin, p.Layout.TimestampBits, p.Layout.NodeBits = 0, 42, 9; p.Last = 511 }, long, "origin_ms"},
		{"an origin in seconds", func(p *Pool) { p.Layout.Origin = 1_577_836_800 }, Confirmed{}, "origin_ms"},
		{"the last ms before 2000", func(p *Pool) { p.Layout.Origin = EarliestOrigin - 1 }, Confirmed{}, "origin_ms"},
		{"2000", func(p *Pool) { p.Layout.Origin = EarliestOrigin }, Confirmed{}, ""},
		{"no origin, confirmed", func(p *Pool) { p.Layout.Origin = 0 }, early, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newRig(t, 10*time.Second, smallPool(3))
			p := NewPool("other")
			c.change(&p)
			d, r := g.s.CreatePool(g.now, p, c.with)
			wantField(t, c.name, r, c.field)
			if c.field != "" {
				if d.Write != nil {
					t.Error("the refused pool has a Write, want none")
				}
				return
			}
			g.do(d.Write)
			// A request for a pool that exists needs no confirmation.
			if again, r := g.s.CreatePool(g.now, p, Confirmed{}); r != nil || again.Write != nil {
				t.Errorf("CreatePool once more: %+v, %v, want neither Write nor refusal", again, r)
			}
		})
	}
}

// S11: an update has to confirm only what it raises.
func TestRaisingIsConfirmed(t *testing.T) {
	const day = 24 * time.Hour
	p := smallPool(3)
	p.MaxTTL, p.Quarantine = 3*day, 2*day
	g := newRig(t, 10*time.Second, p)
	g.pass(time.Second)
	for _, c := range []struct {
		name   string
		change PoolChange
		field  string
	}{
		{"another TTL", PoolChange{TTL: ptr(20 * time.Second)}, ""},
		{"a wider range", PoolChange{First: ptr(snowflake.NodeID(0)), Last: ptr(snowflake.NodeID(7))}, ""},
		{"the same", PoolChange{MaxTTL: ptr(3 * day), Quarantine: ptr(2 * day)}, ""},
		{"max_ttl raised", PoolChange{MaxTTL: ptr(3*day + 1)}, "max_ttl"},
		{"quarantine raised", PoolChange{Quarantine: ptr(2*day + 1)}, "quarantine"},
		{"max_ttl lowered", PoolChange{MaxTTL: ptr(2 * day)}, ""},
		{"max_ttl raised to what it was", PoolChange{MaxTTL: ptr(3 * day)}, "max_ttl"},
		{"quarantine lowered", PoolChange{Quarantine: ptr(time.Hour)}, ""},
		{"quarantine raised to a day", PoolChange{Quarantine: ptr(day)}, ""},
		{"quarantine raised above it", PoolChange{Quarantine: ptr(day + 1)}, "quarantine"},
		{"both, confirmed", PoolChange{MaxTTL: ptr(MaxDuration), Quarantine: ptr(MaxDuration), Confirmed: Confirmed{LongTimes: true}}, ""},
	} {
		d, r := g.s.UpdatePool(g.now, DefaultPool, c.change)
		wantField(t, c.name, r, c.field)
		if (r != nil) == (d.Write != nil) && c.name != "the same" {
			t.Errorf("%s: refused with %v, and written: %v", c.name, r, d.Write != nil)
		}
		g.do(d.Write)
	}
}

// wantField checks which field a refusal is about, and that it says how to
// confirm what may be confirmed.
func wantField(t *testing.T, what string, r *Refusal, field string) {
	t.Helper()
	switch {
	case field == "":
		wantReason(t, what, r, "")
	case r == nil || r.Reason != ReasonInvalid || r.Field != field:
		t.Errorf("%s: %v, want %s refused", what, r, field)
	case !strings.Contains(r.Message, "confirm_") && !strings.Contains(r.Message, "out of range"):
		t.Errorf("%s: %q doesn't say how to confirm it", what, r.Message)
	}
}
