package zoo

import "github.com/cirrus-id/cirrus/sim"

// anyInstance is a client that takes every answer for its own.
var anyInstance = Edit{
	File: "client/service.go",
	Old:  "lease.GetInstanceId() != string(c.Instance) {",
	New:  "lease == nil {",
}

// holderBugs: an app that believes what is not so.
var holderBugs = []Bug{
	{
		Name: "grant-counted-from-its-answer",
		Rule: "C2",
		Edits: []Edit{{
			File: "fencing/holder.go",
			Old:  "\th.deadline = a.Call.SentAt + h.lease.TTL // C2: from before the request was sent\n",
			New:  "\th.deadline = at + h.lease.TTL\n",
		}},
		Found: breaks(sim.PromiseExclusion),
	},
	{
		Name: "heartbeat-counted-from-its-answer",
		Rule: "C2",
		Edits: []Edit{{
			File: "fencing/holder.go",
			Old:  "\th.deadline = max(h.deadline, a.Call.SentAt+h.lease.TTL)\n",
			New:  "\th.deadline = max(h.deadline, at+h.lease.TTL)\n",
		}},
		Found: breaks(sim.PromiseExclusion),
	},
	{
		Name: "older-answer-overwrites-a-newer-one",
		Rule: "C7",
		Edits: []Edit{
			{
				File: "fencing/holder.go",
				Old:  "\th.deadline = max(h.deadline, a.Call.SentAt+h.lease.TTL)\n\th.lease.Ceiling = max(h.lease.Ceiling, a.Lease.Ceiling)\n",
				New:  "\th.deadline = a.Call.SentAt + h.lease.TTL\n\th.lease.Ceiling = a.Lease.Ceiling\n",
			},
		},
		Found: breaks(sim.PromiseExclusion),
	},
	{
		Name:  "answer-to-another-instance-counts",
		Rule:  "C7",
		Edits: []Edit{anyInstance},
		Found: breaks(sim.PromiseExclusion, sim.PromiseUniqueness, sim.PromiseWindow),
	},
	{
		// Two lines of defence stand behind each other here: both must fall.
		Name: "answer-of-another-epoch-counts",
		Rule: "C7",
		Edits: []Edit{anyInstance, {
			File: "fencing/holder.go",
			Old:  "\treturn l.Epoch == h.lease.Epoch && l.Node == h.lease.Node\n",
			New:  "\treturn true\n",
		}},
		Found: breaks(sim.PromiseExclusion, sim.PromiseWindow, sim.PromiseUniqueness),
	},
	{
		Name: "instance-kept-after-a-release",
		Rule: "C1",
		Edits: []Edit{{
			File: "client/loop.go",
			Old:  "\treturn fencing.InstanceID(fmt.Sprintf(\"%016x%016x\", h.cfg.random(), h.cfg.random()))\n",
			New:  "\treturn fencing.InstanceID(fmt.Sprintf(\"%016x-%s\", len(h.cfg.rules.App), h.cfg.rules.App))\n",
		}},
		Found: breaks(sim.PromiseInstance),
	},
	{
		Name: "instance-kept-after-a-loss",
		Rule: "C1",
		Edits: []Edit{{
			File: "fencing/holder.go",
			Old:  "\th.instance, h.due, h.failures = \"\", at, 0 // C1\n",
			New:  "\th.due, h.failures = at, 0\n",
		}},
		Found: breaks(sim.PromiseInstance),
	},
	{
		Name: "release-before-minting-has-stopped",
		Rule: "C6",
		Edits: []Edit{
			{
				File: "client/loop.go",
				Old:  "\t\tlast, used = h.loop.session.Stop()\n\t\th.loop.session = nil\n",
				New: `		last, used = h.loop.session.Peek()
		stops := h.loop.session
		h.cfg.runner.Go(func() {
			h.cfg.steady.Sleep(time.Second)
			stops.Stop()
		})
		h.loop.session = nil
`,
			},
			{
				File: "snowflake/session.go",
				Old:  "// Stop ends minting under the lease, once and for all:",
				New: `// Peek is Stop without an end.
func (s *Session) Peek() (last Millis, used bool) {
	last = s.grant.Layout.Origin + Millis(int64(s.next.Load()&^sealed-1)>>s.grant.Layout.SequenceBits)
	return last, last >= s.grant.Floor
}

// Stop ends minting under the lease, once and for all:`,
			},
		},
		Found: breaks(sim.PromiseWindow, sim.PromiseExclusion),
	},
	{
		Name: "valid-until-the-loop-notices",
		Rule: "C4",
		Edits: []Edit{{
			File: "client/holder.go",
			Old:  "\treturn max(0, v.deadline-h.cfg.steady.Now())\n",
			New:  "\tif v.lost.isOpen() {\n\t\treturn 0\n\t}\n\treturn max(1, v.deadline-h.cfg.steady.Now())\n",
		}},
		Found: breaks(sim.PromiseExclusion),
	},
	{
		Name: "suspend-not-noticed",
		Rule: "C4",
		Edits: []Edit{{
			File: "internal/steady/clock.go",
			Old:  "\tif c.works && ok {\n",
			New:  "\tif c.works && !ok {\n",
		}},
		Found: fails("internal/steady", "TestCountsSuspend", "the clock that asks the machine is the one part that it has to replace"),
	},
	{
		Name: "no-retry-after-a-loss",
		Rule: "C5",
		Edits: []Edit{{
			File: "fencing/holder.go",
			Old:  "\tif h.cfg.NoReacquire {\n",
			New:  "\tif true {\n",
		}},
		Found: breaks(sim.PromiseLiveness),
	},
	{
		Name: "loss-taken-for-a-failure",
		Rule: "C5",
		Edits: []Edit{{
			File: "fencing/holder.go",
			Old:  "\tcase a.Verdict == AnswerLost: // definite, however late it comes\n",
			New:  "\tcase a.Verdict == AnswerLost && h.phase == HolderConfirming:\n",
		}},
		Found: breaks(sim.PromiseLiveness),
	},
	{
		Name: "refusal-of-anybody-counts",
		Rule: "C5",
		Edits: []Edit{{
			File: "client/service.go",
			Old:  "\tif reason != \"\" {\n\t\ta.Verdict =",
			New:  "\tif true {\n\t\ta.Verdict =",
		}},
		Found: breaks(sim.PromiseAnswer),
	},
	{
		Name: "loss-of-anybody-counts",
		Rule: "C5",
		Edits: []Edit{{
			File: "client/service.go",
			Old:  "\tif reason != \"\" {\n\t\ta.Verdict =",
			New:  "\tif reason == \"\" && connect.CodeOf(err) == connect.CodeFailedPrecondition {\n\t\ta.Verdict = fencing.AnswerLost\n\t} else if reason != \"\" {\n\t\ta.Verdict =",
		}},
		Found: breaks(sim.PromiseAnswer),
	},
	{
		Name: "no-heartbeat-past-the-deadline",
		Rule: "C3",
		Edits: []Edit{{
			File: "fencing/holder.go",
			Old:  "\tcase HolderConfirming, HolderHolding: // past the deadline, too (C3)\n",
			New:  "\tcase HolderConfirming, HolderHolding:\n\t\tif at >= h.deadline {\n\t\t\th.due = at + MaxDuration\n\t\t\treturn acts\n\t\t}\n",
		}},
		Found: breaks(sim.PromiseLiveness),
	},
}

// generatorBugs: an ID that should not have been.
var generatorBugs = []Bug{
	{
		Name: "generator-reads-the-wall-clock",
		Rule: "G1",
		Edits: []Edit{
			{
				File: "client/holder.go",
				Old:  "snowflake.NewGenerator(cfg.steady, ",
				New:  "snowflake.NewGenerator(wallClock{cfg, cfg.timers.Now().Add(-cfg.steady.Now())}, ",
			},
			{
				File: "client/holder.go",
				Old:  "func describe(l fencing.Lease) string {\n",
				New: `type wallClock struct {
	*config
	base time.Time
}

func (w wallClock) Now() time.Duration    { return max(0, w.timers.Now().Sub(w.base)) }
func (w wallClock) Sleep(d time.Duration) { w.steady.Sleep(d) }

func describe(l fencing.Lease) string {
`,
			},
		},
		Found: breaks(sim.PromiseExclusion),
	},
	{
		Name: "generator-embeds-another-timestamp",
		Rule: "G4",
		Edits: []Edit{{
			File: "snowflake/generator.go",
			Old:  "\t\t\t\treturn a.id(first), nil\n",
			New:  "\t\t\t\treturn a.id(max(first, a.timeAt(g.clock.Now())/nsPerMs<<a.seqBits)), nil\n",
		}},
		Found: breaks(sim.PromiseWindow, sim.PromiseUniqueness),
	},
	{
		Name: "generator-wraps-its-sequence",
		Rule: "G3",
		Edits: []Edit{{
			File: "snowflake/allowance.go",
			Old:  "\tfirst = max(next, ms<<(a.seqBits&63))\n",
			New:  "\tfirst = max(next, ms<<(a.seqBits&63))\n\tif first>>a.seqBits == ms+1 && a.lead > 0 {\n\t\tfirst -= 1 << a.seqBits // once more from 0\n\t}\n",
		}},
		Found: breaks(sim.PromiseUniqueness),
	},
	{
		Name: "generator-ignores-the-ceiling",
		Rule: "G2",
		Edits: []Edit{
			{
				File: "snowflake/allowance.go",
				Old:  "\tms := min(a.timeAt(now)/nsPerMs, a.lastMs+1)\n",
				New:  "\tms := min(a.timeAt(now)/nsPerMs, a.layoutMs+1)\n",
			},
			{
				File: "snowflake/allowance.go",
				Old:  "\tend = (min(ms+a.lead, a.lastMs) + 1) << (a.seqBits & 63)\n",
				New:  "\tend = (min(ms+a.lead, a.layoutMs) + 1) << (a.seqBits & 63)\n",
			},
		},
		Found: breaks(sim.PromiseWindow),
	},
	{
		Name: "generator-ignores-the-deadline",
		Rule: "G2",
		Edits: []Edit{{
			File: "snowflake/allowance.go",
			Old:  "\tif now >= a.deadline {\n",
			New:  "\tif a.deadline < 0 {\n",
		}},
		Found: breaks(sim.PromiseExclusion),
	},
	{
		Name: "generator-goes-on-after-a-stop",
		Rule: "C6",
		Edits: []Edit{{
			File: "snowflake/session.go",
			Old:  "\tnext := s.next.Or(sealed) &^ sealed\n",
			New:  "\tnext := s.next.Load() &^ sealed\n",
		}},
		Found: breaks(sim.PromiseWindow, sim.PromiseExclusion),
	},
	{
		Name: "generator-skips-the-floor",
		Rule: "G2",
		Edits: []Edit{{
			File: "snowflake/session.go",
			Old:  "\ts.next.Store(uint64(grant.Floor-grant.Layout.Origin) << grant.Layout.SequenceBits) ",
			New:  "\ts.next.Store(uint64(grant.Floor-grant.Layout.Origin-1) << grant.Layout.SequenceBits) ",
		}},
		Found: breaks(sim.PromiseWindow),
	},
}
