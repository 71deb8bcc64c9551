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
			App: "app", TTL: duration(t, d, "ttl", 0), Wait: duration(t, d, "wait", 0), NoReacquire: d.HasArg("no-reacquire"),
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
	for _, v := range []fencing.Verdict{fencing.AnswerGood, fencing.AnswerLost, fencing.AnswerRefused, fencing.AnswerFailed} {
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
			Pool: fencing.DefaultPool, Node: snowflake.NodeID(node), Epoch: fencing.Epoch(epoch), App: "app", TTL: ttl,
			ServerTime: snowflake.Millis(now), Floor: snowflake.Millis(floor), Ceiling: snowflake.Millis(now).Add(ttl),
			Layout: plainLayout,
		}
	}
	return a
}

func duration(t *testing.T, d *datadriven.TestData, name string, otherwise time.Duration) time.Duration {
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
			fmt.Fprintf(&b, "%v node %d epoch %d [%d, %d] until %v\n", a.Kind, a.Lease.Node, a.Lease.Epoch, a.Lease.Floor, a.Lease.Ceiling, a.Deadline)
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
		return fmt.Sprintf("release node %d epoch %d as %s, last %d", c.Node, c.Epoch, c.Instance, c.Last)
	}
	return fmt.Sprintf("heartbeat node %d epoch %d as %s", c.Node, c.Epoch, c.Instance)
}
