package snowflake_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cirrus-id/cirrus/snowflake"
)

// twin implements the generator's rules a second time, as simply as possible: no
// positions, no closed forms, one ID at a time. It shares no code with the
// generator. Its times are whole half-nanoseconds, so half speed is exact.
type twin struct {
	steady time.Duration
	lead   snowflake.Millis
	leases int // started so far
	lease  twinLease
}

type twinLease struct {
	layout         snowflake.Layout
	node           snowflake.NodeID
	floor, ceiling snowflake.Millis
	deadline       time.Duration
	stopped        bool

	time, upper int64 // half ns since the origin

	used    bool
	lastTS  snowflake.Millis
	lastSeq snowflake.Sequence
}

const halfNsPerMs = 2_000_000

// pass lets steady time pass (G1).
func (w *twin) pass(d time.Duration) {
	w.steady += d
	l := &w.lease
	slow := int64(0) // ns at half speed
	if above := l.time - l.upper; above > 0 {
		slow = min(int64(d), above) // each brings the two a half ns closer
	}
	l.time += slow + 2*(int64(d)-slow)
	l.upper += 2 * int64(d)
}

// reply takes a time sample (G1).
func (w *twin) reply(s snowflake.TimeSample) {
	l := &w.lease
	lower := int64(s.ServerTime-l.layout.Origin)*halfNsPerMs + 2*int64(w.steady-s.ReceivedAt)
	l.upper = lower + 2*int64(s.RoundTrip)
	l.time = max(l.time, lower)
}

func (w *twin) begin(g snowflake.Grant) {
	w.leases++
	w.lease = twinLease{layout: g.Layout, node: g.Node, floor: g.Floor, ceiling: g.Ceiling,
		deadline: g.Deadline}
	w.reply(g.Time)
}

func (w *twin) extend(e snowflake.Extension) {
	w.lease.ceiling = max(w.lease.ceiling, e.Ceiling)
	w.lease.deadline = max(w.lease.deadline, e.Deadline)
	w.reply(e.Time)
}

var errWait = errors.New("wait")

// next returns what the next ID must be, an error, or errWait. It mints nothing.
func (w *twin) next() (snowflake.Parts, error) {
	l := &w.lease
	if w.leases == 0 || l.stopped || w.steady >= l.deadline {
		return snowflake.Parts{}, snowflake.ErrLeaseNotValid
	}
	now := l.layout.Origin + snowflake.Millis(l.time/halfNsPerMs)
	ts, seq := l.floor, snowflake.Sequence(0)
	if l.used {
		ts, seq = l.lastTS, l.lastSeq+1
		if seq>>l.layout.SequenceBits > 0 {
			ts, seq = ts+1, 0
		}
	}
	if ts < now {
		ts, seq = now, 0
	}
	switch {
	case (ts-l.layout.Origin)>>l.layout.TimestampBits > 0:
		return snowflake.Parts{}, snowflake.ErrLayoutExhausted
	case ts > l.ceiling:
		return snowflake.Parts{}, snowflake.ErrCeiling
	case ts-now > w.lead:
		return snowflake.Parts{}, errWait
	}
	return snowflake.Parts{Timestamp: ts, Node: l.node, Sequence: seq}, nil
}

// mint returns next and marks that ID as used.
func (w *twin) mint() (snowflake.Parts, error) {
	p, err := w.next()
	if err == nil {
		w.lease.used, w.lease.lastTS, w.lease.lastSeq = true, p.Timestamp, p.Sequence
	}
	return p, err
}

// pair drives a generator and its twin side by side.
type pair struct {
	*rapid.T
	clock *testClock
	gen   *snowflake.Generator
	lease *snowflake.Session
	twin  twin
	calls []*call // of Next and NextN, each started within the one before it
	// reading counts the calls that have loaded an allowance while another call
	// runs. No heartbeat comes then: they would not see what it allows.
	reading int
	late    []snowflake.Extension // replies that may come again
}

// call is a Next or NextN in progress.
type call struct {
	size  int
	fresh bool // no room was taken since time last moved
	want  []snowflake.Parts
}

// settle lets the twin mint what the call has room for at this instant, and
// says why it has room for no more.
func (p *pair) settle(c *call) error {
	for len(c.want) < c.size {
		parts, err := p.twin.mint()
		if err != nil {
			return err
		}
		c.want = append(c.want, parts)
	}
	return nil
}

// onNow runs as the generator reads its clock, between loading what the lease
// allows and choosing a position: another goroutine may do anything here.
func (p *pair) onNow() {
	if len(p.calls) == 0 {
		return
	}
	c := p.calls[len(p.calls)-1]
	if !c.fresh {
		_ = p.settle(c) // whether it goes on is seen after the reading
	}
	c.fresh = false
	if len(p.calls) > 2 || rapid.SampledFrom([]int{0, 1, 2, 3, 4, 5, 6, 7}).Draw(p.T,
		"at a reading") > 0 {
		return
	}
	p.reading++
	defer func() { p.reading-- }()
	if rapid.Bool().Draw(p.T, "stop") {
		p.stop()
	} else {
		p.mint()
	}
}

// onSleep runs as the generator waits (G3): a wait must be right, and short.
func (p *pair) onSleep(d time.Duration) {
	c := p.calls[len(p.calls)-1]
	if err := p.settle(c); !errors.Is(err, errWait) {
		p.Fatalf("the generator sleeps, but the twin says %v with %d of %d minted", err,
			len(c.want), c.size)
	}
	if d <= 0 || d > 5*time.Millisecond {
		p.Fatalf("the generator sleeps for %s, want more than 0 and at most 5 ms", d)
	}
	switch rapid.SampledFrom([]int{0, 1, 2, 3, 4, 5, 6, 7}).Draw(p.T, "while it sleeps") {
	case 0:
		p.stop()
	case 1:
		if p.reading == 0 {
			p.heartbeat()
		}
	case 2:
		if len(p.calls) < 3 {
			p.mint()
		}
	case 3:
		d = d * 20 // it wakes up late
	case 4:
		d = d/2 + 2 // or early
	}
	p.pass(d)
	c.fresh = true
}

// pass lets time pass, by whole pairs of ns: half speed is exact then.
func (p *pair) pass(d time.Duration) {
	d = (d + 1) &^ 1
	p.clock.now += d
	p.twin.pass(d)
}

// quietly runs f without the hook on readings of the clock, for calls that mint
// nothing.
func (p *pair) quietly(f func()) {
	hook := p.clock.onNow
	p.clock.onNow = nil
	f()
	p.clock.onNow = hook
}

// mint calls Next or NextN and compares.
func (p *pair) mint() {
	size := rapid.SampledFrom([]int{1, 1, 1, 2, 3, 9, 40}).Draw(p.T, "IDs")
	c := &call{size: size, fresh: true}
	p.calls = append(p.calls, c)
	ids := make([]snowflake.ID, size)
	var n int
	var err error
	if size == 1 {
		if ids[0], err = p.gen.Next(); err == nil {
			n = 1
		}
	} else {
		n, err = p.gen.NextN(ids)
	}
	p.calls = p.calls[:len(p.calls)-1]
	want := p.settle(c)

	if !errors.Is(err, want) || (err == nil) != (n == size) {
		p.Fatalf("%d of %d IDs and error %v, want error %v", n, size, err, want)
	}
	var got []snowflake.Parts
	for _, id := range ids[:n] {
		parts, err := p.twin.lease.layout.Decompose(id)
		if err != nil {
			p.Fatal(err)
		}
		got = append(got, parts)
	}
	if fmt.Sprint(got) != fmt.Sprint(c.want) {
		p.Fatalf("minted %v, want %v", got, c.want)
	}
}

// sample draws what a reply may say about server time, some of it far off.
func (p *pair) sample(ceiling snowflake.Millis) snowflake.TimeSample {
	l := &p.twin.lease
	now := l.layout.Origin + snowflake.Millis(l.time/halfNsPerMs)
	return snowflake.TimeSample{
		ServerTime: min(max(l.layout.Origin,
			now+snowflake.Millis(rapid.SampledFrom([]int{-60, -9, -1, 0, 1, 9, 60}).Draw(p.T,
				"server time off"))), ceiling),
		RoundTrip: rapid.SampledFrom([]time.Duration{0, 1, 999_999, 5 * ms, 80 * ms}).Draw(p.T,
			"round trip"),
		ReceivedAt: p.clock.now - min(p.clock.now,
			rapid.SampledFrom([]time.Duration{0, 0, 1, 3_000_001}).Draw(p.T, "age")),
	}
}

func (p *pair) heartbeat() {
	if p.lease == nil {
		return
	}
	var e snowflake.Extension
	if len(p.late) > 0 && rapid.IntRange(0, 3).Draw(p.T, "late or doubled") == 0 {
		e = rapid.SampledFrom(p.late).Draw(p.T, "reply")
	} else {
		e.Ceiling = p.twin.lease.ceiling + snowflake.Millis(
			rapid.SampledFrom([]int{-20, 0, 5, 40, 300}).Draw(p.T, "ceiling"))
		e.Ceiling = max(e.Ceiling, p.twin.lease.layout.Origin)
		e.Deadline = p.clock.now + rapid.SampledFrom([]time.Duration{-20 * ms, 1, 30 * ms, 120 * ms,
			400 * ms}).Draw(p.T, "deadline")
		e.Time = p.sample(e.Ceiling)
		p.late = append(p.late, e)
	}
	p.quietly(func() {
		if err := p.lease.Extend(e); err != nil {
			p.Fatal(err)
		}
	})
	p.twin.extend(e)
}

func (p *pair) stop() {
	if p.lease == nil {
		return
	}
	l := &p.twin.lease
	l.stopped = true
	last, used := p.lease.Stop()
	want := l.floor - 1
	if l.used {
		want = l.lastTS
	}
	if last != want || used != l.used {
		p.Fatalf("Stop = %d, %t; want %d, %t", last, used, want, l.used)
	}
}

func (p *pair) begin() {
	// Deadline and ceiling come near, so that both are met often; some leases
	// come near the end of their layout.
	layout := snowflake.Layout{
		Origin:        snowflake.Millis(rapid.IntRange(0, 2000).Draw(p.T, "origin")),
		TimestampBits: uint8(rapid.IntRange(32, 40).Draw(p.T, "timestamp bits")),
		NodeBits:      uint8(rapid.IntRange(1, 20).Draw(p.T, "node bits")),
		SequenceBits:  uint8(rapid.IntRange(1, 3).Draw(p.T, "sequence bits")),
	}
	server := layout.Origin + snowflake.Millis(rapid.IntRange(0, 1000).Draw(p.T, "server time"))
	if rapid.IntRange(0, 3).Draw(p.T, "near the end") == 0 {
		server = layout.LastTimestamp() - 50
	}
	floor := min(server+snowflake.Millis(rapid.IntRange(0, 20).Draw(p.T, "floor")),
		layout.LastTimestamp())
	g := snowflake.Grant{
		Layout: layout, Node: snowflake.NodeID(rapid.Uint32Range(0, 1).Draw(p.T, "node")),
		Floor: floor,
		Ceiling: floor + snowflake.Millis(rapid.SampledFrom([]int{0, 3, 60, 300}).Draw(p.T,
			"window")),
		Deadline: p.clock.now + rapid.SampledFrom([]time.Duration{0, 30 * ms, 200 * ms}).Draw(p.T,
			"deadline"),
		Time: snowflake.TimeSample{ServerTime: server, ReceivedAt: p.clock.now},
	}
	if p.lease != nil && rapid.Bool().Draw(p.T, "in the same pool") {
		g.Layout, g.Node = p.twin.lease.layout, p.twin.lease.node
		g.Floor = max(layout.Origin,
			p.twin.lease.lastTS) + snowflake.Millis(rapid.IntRange(0, 3).Draw(p.T, "later"))
		g.Floor = min(max(g.Floor, g.Layout.Origin), g.Layout.LastTimestamp())
		g.Ceiling, g.Time.ServerTime = g.Floor+100, g.Floor
	}
	old := p.twin.lease
	var want error
	switch {
	case p.lease != nil && !old.stopped:
		want = snowflake.ErrLeaseRunning
	case old.used && old.layout == g.Layout && old.node == g.Node && g.Floor <= old.lastTS:
		want = snowflake.ErrSameLease
	}
	p.quietly(func() {
		l, err := p.gen.Begin(g)
		if !errors.Is(err, want) {
			p.Fatalf("Begin: %v, want %v", err, want)
		}
		if err == nil {
			p.lease, p.late = l, nil
			p.twin.begin(g)
		}
	})
}

func TestGeneratorAgainstTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lead := rapid.SampledFrom([]snowflake.Millis{0, 1, 5, 30, 1000}).Draw(t, "lead")
		p := &pair{T: t, clock: &testClock{}, twin: twin{lead: lead}}
		opts := snowflake.Options{MaxLead: time.Duration(lead) * time.Millisecond}
		if lead == 0 {
			opts.MaxLead = snowflake.NoLead
		}
		p.gen = snowflake.NewGenerator(p.clock, opts)
		p.clock.onNow, p.clock.onSleep = p.onNow, p.onSleep
		p.begin()
		for range 100 {
			p.act()
		}
	})
}

// act draws and does one action; minting may draw others while it runs.
func (p *pair) act() {
	if p.twin.lease.stopped && rapid.Bool().Draw(p.T, "anew") {
		p.begin()
	}
	switch rapid.SampledFrom([]string{
		"mint", "mint", "mint", "mint", "pass", "pass", "heartbeat", "heartbeat", "begin", "stop",
	}).Draw(p.T, "action") {
	case "mint":
		p.mint()
	case "pass":
		p.pass(
			rapid.SampledFrom([]time.Duration{1, 999_999, ms, 1_000_001, 7 * ms, 20 * ms}).Draw(p.T,
				"time"))
	case "heartbeat":
		p.heartbeat()
	case "begin":
		p.begin()
	case "stop":
		if rapid.IntRange(0, 3).Draw(p.T, "really") == 0 {
			p.stop()
		}
	}
}
