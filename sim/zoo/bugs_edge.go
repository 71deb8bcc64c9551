package zoo

import "github.com/cirrus-id/cirrus/sim"

// edgeBugs are about what lies around the rules of a lease's life: the line, the
// stride, suspicious stores, records that a hand has left, the log.
var edgeBugs = []Bug{
	{
		Name: "line-served-from-its-end",
		Rule: "S2",
		Edits: []Edit{{
			File: "fencing/queue.go",
			Old:  "p.queue[0].instance == instance\n",
			New:  "p.queue[len(p.queue)-1].instance == instance\n",
		}, {
			File: "fencing/queue.go",
			Old:  "\t\treturn p.queue[0].ticket\n",
			New:  "\t\treturn p.queue[len(p.queue)-1].ticket\n",
		}},
		Found: breaks(sim.PromiseLine),
	},
	{
		Name: "load-keeps-the-older-of-two-records",
		Rule: "S10",
		Edits: []Edit{{
			File: "fencing/index.go",
			Old:  "if other := p.byLiveInstance(l.instance); other == nil || other.epoch < l.epoch {",
			New:  "if other := p.byLiveInstance(l.instance); other == nil || other.epoch > l.epoch {",
		}},
		Found: breaks(sim.PromiseOneLease),
	},
	{
		Name: "recover-forgets-the-stride",
		Rule: "S7",
		Edits: []Edit{{
			File: "fencing/genesis.go",
			Old:  "\tmeta.Mark = max(meta.Mark, wall.Add(stride))\n",
			New:  "\tmeta.Mark = max(meta.Mark, wall)\n",
		}},
		Found: breaks(sim.PromiseRecover),
	},
	{
		Name: "recover-shortens-the-stride",
		Rule: "S7",
		Edits: []Edit{{
			File: "fencing/genesis.go",
			Old:  "\tstride = max(stride, snap.Meta.Stride)\n",
			New:  "",
		}},
		Found: breaks(sim.PromiseRecover),
	},
	{
		Name: "stride-shrinks-too-early",
		Rule: "S8",
		Edits: []Edit{{
			File: "fencing/mark.go",
			Old:  "\tif m.configured < m.stride && steady >= m.since+m.stride && ahead <= m.configured {\n",
			New:  "\tif m.configured < m.stride && ahead <= m.configured {\n",
		}},
		Found: breaks(sim.PromiseStride),
	},
	{
		Name: "suspicion-shortened-by-a-setting",
		Rule: "S7",
		Edits: []Edit{{
			File: "fencing/suspicion.go",
			Old:  "\tif old.Opened || p.MaxTTL >= old.MaxTTL && p.Quarantine >= old.Quarantine && !shorter {\n",
			New:  "\tif old.Opened || true || p.MaxTTL >= old.MaxTTL && p.Quarantine >= old.Quarantine && !shorter {\n",
		}},
		Found: breaks(sim.PromiseSuspicion),
	},
	{
		Name: "longest-ttl-forgotten",
		Rule: "S7",
		Edits: []Edit{{
			File: "fencing/suspicion.go",
			Old:  "\tlongest := max(p.LongestTTL, p.MaxTTL)\n",
			New:  "\tlongest := p.MaxTTL\n",
		}},
		Found: breaks(sim.PromiseSuspicion),
	},
	{
		Name: "quarantine-that-does-not-follow-the-ttl",
		Rule: "S2",
		Edits: []Edit{{
			File: "fencing/suspicion.go",
			Old:  "\treturn max(p.Quarantine, ttl/ttlPerQuarantine)\n",
			New:  "\treturn p.Quarantine\n",
		}},
		Found: breaks(sim.PromiseQuarantine),
	},
	{
		Name: "failure-logged-under-the-lock",
		Rule: "S14",
		Edits: []Edit{{
			File: "service/term.go",
			Old:  "\t\t\tt.untold = append(t.untold, func() {\n\t\t\t\tt.s.log.Error(\"the store or its use failed; nothing more is promised\", \"error\", cause)\n\t\t\t})\n",
			New:  "\t\t\tt.s.log.Error(\"the store or its use failed; nothing more is promised\", \"error\", cause)\n",
		}},
		Found: breaks(sim.PromiseLog),
	},
	{
		Name: "write-waited-for-without-end",
		Rule: "S9",
		Edits: []Edit{{
			File: "service/wait.go",
			Old:  "\ts.cfg.Runner.Wait(timer.Chan(), done, ctx.Done(), nil)\n",
			New:  "\ts.cfg.Runner.Wait(nil, done, ctx.Done(), nil)\n",
		}},
		Found: breaks(sim.PromisePatience),
	},
	{
		Name: "mark-waited-for-without-end",
		Rule: "S9",
		Edits: []Edit{{
			File: "service/wait.go",
			Old:  "\tif w.left() <= 0 {\n\t\treturn w.t.s.refusal(errStoreSlow)\n\t}\n\treturn w.t.s.wait(ctx, woken, min(w.until, at))\n",
			New:  "\tif at == math.MaxInt64 {\n\t\tat = 0\n\t}\n\treturn w.t.s.wait(ctx, woken, at)\n",
		}},
		Found: breaks(sim.PromisePatience),
	},
}
