package fencing_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

// plainLayout has its origin at 0, so that times in tests are short.
var plainLayout = snowflake.Layout{TimestampBits: 41, NodeBits: 10, SequenceBits: 12}

// evenJitter is the middle: intervals are what they are on average.
const evenJitter fencing.Jitter = 1 << 15

// TestHolderTranscripts plays the files of testdata/holder. Calls are numbered
// as they are sent; each step shows what the holder asks for and how it stands.
func TestHolderTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/holder", func(t *testing.T, path string) {
		var s script
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			return s.step(t, d)
		})
	})
}

// script is a holder and the calls that it has sent.
type script struct {
	holder fencing.Holder
	calls  []fencing.Call
}

func (s *script) step(t *testing.T, d *datadriven.TestData) string {
	at := duration(t, d, "at", 0)
	h := &s.holder
	var acts []fencing.Action
	switch d.Cmd {
	case "holder":
		s.calls, s.holder = nil, fencing.NewHolder(fencing.HolderConfig{
			App: "app", TTL: duration(t, d, "ttl", 0), Wait: duration(t, d, "wait", 0),
			NoReacquire: d.HasArg("no-reacquire"),
		})
	case "acquire":
		var instance string
		d.ScanArgs(t, "instance", &instance)
		acts = h.Acquire(at, fencing.InstanceID(instance))
	case "tick":
		acts = h.Tick(at, evenJitter)
	case "answer":
		acts = h.Answered(at, s.answer(t, d), evenJitter)
	case "release":
		acts = h.Release(at)
	case "stopped":
		var last int64
		d.MaybeScanArgs(t, "last", &last)
		acts = h.Stopped(at, snowflake.Millis(last), d.HasArg("last"))
	case "abandon":
		acts = h.Abandon(at)
	default:
		d.Fatalf(t, "unknown command %q", d.Cmd)
	}
	if err := h.Check(); err != nil {
		d.Fatalf(t, "invariant: %v", err)
	}
	return s.show(acts, at)
}

// answer is "answer call=N VERDICT …". A good one brings the lease that the
// arguments name: by default node ID 3, epoch 1, 30 s, the window from 1000 on.
func (s *script) answer(t *testing.T, d *datadriven.TestData) fencing.Answer {
	n, node, epoch, now, floor := 0, uint32(3), uint64(1), int64(1000), int64(1000)
	d.ScanArgs(t, "call", &n)
	a := fencing.Answer{Call: s.calls[n-1], RetryAfter: duration(t, d, "retry-after", 0)}
	for _, v := range []fencing.Verdict{fencing.AnswerGood, fencing.AnswerLost,
		fencing.AnswerRefused, fencing.AnswerFailed} {
		if d.HasArg(v.String()) {
			a.Verdict = v
		}
	}
	d.MaybeScanArgs(t, "node", &node)
	d.MaybeScanArgs(t, "epoch", &epoch)
	d.MaybeScanArgs(t, "floor", &floor)
	now = max(now, floor)
	d.MaybeScanArgs(t, "time", &now)
	ttl := duration(t, d, "lease-ttl", 30*time.Second)
	if a.Verdict == fencing.AnswerGood && a.Call.Kind != fencing.CallRelease {
		a.Lease = fencing.Lease{
			Pool: fencing.DefaultPool, Node: snowflake.NodeID(node), Epoch: fencing.Epoch(epoch),
			App: "app", TTL: ttl,
			ServerTime: snowflake.Millis(now), Floor: snowflake.Millis(floor),
			Ceiling: snowflake.Millis(now).Add(ttl),
			Layout:  plainLayout,
		}
	}
	return a
}

func duration(t *testing.T, d *datadriven.TestData, name string,
	otherwise time.Duration) time.Duration {
	if !d.HasArg(name) {
		return otherwise
	}
	var text string
	d.ScanArgs(t, name, &text)
	v, err := time.ParseDuration(text)
	if err != nil {
		d.Fatalf(t, "%s: %v", name, err)
	}
	return v
}

func (s *script) show(acts []fencing.Action, at time.Duration) string {
	var b strings.Builder
	for _, a := range acts {
		switch a.Kind {
		case fencing.ActSend:
			s.calls = append(s.calls, a.Call)
			fmt.Fprintf(&b, "send #%d %s\n", len(s.calls), showCall(a.Call))
		case fencing.ActTell:
			fmt.Fprintf(&b, "tell %v\n", a.Change)
		case fencing.ActBegin, fencing.ActExtend, fencing.ActStop:
			fmt.Fprintf(&b, "%v node %d epoch %d [%d, %d] until %v\n", a.Kind, a.Lease.Node,
				a.Lease.Epoch, a.Lease.Floor, a.Lease.Ceiling, a.Deadline)
		default:
			fmt.Fprintf(&b, "%v\n", a.Kind)
		}
	}
	fmt.Fprintf(&b, "%v", s.holder.Phase())
	if s.holder.Live(at) {
		fmt.Fprintf(&b, ", live until %v", s.holder.Deadline())
	}
	if next, ok := s.holder.Next(); ok {
		fmt.Fprintf(&b, ", next at %v", next.Round(time.Millisecond))
	}
	return b.String() + "\n"
}

func showCall(c fencing.Call) string {
	switch c.Kind {
	case fencing.CallAcquire:
		return fmt.Sprintf("acquire as %s", c.Instance)
	case fencing.CallRelease:
		return fmt.Sprintf("release node %d epoch %d as %s, last %d", c.Node, c.Epoch, c.Instance,
			c.Last)
	}
	return fmt.Sprintf("heartbeat node %d epoch %d as %s", c.Node, c.Epoch, c.Instance)
}

// held returns a holder that was granted a lease with the given TTL at 0 s.
func held(t *testing.T, ttl time.Duration, j fencing.Jitter) fencing.Holder {
	t.Helper()
	h := fencing.NewHolder(fencing.HolderConfig{App: "app"})
	call := h.Acquire(0, "instance-of-a-test")[0].Call
	h.Answered(0, fencing.Answer{Call: call, Verdict: fencing.AnswerGood, Lease: fencing.Lease{
		Pool: fencing.DefaultPool, Node: 3, Epoch: 1, App: "app", TTL: ttl,
		ServerTime: 1000, Floor: 1000, Ceiling: snowflake.Millis(1000).Add(ttl),
		Layout: plainLayout,
	}}, j)
	if !h.Live(0) {
		t.Fatalf("holder is %v, should be live", h.Phase())
	}
	return h
}

// TestHolderPace: heartbeats every TTL/3 ± 10 %, tries of no more than TTL/3 and
// 5 s, retries after a half to the whole of a doubling time (C3).
func TestHolderPace(t *testing.T) {
	const most = ^fencing.Jitter(0)
	for _, tt := range []struct {
		ttl      time.Duration
		jitter   fencing.Jitter
		next     time.Duration // the first heartbeat
		try      time.Duration
		backoffs []time.Duration
	}{
		{ttl: 30 * time.Second, jitter: 0, next: 9 * time.Second, try: 5 * time.Second, backoffs: ms(50, 100, 200, 400, 800, 1000, 1000)},
		{ttl: 30 * time.Second, jitter: most, next: 11 * time.Second, try: 5 * time.Second, backoffs: ms(100, 200, 400, 800, 1600, 2000, 2000)},
		{ttl: 3 * time.Second, jitter: 0, next: 900 * time.Millisecond, try: time.Second, backoffs: ms(50)},
		{ttl: fencing.MaxDuration, jitter: most, next: fencing.MaxDuration / 30 * 11, try: 5 * time.Second, backoffs: ms(100)},
	} {
		h := held(t, tt.ttl, tt.jitter)
		near := func(what string, want time.Duration) time.Duration {
			next, _ := h.Next()
			if d := want - next; d < 0 || d > want/1000 { // jitter is a little below its most
				t.Errorf("TTL %v, jitter %d: %s at %v, want %v", tt.ttl, tt.jitter, what, next,
					want)
			}
			return next
		}
		at := near("heartbeat", tt.next)
		for _, backoff := range tt.backoffs {
			call := h.Tick(at, tt.jitter)[0].Call
			if next, _ := h.Next(); next != at+tt.try {
				t.Errorf("TTL %v: a try takes %v, want %v", tt.ttl, next-at, tt.try)
			}
			h.Answered(at, fencing.Answer{Call: call, Verdict: fencing.AnswerFailed}, tt.jitter)
			at = near("retry", at+backoff)
		}
	}
}

func ms(n ...int64) []time.Duration {
	ds := make([]time.Duration, len(n))
	for i := range n {
		ds[i] = time.Duration(n[i]) * time.Millisecond
	}
	return ds
}

// TestHolderIsAValue: a copy goes its own way, and two that are told the same
// are equal.
func TestHolderIsAValue(t *testing.T) {
	a := held(t, 30*time.Second, evenJitter)
	b := a
	b.Tick(12*time.Second, evenJitter)
	if a == b || a != held(t, 30*time.Second, evenJitter) {
		t.Error("a step of a copy changed the original, or did not change the copy")
	}
	a.Tick(12*time.Second, evenJitter)
	if a != b {
		t.Errorf("told the same, they differ:\n%+v\n%+v", a, b)
	}
}

func TestHolderConfigValidate(t *testing.T) {
	good := fencing.HolderConfig{App: "app"}
	for _, tt := range []struct {
		name   string
		change func(*fencing.HolderConfig)
		ok     bool
	}{
		{"least", func(*fencing.HolderConfig) {}, true},
		{"all", func(c *fencing.HolderConfig) { c.Pool, c.TTL, c.Wait = "eu-1", fencing.MaxDuration, fencing.MaxWait }, true},
		{"no app", func(c *fencing.HolderConfig) { c.App = "" }, false},
		{"app not UTF-8", func(c *fencing.HolderConfig) { c.App = "\xff" }, false},
		{"pool in capitals", func(c *fencing.HolderConfig) { c.Pool = "EU" }, false},
		{"TTL too short", func(c *fencing.HolderConfig) { c.TTL = fencing.MinTTL - 1 }, false},
		{"TTL too long", func(c *fencing.HolderConfig) { c.TTL = fencing.MaxDuration + 1 }, false},
		{"negative wait", func(c *fencing.HolderConfig) { c.Wait = -1 }, false},
		{"wait too long", func(c *fencing.HolderConfig) { c.Wait = fencing.MaxWait + 1 }, false},
	} {
		c := good
		tt.change(&c)
		if err := c.Validate(); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
