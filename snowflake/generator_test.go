package snowflake_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// TestGeneratorTime checks the generator's time after replies and some steady
// time (G1).
func TestGeneratorTime(t *testing.T) {
	// A step lets steady time pass, and then a reply arrive if it has one:
	// server time and round trip, in ms after t0.
	type step struct {
		pass        time.Duration
		reply       bool
		server, rtt int64
		want        int64 // ms after t0
	}
	for _, tc := range []struct {
		name  string
		steps []step
	}{
		{"full speed without a reply", []step{{pass: 250 * ms, want: 250}, {pass: 250 * ms, want: 500}}},
		{"jumps up to the lower bound", []step{{reply: true, server: 300, rtt: 50, want: 300}, {pass: 10 * ms, want: 310}}},
		{"stays between the bounds", []step{{pass: 100 * ms, reply: true, server: 80, rtt: 40, want: 100}, {pass: 10 * ms, want: 110}}},
		{"half speed above the upper bound", []step{
			{pass: 100 * ms, reply: true, server: 50, rtt: 10, want: 100}, // 40 ms above the upper bound
			{pass: 20 * ms, want: 110},
			{pass: 60 * ms, want: 140}, // the upper bound has reached it
			{pass: 60 * ms, want: 200}, // full speed again
		}},
		{"never goes back", []step{{pass: 500 * ms, reply: true, server: 1, rtt: 0, want: 500}, {pass: 2 * ms, want: 501}}},
		{"half speed goes on with the next reply", []step{
			{pass: 100 * ms, reply: true, server: 0, rtt: 0, want: 100},
			{pass: 100 * ms, reply: true, server: 100, rtt: 0, want: 150},
			{pass: 100 * ms, want: 200},
			{pass: 100 * ms, want: 300},
		}},
		{"a wider reply ends half speed", []step{
			{pass: 100 * ms, reply: true, server: 0, rtt: 0, want: 100},
			{reply: true, server: 0, rtt: 200, want: 100},
			{pass: 100 * ms, want: 200},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &testClock{now: time.Hour}
			g, l := started(t, c, snowflake.Options{}, nil)
			for i, s := range tc.steps {
				c.now += s.pass
				if s.reply {
					extend(t, l, snowflake.Extension{Ceiling: t0 + 5000, Time: snowflake.TimeSample{
						ServerTime: t0 + snowflake.Millis(s.server),
						RoundTrip:  time.Duration(s.rtt) * ms, ReceivedAt: c.now}})
				}
				if got := int64(mint(t, g).Timestamp - t0); got != s.want {
					t.Fatalf("step %d: time is t0 + %d ms, want %d", i+1, got, s.want)
				}
			}
		})
	}
}

// TestGeneratorTimeOfAgedReply checks that the time since a reply's arrival is
// added to its server time (G1).
func TestGeneratorTimeOfAgedReply(t *testing.T) {
	c := &testClock{}
	g, l := started(t, c, snowflake.Options{}, nil)
	received := c.now
	c.now += 100 * ms
	extend(t, l, snowflake.Extension{Ceiling: t0 + 5000,
		Time: snowflake.TimeSample{ServerTime: t0 + 30, ReceivedAt: received}})
	if got := mint(t, g).Timestamp; got != t0+130 {
		t.Errorf("time is t0 + %d ms, want t0 + 130 ms", got-t0)
	}
}

// TestNextIsSmallest checks that Next mints the smallest (timestamp, sequence) that
// is above the last ID, and at or above the generator's time and the floor (G2).
func TestNextIsSmallest(t *testing.T) {
	c := &testClock{}
	g, _ := started(t, c, snowflake.Options{}, func(grant *snowflake.Grant) { grant.Floor += 3 })
	want := func(ts snowflake.Millis, seq snowflake.Sequence) {
		t.Helper()
		if got := (mint(t, g)); got != (snowflake.Parts{Timestamp: t0 + ts, Node: 5,
			Sequence: seq}) {
			t.Fatalf("minted %+v, want timestamp t0 + %d, sequence %d, node 5", got, ts, seq)
		}
	}
	want(3, 0) // the floor is above the time
	want(3, 1)
	c.now += 3 * ms
	want(3, 2) // the time has reached the last ID's: nothing to skip
	c.now += 7 * ms
	want(10, 0) // the time is above the last ID
	for seq := snowflake.Sequence(1); seq <= small.MaxSequence(); seq++ {
		want(10, seq)
	}
	want(11, 0) // G3: ahead of the time
	c.now += ms
	want(11, 1)
}

// TestNextRefuses checks that limits of timestamps are inclusive, that the deadline
// is exclusive, and that an error changes nothing (G2).
func TestNextRefuses(t *testing.T) {
	for _, tc := range []struct {
		name string
		edit func(*snowflake.Grant)
		pass time.Duration // up to the last moment at which minting works
		more time.Duration // and beyond it
		want error
	}{
		{"deadline", nil, time.Second - 1, 1, snowflake.ErrLeaseNotValid},
		{"ceiling", func(g *snowflake.Grant) { g.Ceiling = t0 + 100 }, 101*ms - 1, 1, snowflake.ErrCeiling},
		{"layout", func(g *snowflake.Grant) {
			end := small.LastTimestamp()
			g.Floor, g.Ceiling, g.Time.ServerTime = end-100, end+1000, end-100
		}, 101*ms - 1, 1, snowflake.ErrLayoutExhausted},
		{"layout before ceiling", func(g *snowflake.Grant) {
			end := small.LastTimestamp()
			g.Floor, g.Ceiling, g.Time.ServerTime = end-100, end-50, end-100
		}, 51*ms - 1, 50 * ms, snowflake.ErrCeiling},
		{"layout behind ceiling", func(g *snowflake.Grant) {
			end := small.LastTimestamp()
			g.Floor, g.Ceiling, g.Time.ServerTime = end-100, end-50, end-100
		}, 51*ms - 1, 51 * ms, snowflake.ErrLayoutExhausted},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &testClock{}
			g, l := started(t, c, snowflake.Options{}, tc.edit)
			c.now += tc.pass
			before := mint(t, g)
			c.now += tc.more
			for range 3 {
				if id, err := g.Next(); !errors.Is(err, tc.want) || id != 0 {
					t.Fatalf("Next = %d, %v; want 0, %v", id, err, tc.want)
				}
				if n, err := g.NextN(make([]snowflake.ID, 2)); !errors.Is(err, tc.want) || n != 0 {
					t.Fatalf("NextN = %d, %v; want 0, %v", n, err, tc.want)
				}
			}
			c.now -= tc.more // only a test's clock may go back; it shows the state
			if got := mint(t, g); got.Timestamp != before.Timestamp ||
				got.Sequence != before.Sequence+1 {
				t.Errorf("after the errors minted %+v, want the ID after %+v", got, before)
			}
			if last, used := l.Stop(); last != before.Timestamp || !used {
				t.Errorf("Stop = %d, %t; want %d, true", last, used, before.Timestamp)
			}
		})
	}
}

// TestCeilingHoldsForIDsAheadOfTime checks that the ceiling bounds the ID's
// timestamp, not the generator's time (G4).
func TestCeilingHoldsForIDsAheadOfTime(t *testing.T) {
	c := &testClock{}
	g, l := started(t, c, snowflake.Options{},
		func(grant *snowflake.Grant) { grant.Ceiling = t0 + 2 })
	ids := make([]snowflake.ID, 20)
	n, err := g.NextN(ids)
	if n != 12 || !errors.Is(err, snowflake.ErrCeiling) {
		t.Fatalf("NextN = %d, %v; want the 12 IDs of 3 ms, and ErrCeiling", n, err)
	}
	if p, _ := small.Decompose(ids[n-1]); p.Timestamp != t0+2 || p.Sequence != 3 {
		t.Errorf("the last ID is %+v, want timestamp t0 + 2, sequence 3", p)
	}
	extend(t, l, snowflake.Extension{Ceiling: t0 + 3, Time: snowflake.TimeSample{ServerTime: t0}})
	if got := mint(t, g); got.Timestamp != t0+3 || got.Sequence != 0 {
		t.Errorf("after the ceiling was raised minted %+v, want timestamp t0 + 3, sequence 0", got)
	}
}

// TestLead checks that a burst runs ahead by max lead and then waits in short
// sleeps (G3).
func TestLead(t *testing.T) {
	for _, tc := range []struct {
		name  string
		lead  time.Duration
		burst int // IDs without a wait
	}{
		{"none", snowflake.NoLead, 4},
		{"part of a millisecond is none", ms - 1, 4},
		{"3 ms", 3 * ms, 16},
		{"default", 0, 4004},
		{"beyond all bounds", math.MaxInt64, 24004},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &testClock{}
			g, _ := started(t, c, snowflake.Options{MaxLead: tc.lead},
				func(grant *snowflake.Grant) {
					grant.Ceiling, grant.Deadline = t0+6000, time.Hour
				})
			if n, err := g.NextN(make([]snowflake.ID, tc.burst)); n != tc.burst || err != nil ||
				len(c.naps) > 0 {
				t.Fatalf("NextN = %d, %v after %d sleeps; want %d without a sleep", n, err,
					len(c.naps), tc.burst)
			}
			if tc.lead == math.MaxInt64 {
				return // at the ceiling
			}
			got := mint(t, g)
			if len(c.naps) == 0 || c.now < ms {
				t.Errorf("minted %+v at %s, want a wait until 1 ms", got, c.now)
			}
			for _, nap := range c.naps {
				if nap <= 0 || nap > 5*ms {
					t.Errorf("a sleep of %s, want more than 0 and at most 5 ms", nap)
				}
			}
		})
	}
}

// TestWaitNotices checks that a call which has waited checks all limits again (G3).
func TestWaitNotices(t *testing.T) {
	for _, tc := range []struct {
		name   string
		during func(*testing.T, *testClock, *snowflake.Session)
		want   error
	}{
		{"deadline", func(t *testing.T, c *testClock, l *snowflake.Session) { c.now += time.Second }, snowflake.ErrLeaseNotValid},
		{"stop", func(t *testing.T, c *testClock, l *snowflake.Session) { c.now += ms; l.Stop() }, snowflake.ErrLeaseNotValid},
		{"ceiling", func(t *testing.T, c *testClock, l *snowflake.Session) {
			extend(t, l, snowflake.Extension{Ceiling: t0 + 1500, Deadline: time.Hour,
				Time: snowflake.TimeSample{ServerTime: t0 + 1500}})
			c.now += ms
		}, snowflake.ErrCeiling},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &testClock{}
			g, l := started(t, c, snowflake.Options{MaxLead: snowflake.NoLead}, nil)
			if _, err := g.NextN(make([]snowflake.ID, 4)); err != nil {
				t.Fatal(err)
			}
			c.onSleep = func(time.Duration) { c.onSleep = nil; tc.during(t, c, l) }
			if id, err := g.Next(); !errors.Is(err, tc.want) {
				t.Errorf("Next = %d, %v; want %v", id, err, tc.want)
			}
		})
	}
}

// TestExtendOnlyForward checks that deadline and ceiling only move forward (C7).
func TestExtendOnlyForward(t *testing.T) {
	c := &testClock{}
	g, l := started(t, c, snowflake.Options{}, nil)
	extend(t, l, snowflake.Extension{Ceiling: t0 + 10, Deadline: ms,
		Time: snowflake.TimeSample{ServerTime: t0}})
	c.now = 900 * ms
	if got := mint(t, g); got.Timestamp != t0+900 {
		t.Errorf("minted %+v, want t0 + 900", got)
	}
	// C4: past the deadline a good heartbeat makes the lease live again.
	c.now = 1500 * ms
	if _, err := g.Next(); !errors.Is(err, snowflake.ErrLeaseNotValid) {
		t.Errorf("past the deadline Next returned error %v, want ErrLeaseNotValid", err)
	}
	extend(t, l, snowflake.Extension{Ceiling: t0 + 2500, Deadline: 2500 * ms,
		Time: snowflake.TimeSample{ServerTime: t0 + 1500, ReceivedAt: c.now}})
	if got := mint(t, g); got.Timestamp != t0+1500 {
		t.Errorf("minted %+v, want t0 + 1500", got)
	}
}

// TestLeaseAfterLease checks that a new lease has a new session, and that a stopped
// one stays stopped (G4).
func TestLeaseAfterLease(t *testing.T) {
	c := &testClock{}
	g := snowflake.NewGenerator(c, snowflake.Options{})
	if _, err := g.Next(); !errors.Is(err, snowflake.ErrLeaseNotValid) {
		t.Errorf("before the first lease Next returned error %v, want ErrLeaseNotValid", err)
	}
	l, err := g.Begin(grantAt(c, small, t0+500))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Begin(grantAt(c, small, t0+9000)); !errors.Is(err, snowflake.ErrLeaseRunning) {
		t.Errorf("Begin without a Stop: error %v, want ErrLeaseRunning", err)
	}
	if last, used := l.Stop(); last != t0+499 || used {
		t.Errorf("Stop of an unused lease = %d, %t; want the floor − 1, false", last, used)
	}

	l, err = g.Begin(grantAt(c, small, t0+500)) // nothing was used
	if err != nil {
		t.Fatal(err)
	}
	mint(t, g)
	for range 2 {
		if last, used := l.Stop(); last != t0+500 || !used {
			t.Errorf("Stop = %d, %t; want %d, true", last, used, t0+500)
		}
		if _, err := g.Next(); !errors.Is(err, snowflake.ErrLeaseNotValid) {
			t.Errorf("after Stop Next returned error %v, want ErrLeaseNotValid", err)
		}
		extend(t, l, snowflake.Extension{Ceiling: t0 + 9000, Deadline: time.Hour,
			Time: snowflake.TimeSample{ServerTime: t0}})
	}

	if _, err := g.Begin(grantAt(c, small, t0+500)); !errors.Is(err, snowflake.ErrSameLease) {
		t.Errorf("Begin of the same lease again: error %v, want ErrSameLease", err)
	}
	// Another node ID may have a lower window, and nothing remains of the last session.
	grant := grantAt(c, small, t0)
	grant.Node = 6
	if _, err = g.Begin(grant); err != nil {
		t.Fatal(err)
	}
	if got := mint(t, g); got != (snowflake.Parts{Timestamp: t0, Node: 6}) {
		t.Errorf("the first ID of the new lease is %+v, want timestamp t0, node ID 6, sequence 0",
			got)
	}
}

// TestCallAcrossLeases checks that a Next during which Stop and Begin are called
// mints under the new lease or not at all (G4).
func TestCallAcrossLeases(t *testing.T) {
	c := &testClock{}
	g, l := started(t, c, snowflake.Options{}, nil)
	c.onNow = func() {
		c.onNow = nil
		l.Stop()
		grant := grantAt(c, small, t0+1001)
		grant.Node = 9
		if _, err := g.Begin(grant); err != nil {
			t.Error(err)
		}
	}
	if id, err := g.Next(); err == nil {
		if p, _ := small.Decompose(id); p.Node != 9 {
			t.Errorf("minted %+v under a lease that was stopped", p)
		}
	} else if !errors.Is(err, snowflake.ErrLeaseNotValid) {
		t.Error(err)
	}
	if got := mint(t, g); got.Node != 9 {
		t.Errorf("minted %+v, want node 9", got)
	}
}

// TestMalformed checks that malformed grants and extensions are refused with the
// value quoted, and change nothing.
func TestMalformed(t *testing.T) {
	c := &testClock{now: time.Minute}
	times := []struct {
		name string
		edit func(*snowflake.TimeSample)
		want string
	}{
		{"negative round trip", func(s *snowflake.TimeSample) { s.RoundTrip = -1 }, "-1ns"},
		{"received before the clock began", func(s *snowflake.TimeSample) { s.ReceivedAt = -1 }, "-1ns"},
		{"received in the future", func(s *snowflake.TimeSample) { s.ReceivedAt = time.Hour }, "1h0m0s"},
		{"server time below the origin", func(s *snowflake.TimeSample) { s.ServerTime = small.Origin - 1 }, "1799999998999"},
		{"server time at the start of time", func(s *snowflake.TimeSample) { s.ServerTime = math.MinInt64 }, "-9223372036854775808"},
		{"server time above the ceiling", func(s *snowflake.TimeSample) { s.ServerTime = t0 + 1001 }, "1800000001001"},
	}
	for _, tc := range times {
		t.Run("grant/"+tc.name, func(t *testing.T) {
			g := snowflake.NewGenerator(c, snowflake.Options{})
			grant := grantAt(c, small, t0)
			tc.edit(&grant.Time)
			_, err := g.Begin(grant)
			wantError(t, err, tc.want)
			if _, err := g.Next(); !errors.Is(err, snowflake.ErrLeaseNotValid) {
				t.Errorf("after the refusal Next returned error %v, want ErrLeaseNotValid", err)
			}
		})
		t.Run("extension/"+tc.name, func(t *testing.T) {
			g, l := started(t, c, snowflake.Options{}, func(g *snowflake.Grant) { g.Ceiling = t0 })
			e := snowflake.Extension{Ceiling: t0 + 1000, Deadline: time.Hour,
				Time: snowflake.TimeSample{ServerTime: t0 + 500, ReceivedAt: c.now}}
			tc.edit(&e.Time)
			wantError(t, l.Extend(e), tc.want)
			if n, err := g.NextN(make([]snowflake.ID, 10)); n != 4 ||
				!errors.Is(err, snowflake.ErrCeiling) {
				t.Errorf("after the refusal NextN = %d, %v; want 4 and the old ceiling", n, err)
			}
		})
	}
	for _, tc := range []struct {
		name string
		edit func(*snowflake.Grant)
		want string
	}{
		{"layout", func(g *snowflake.Grant) { g.Layout.SequenceBits = 0 }, "0 sequence bits"},
		{"node ID", func(g *snowflake.Grant) { g.Node = 16 }, "node ID 16"},
		{"floor below the origin", func(g *snowflake.Grant) { g.Floor = small.Origin - 1 }, "1799999998999"},
		{"floor above the layout", func(g *snowflake.Grant) { g.Floor = math.MaxInt64; g.Ceiling = math.MaxInt64 }, "9223372036854775807"},
		{"ceiling below the floor", func(g *snowflake.Grant) { g.Ceiling = t0 - 1 }, "1799999999999"},
		{"server time in another age", func(g *snowflake.Grant) { g.Ceiling = math.MaxInt64; g.Time.ServerTime = t0 + 1<<44 }, "292 years"},
	} {
		t.Run("grant/"+tc.name, func(t *testing.T) {
			grant := grantAt(c, small, t0)
			tc.edit(&grant)
			_, err := snowflake.NewGenerator(c, snowflake.Options{}).Begin(grant)
			wantError(t, err, tc.want)
		})
	}
}

// TestExtremes checks that extreme values in well-formed grants lead to errors,
// never to an ID that breaks a rule.
func TestExtremes(t *testing.T) {
	wide := snowflake.Layout{TimestampBits: 45, NodeBits: 1, SequenceBits: 17}
	narrow := snowflake.Layout{TimestampBits: 32, NodeBits: 9, SequenceBits: 22}
	const farthest = snowflake.Millis(math.MaxInt64 / 1_000_000)
	for _, tc := range []struct {
		name string
		edit func(*snowflake.Grant)
		now  time.Duration
		want error
	}{
		{"time far above a narrow layout", func(g *snowflake.Grant) {
			g.Layout, g.Floor, g.Time.ServerTime = narrow, 1, farthest
		}, math.MaxInt64 - 1, snowflake.ErrLayoutExhausted},
		{"time whose position wraps around to the floor's", func(g *snowflake.Grant) {
			g.Layout, g.Floor, g.Time.ServerTime = narrow, 1, 1<<42+5
		}, 0, snowflake.ErrLayoutExhausted},
		{"time far above the ceiling", func(g *snowflake.Grant) {
			g.Layout, g.Floor, g.Ceiling, g.Time.ServerTime = wide, 1, farthest, farthest
		}, math.MaxInt64 - 1, snowflake.ErrCeiling},
		{"an endless round trip", func(g *snowflake.Grant) {
			g.Layout, g.Floor, g.Time.ServerTime, g.Time.RoundTrip = wide, 1, farthest,
				math.MaxInt64
		}, math.MaxInt64 - 1, nil},
		{"a deadline in the far past", func(g *snowflake.Grant) { g.Deadline = math.MinInt64 }, 0, snowflake.ErrLeaseNotValid},
		{"a floor far above the time", func(g *snowflake.Grant) {
			g.Layout, g.Floor, g.Time.ServerTime, g.Deadline = wide, 1<<45-1, 0, time.Second
		}, 0, snowflake.ErrLeaseNotValid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &testClock{}
			g, _ := started(t, c, snowflake.Options{}, func(grant *snowflake.Grant) {
				grant.Ceiling, grant.Deadline = math.MaxInt64, math.MaxInt64
				grant.Node = 1
				tc.edit(grant)
			})
			c.now = tc.now
			if id, err := g.Next(); !errors.Is(err, tc.want) {
				t.Errorf("Next = %d, %v; want %v", id, err, tc.want)
			}
		})
	}
}

func TestNextDoesNotAllocate(t *testing.T) {
	c := &testClock{}
	g, l := started(t, c, snowflake.Options{},
		func(grant *snowflake.Grant) { grant.Ceiling = t0 + 1e9 })
	ids := make([]snowflake.ID, 8)
	mints := func() {
		_, _ = g.Next()
		_, _ = g.NextN(ids)
		c.now += ms // no need to wait
		c.naps = c.naps[:0]
	}
	if n := testing.AllocsPerRun(300, mints); n != 0 {
		t.Errorf("%v allocations while minting, want 0", n)
	}
	l.Stop()
	if n := testing.AllocsPerRun(300, mints); n != 0 {
		t.Errorf("%v allocations while refusing, want 0", n)
	}
}

func extend(t *testing.T, l *snowflake.Session, e snowflake.Extension) {
	t.Helper()
	if err := l.Extend(e); err != nil {
		t.Fatalf("Extend: %v", err)
	}
}

func wantError(t *testing.T, err error, quoting string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), quoting) {
		t.Errorf("error is %v, want one that quotes %q", err, quoting)
	}
}
