package zoo

import "github.com/cirrus-id/cirrus/sim"

// nextEpoch is a grant whose epoch comes from elsewhere.
func nextEpoch(instead string) []Edit {
	return []Edit{{
		File: "fencing/acquire.go",
		Old:  "\tp.highest++ // S2: above every epoch in the pool, those under way included\n",
		New:  instead,
	}}
}

// isFree is a server that takes an ID for free on another condition.
func isFree(when string) Edit {
	return Edit{
		File: "fencing/slot.go",
		Old:  "\treturn at.server > l.ceiling && (l.status == Ended || at.steady >= l.deadline+p.QuarantineOf(l.ttl))\n",
		New:  "\treturn " + when + "\n",
	}
}

// wallClock gives a reading, at, the wall clock as well: at.wall is what the
// steady clock would say if it were set together with the wall clock. begun is
// the time by the wall clock at which a start takes both for equal.
func wallClock(begun string) []Edit {
	return []Edit{
		{
			File: "fencing/server.go",
			Old:  "type reading struct {\n",
			New:  "type reading struct {\n\twall time.Duration\n",
		},
		{
			File: "fencing/server.go",
			Old:  "return reading{steady: now.Steady, server: s.time.advance(now)}",
			New:  "return reading{steady: now.Steady, server: s.time.advance(now), wall: now.Wall.Sub(s.time.base)}",
		},
		{
			File: "fencing/server.go",
			Old:  "return reading{steady: now.Steady, server: s.time.ms}",
			New:  "return reading{steady: now.Steady, server: s.time.ms, wall: now.Steady}",
		},
		{
			File: "fencing/servertime.go",
			Old:  "type serverTime struct {\n",
			New:  "type serverTime struct {\n\tbase snowflake.Millis\n",
		},
		{
			File: "fencing/servertime.go",
			Old:  "return serverTime{ms: ms, steady: now.Steady,",
			New:  "return serverTime{base: " + begun + ".Add(-now.Steady), ms: ms, steady: now.Steady,",
		},
	}
}

// restsUnchecked takes away the server's own look at how long a lease rests: it
// would tell of a rest that is too long before anybody waits for its end.
var restsUnchecked = Edit{
	File: "fencing/check.go",
	Old:  "\t\tcase l.indexedAs == Quarantined && !l.cooling && !p.sweeping && l.due > l.deadline+p.QuarantineOf(l.ttl):\n",
	New:  "\t\tcase false:\n",
}

// grantBugs: epochs that don't rise, an ID that is granted twice.
var grantBugs = []Bug{
	{
		Name: "epochs-in-memory-only",
		Rule: "S2",
		Edits: []Edit{{
			File: "fencing/index.go",
			Old:  "\tp.highest = max(p.highest, l.epoch)\n",
			New:  "",
		}},
		Found: fails("fencing", "TestEpochsRiseAboveTheStored", "a start's base is above all that the starts before it have granted: only a hand in the store can make a higher epoch"),
	},
	{
		Name: "epochs-start-over-after-a-release",
		Rule: "S2",
		Edits: nextEpoch(`	p.highest = s.meta.FirstEpoch - 1
	for l := range p.slots.all() {
		if l.status != Ended {
			p.highest = max(p.highest, l.epoch)
		}
	}
	p.highest++
`),
		Found: breaks(sim.PromiseEpochs),
	},
	{
		Name: "epochs-per-node-id",
		Rule: "S2",
		Edits: nextEpoch(`	p.highest = s.meta.FirstEpoch
	if l := p.slots.at(node); l != nil {
		p.highest = l.epoch + 1
	}
`),
		Found: breaks(sim.PromiseEpochs),
	},
	{
		// The two grants are decided before either is sent, so the equal epochs
		// show first where both records are durable.
		Name: "epochs-of-grants-under-way-forgotten",
		Rule: "S2",
		Edits: nextEpoch(`	p.highest = s.meta.FirstEpoch - 1
	for l := range p.slots.all() {
		p.highest = max(p.highest, l.epoch)
	}
	p.highest++
`),
		Found: breaks(sim.PromiseEpochs, sim.PromiseState),
	},
	{
		Name: "app-gets-its-id-back-though-held",
		Rule: "S2",
		Edits: []Edit{{
			File: "fencing/acquire.go",
			Old:  "ok && p.grantable(p.slots.at(node), at) {",
			New:  "ok && p.slots.at(node) != nil && p.slots.at(node).pending == nil {",
		}},
		Found: breaks(sim.PromiseWindow, sim.PromiseQuarantine),
	},
	{
		Name: "repeated-acquire-grants-twice",
		Rule: "S2",
		Edits: []Edit{{
			File: "fencing/acquire.go",
			Old:  "\tif c := p.pendingOf(node); c != nil {\n",
			New:  "\tif c := p.pendingOf(node); c != nil && c.kind == pendingGrant {\n\t\treturn Decision{}, false\n\t} else if c != nil {\n",
		}},
		Found: breaks(sim.PromiseOneLease),
	},
	{
		Name: "repeated-acquire-leaves-the-deadline",
		Rule: "S2",
		Edits: []Edit{
			{
				File: "fencing/acquire.go",
				Old:  "\t\t\tc.deadline = max(c.deadline, at.steady+c.ttl)\n",
				New:  "",
			},
			{
				File: "fencing/acquire.go",
				Old:  "\treturn Decision{Lease: s.promise(p, l, at)}, true\n",
				New: `	return Decision{Lease: Lease{
		Pool: p.Name, Node: l.node, Epoch: l.epoch, App: l.app, TTL: l.ttl,
		ServerTime: at.server, Floor: l.floor, Ceiling: l.ceiling, Layout: p.Layout,
	}}, true
`,
			},
		},
		Found: breaks(sim.PromiseQuarantine, sim.PromiseExclusion),
	},
	{
		Name: "free-before-the-ceiling",
		Rule: "S2",
		Edits: []Edit{
			isFree("l.status == Ended || at.steady >= l.deadline+p.QuarantineOf(l.ttl)"),
		},
		Found: breaks(sim.PromiseWindow),
	},
	{
		Name: "free-at-the-ceiling",
		Rule: "S2",
		Edits: []Edit{
			isFree("at.server >= l.ceiling && (l.status == Ended || at.steady >= l.deadline+p.QuarantineOf(l.ttl))"),
			{
				File: "fencing/slot.go",
				Old:  "\t\tfree += left.Sub(-1)\n",
				New:  "\t\tfree += left.Sub(0)\n",
			},
			{
				File: "fencing/settle.go",
				Old:  "\tbefore := (at.server - 1).Sub(0) ",
				New:  "\tbefore := at.server.Sub(0) ",
			},
		},
		Found: breaks(sim.PromiseWindow),
	},
	{
		Name: "new-store-opens-at-once",
		Rule: "S7",
		Edits: []Edit{{
			File: "fencing/genesis.go",
			Old:  "\tp.Opened, p.CreatedAt = vouched, wall\n",
			New:  "\tp.Opened, p.CreatedAt = true, wall\n",
		}},
		Found: breaks(sim.PromiseWindow, sim.PromiseQuarantine),
	},
	{
		Name: "new-store-waits-for-no-lease",
		Rule: "S7",
		Edits: []Edit{{
			File: "fencing/suspicion.go",
			Old:  "\treturn p.since + p.Suspicion(s.mark.longest, s.meta.SuspectFor)\n",
			New:  "\treturn p.since + s.mark.longest\n",
		}},
		Found: breaks(sim.PromiseSuspicion, sim.PromiseWindow, sim.PromiseQuarantine),
	},
	{
		Name: "epochs-start-over-in-a-new-store",
		Rule: "S7",
		Edits: []Edit{{
			File: "fencing/genesis.go",
			Old:  "return Epoch(max(wall, 1)) * epochsPerSecond / 1000 }",
			New:  "return Epoch(max(wall*0, 1)) * epochsPerSecond / 1000 }",
		}},
		Found: breaks(sim.PromiseEpochs),
	},
}

// quarantineBugs: an ID comes free too early, or never.
var quarantineBugs = []Bug{
	{
		Name: "no-quarantine",
		Rule: "S2",
		Edits: []Edit{
			isFree("at.server > l.ceiling && (l.status == Ended || at.steady >= l.deadline)"),
			{
				File: "fencing/index.go",
				Old:  "at.steady >= l.deadline+p.QuarantineOf(l.ttl); l.cooling {",
				New:  "at.steady >= l.deadline; l.cooling {",
			},
		},
		Found: breaks(sim.PromiseQuarantine),
	},
	{
		Name: "no-quarantine-after-a-restart",
		Rule: "S6",
		Edits: []Edit{{
			File: "fencing/server.go",
			Old:  "\t\t\tl.deadline = now.Steady + s.mark.stride + rec.TTL\n",
			New:  "\t\t\tl.deadline = now.Steady + s.mark.stride + rec.TTL - p.QuarantineOf(rec.TTL)\n",
		}},
		Found: breaks(sim.PromiseQuarantine),
	},
	{
		Name: "quarantine-counted-from-the-grant",
		Rule: "S2",
		Edits: []Edit{
			isFree("at.server > l.ceiling && (l.status == Ended || at.server > l.floor.Add(l.ttl+p.QuarantineOf(l.ttl)))"),
		},
		Found: breaks(sim.PromiseQuarantine),
	},
	{
		Name: "expiry-by-the-wall-clock",
		Rule: "S5",
		Edits: append([]Edit{
			isFree("at.server > l.ceiling && (l.status == Ended || max(at.wall, at.steady) >= l.deadline+p.QuarantineOf(l.ttl))"),
		}, wallClock("now.Wall")...),
		Found: breaks(sim.PromiseQuarantine),
	},
	{
		// Server time doesn't go back, so the wall clock stays behind over restarts.
		Name: "quarantine-never-ends-after-a-clock-step",
		Rule: "P4",
		Edits: append([]Edit{
			restsUnchecked,
			{
				File: "fencing/index.go",
				Old:  "\tl.due = l.deadline + p.QuarantineOf(l.ttl)\n",
				New:  "\tl.due = l.deadline + p.QuarantineOf(l.ttl) + max(0, at.steady-at.wall)\n",
			},
			{
				File: "fencing/slot.go",
				Old:  "\t\tfree = max(free, l.deadline+p.QuarantineOf(l.ttl))\n",
				New:  "\t\tfree = max(free, l.deadline+p.QuarantineOf(l.ttl)+max(0, at.steady-at.wall))\n",
			},
		}, wallClock("ms")...),
		Found: breaks(sim.PromiseLiveness),
	},
	{
		Name: "quarantine-twice-as-long",
		Rule: "P4",
		Edits: []Edit{
			restsUnchecked,
			isFree("at.server > l.ceiling && (l.status == Ended || at.steady >= l.deadline+2*p.QuarantineOf(l.ttl))"),
			{
				File: "fencing/slot.go",
				Old:  "\t\tfree = max(free, l.deadline+p.QuarantineOf(l.ttl))\n",
				New:  "\t\tfree = max(free, l.deadline+2*p.QuarantineOf(l.ttl))\n",
			},
			{
				File: "fencing/index.go",
				Old:  "at.steady >= l.deadline+p.QuarantineOf(l.ttl); l.cooling {",
				New:  "at.steady >= l.deadline+2*p.QuarantineOf(l.ttl); l.cooling {",
			},
			{
				File: "fencing/index.go",
				Old:  "\tl.due = l.deadline + p.QuarantineOf(l.ttl)\n",
				New:  "\tl.due = l.deadline + 2*p.QuarantineOf(l.ttl)\n",
			},
		},
		Found: breaks(sim.PromiseLiveness),
	},
	{
		Name: "queue-waits-to-its-end",
		Rule: "P4",
		Edits: []Edit{{
			File: "service/acquire.go",
			Old:  "\tif d.At > 0 && d.At < at {\n",
			New:  "\tif d.At < 0 {\n",
		}},
		Found: breaks(sim.PromiseLiveness),
	},
	{
		Name: "revoked-id-free-at-once",
		Rule: "S4",
		Edits: []Edit{
			isFree("at.server > l.ceiling && (l.status != Live || at.steady >= l.deadline+p.QuarantineOf(l.ttl))"),
		},
		Found: breaks(sim.PromiseQuarantine),
	},
	{
		Name: "ended-note-before-the-quarantine-is-over",
		Rule: "S5",
		Edits: []Edit{
			{
				File: "fencing/settle.go",
				Old:  "\t\tp.rest(l, at)\n\t\ts.emitByTime(p, EventExpired, l, at)\n",
				New:  "\t\tp.rest(l, at)\n\t\tp.unnoted = append(p.unnoted, l.node)\n\t\ts.emitByTime(p, EventExpired, l, at)\n",
			},
			{
				File: "fencing/mark.go",
				Old:  "l.indexedAs != Free || l.status == Ended || l.pending != nil || !p.isFree(l, at) {",
				New:  "l.status == Ended || l.pending != nil || at.steady < l.deadline || at.server <= l.ceiling {",
			},
		},
		Found: breaks(sim.PromiseQuarantine),
	},
	{
		Name: "ended-note-with-the-ceiling-of-the-grant",
		Rule: "S5",
		Edits: []Edit{{
			File: "fencing/mark.go",
			Old:  "\t\trec := l.ended(p.Name)\n",
			New:  "\t\trec := l.ended(p.Name)\n\t\trec.Ceiling = l.floor.Add(l.ttl)\n",
		}},
		Found: breaks(sim.PromiseWindow),
	},
}
