package zoo

import "github.com/cirrus-id/cirrus/sim"

// restored is a server that takes another deadline or ceiling for a lease that
// it has loaded.
func restored(old, instead string) []Edit {
	return []Edit{{File: "fencing/server.go", Old: old, New: instead}}
}

const (
	restoredDeadline = "\t\t\tl.deadline = now.Steady + s.mark.stride + rec.TTL\n"
	restoredCeiling  = "\t\t\tl.ceiling = max(rec.Ceiling, s.meta.Mark.Add(rec.TTL))\n"
	restoredLease    = "\t\tl.set(rec)\n"
)

// startBugs: a start that forgets what an earlier process promised.
var startBugs = []Bug{
	{
		Name:  "start-with-stored-deadlines",
		Rule:  "S6",
		Edits: restored(restoredDeadline, "\t\t\tl.deadline = now.Steady + rec.Floor.Add(rec.TTL).Sub(s.time.ms)\n"),
		Found: breaks(sim.PromiseQuarantine),
	},
	{
		Name:  "start-without-the-stride",
		Rule:  "S6",
		Edits: restored(restoredDeadline, "\t\t\tl.deadline = now.Steady + rec.TTL\n"),
		Found: breaks(sim.PromiseQuarantine),
	},
	{
		Name:  "start-with-the-stride-twice",
		Rule:  "P4",
		Edits: restored(restoredDeadline, "\t\t\tl.deadline = now.Steady + 2*s.mark.stride + rec.TTL\n"),
		Found: breaks(sim.PromiseLiveness),
	},
	{
		Name: "start-with-the-clock-read-before-loading",
		Rule: "S6",
		Edits: []Edit{
			{
				File: "service/term.go",
				Old:  "\tsnap, err := t.store.Load(ctx)\n",
				New:  "\tbefore := t.s.now()\n\tsnap, err := t.store.Load(ctx)\n",
			},
			{
				File: "service/term.go",
				Old:  "fencing.NewServer(snap, cfg.Stride, t.s.now())",
				New:  "fencing.NewServer(snap, cfg.Stride, before)",
			},
		},
		Found: breaks(sim.PromiseQuarantine),
	},
	{
		Name:  "start-with-the-stored-ceilings",
		Rule:  "S6",
		Edits: restored(restoredCeiling, ""),
		Found: breaks(sim.PromiseWindow),
	},
	{
		Name:  "start-with-ceilings-of-server-time",
		Rule:  "S6",
		Edits: restored(restoredCeiling, "\t\t\tl.ceiling = max(rec.Ceiling, s.time.ms.Add(rec.TTL))\n"),
		Found: breaks(sim.PromiseWindow),
	},
	{
		Name: "stride-shortened-at-a-restart",
		Rule: "S6",
		// The shorter one is stored at once, too (S8).
		Edits: restored("\tlonger := max(snap.Meta.Stride, stride)\n", "\tlonger := stride\n"),
		Found: breaks(sim.PromiseQuarantine, sim.PromiseStride),
	},
	{
		Name:  "start-that-waits-for-its-own-stride-only",
		Rule:  "S6",
		Edits: restored(restoredDeadline, "\t\t\tl.deadline = now.Steady + s.mark.configured + rec.TTL\n"),
		Found: breaks(sim.PromiseQuarantine),
	},
	{
		Name:  "revoked-lease-live-after-a-restart",
		Rule:  "S4",
		Edits: restored(restoredLease, restoredLease+"\t\tif l.status == Revoked {\n\t\t\tl.status = Live\n\t\t}\n"),
		Found: breaks(sim.PromiseDurable),
	},
	{
		Name:  "revoked-lease-forgotten-after-a-restart",
		Rule:  "S6",
		Edits: restored("\t\tif rec.Status != Ended {\n", "\t\tif rec.Status == Live {\n"),
		Found: breaks(sim.PromiseQuarantine, sim.PromiseWindow),
	},
}

// markBugs: promises that a mark does not carry.
var markBugs = []Bug{
	{
		Name: "mark-lowered",
		Rule: "S1",
		Edits: []Edit{{
			File: "fencing/mark.go",
			Old:  "\tmeta.Mark = max(meta.Mark, at.server.Add(s.mark.configured)) ",
			New:  "\tmeta.Mark = at.server.Add(s.mark.configured) ",
		}},
		Found: breaks(sim.PromiseMark),
	},
	{
		Name:  "mark-not-awaited",
		Rule:  "S10",
		Edits: unawaited("b.Meta != nil"),
		Found: breaks(sim.PromiseMark),
	},
	{
		Name: "promise-above-the-mark",
		Rule: "S10",
		Edits: []Edit{{
			File: "fencing/server.go",
			Old:  "\treturn at.server <= s.meta.Mark && s.mark.holds(at.steady)\n",
			New:  "\treturn s.mark.holds(at.steady)\n",
		}},
		Found: breaks(sim.PromiseMark),
	},
	{
		Name: "promise-a-stride-after-the-mark",
		Rule: "S10",
		Edits: []Edit{{
			File: "fencing/server.go",
			Old:  "\treturn at.server <= s.meta.Mark && s.mark.holds(at.steady)\n",
			New:  "\treturn at.server <= s.meta.Mark && s.mark.written\n",
		}},
		Found: breaks(sim.PromiseMark),
	},
	{
		Name: "promise-before-the-first-mark",
		Rule: "S10",
		Edits: []Edit{
			{
				File: "fencing/mark.go",
				Old:  "\treturn m.written && steady < m.sent+m.configured\n",
				New:  "\treturn !m.written || steady < m.sent+m.configured\n",
			},
			{
				File: "service/term.go",
				Old:  "\tif err := t.commit(first); err != nil {\n",
				New:  "\tt.s.cfg.Runner.Go(func() { _ = t.commit(first) })\n\tif err := error(nil); err != nil {\n",
			},
		},
		Found: breaks(sim.PromiseMark),
	},
	{
		Name: "mark-counted-before-it-is-acknowledged",
		Rule: "S10",
		Edits: []Edit{{
			File: "fencing/mark.go",
			Old:  "\ts.mark.writing = true\n",
			New:  "\ts.mark.writing, s.mark.sent = true, at.steady\n",
		}},
		Found: breaks(sim.PromiseMark),
	},
	{
		Name: "grant-not-looked-at-again",
		Rule: "S10",
		Edits: []Edit{{
			File: "fencing/acquire.go",
			Old: `	if !s.promising(at) {
		return Decision{Wait: WaitMark}, true
	}
`,
			New: "",
		}},
		Found: breaks(sim.PromiseMark),
	},
}

// recoverBugs: a store from a copy is not made suspicious.
var recoverBugs = []Bug{
	{
		Name: "recover-leaves-the-mark",
		Rule: "S7",
		Edits: []Edit{{
			File: "fencing/genesis.go",
			Old:  "\tmeta.Mark = max(meta.Mark, wall.Add(stride))\n",
			New:  "",
		}},
		Found: breaks(sim.PromiseRecover),
	},
	{
		Name: "recover-leaves-records-live",
		Rule: "S7",
		Edits: []Edit{{
			File: "fencing/genesis.go",
			Old:  "\t\trec.Status, rec.Silence = Ended, Silence{}\n",
			New:  "",
		}},
		Found: breaks(sim.PromiseRecover),
	},
	{
		Name: "recover-leaves-the-epochs",
		Rule: "S7",
		Edits: []Edit{{
			File: "fencing/genesis.go",
			Old:  "\tmeta.FirstEpoch = max(firstEpoch(wall), meta.FirstEpoch)\n",
			New:  "",
		}},
		Found: breaks(sim.PromiseRecover),
	},
	{
		Name: "recover-leaves-pools-opened",
		Rule: "S7",
		Edits: []Edit{{
			File: "fencing/genesis.go",
			Old:  "\t\tp.Opened = false\n",
			New:  "",
		}},
		Found: breaks(sim.PromiseRecover),
	},
}
