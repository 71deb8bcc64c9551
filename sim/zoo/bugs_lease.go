package zoo

import "github.com/cirrus-id/cirrus/sim"

// heartbeats is a server that takes others for good.
func heartbeats(when string) []Edit {
	return []Edit{{
		File: "fencing/heartbeat.go",
		Old:  "\tif !l.matches(ref) || l.status != Live {\n",
		New:  "\tif " + when + " {\n",
	}}
}

// releaseBugs: the last word of a holder is misunderstood.
var releaseBugs = []Bug{
	{
		Name: "release-below-what-was-used",
		Rule: "S4",
		Edits: []Edit{{
			File: "fencing/release.go",
			Old:  "max(*last, l.floor-1))",
			New:  "max(*last-1, l.floor-1))",
		}},
		Found: breaks(sim.PromiseWindow),
	},
	{
		Name: "release-below-the-floor",
		Rule: "S4",
		Edits: []Edit{{
			File: "fencing/release.go",
			Old:  "min(l.ceiling, max(*last, l.floor-1))",
			New:  "min(l.ceiling, *last)",
		}},
		Found: breaks(sim.PromiseWindow),
	},
	{
		Name: "release-with-0-for-unused",
		Rule: "S4",
		Edits: []Edit{
			{
				File: "fencing/release.go",
				Old:  "\tif last != nil && *last <= 0 {\n",
				New:  "\tif last != nil && *last < 0 {\n",
			},
			{
				File: "client/service.go",
				Old:  "\tif c.Last > 0 && !s.noLast {\n\t\tlast := int64(c.Last)\n",
				New:  "\tif c.Last > 0 {\n\t\tlast := int64(c.Last)\n\t\tif s.noLast {\n\t\t\tlast = 0\n\t\t}\n",
			},
		},
		Found: breaks(sim.PromiseWindow),
	},
	{
		Name: "release-of-any-epoch",
		Rule: "S4",
		Edits: []Edit{{
			File: "fencing/release.go",
			Old:  "\tcase !l.matches(ref):\n",
			New:  "\tcase l == nil:\n",
		}},
		Found: breaks(sim.PromiseWindow, sim.PromiseQuarantine, sim.PromiseFencing),
	},
}

// heartbeatBugs: what a heartbeat must and must not do.
var heartbeatBugs = []Bug{
	{
		Name: "heartbeat-of-any-epoch",
		Rule: "S3",
		Edits: []Edit{{
			File: "fencing/slot.go",
			Old:  "\treturn l != nil && l.epoch == ref.Epoch && l.instance == ref.Instance\n",
			New:  "\treturn l != nil && l.instance == ref.Instance\n",
		}},
		Found: breaks(sim.PromiseFencing),
	},
	{
		Name: "heartbeat-of-any-instance",
		Rule: "S3",
		Edits: []Edit{{
			File: "fencing/slot.go",
			Old:  "\treturn l != nil && l.epoch == ref.Epoch && l.instance == ref.Instance\n",
			New:  "\treturn l != nil && l.epoch == ref.Epoch\n",
		}},
		Found: breaks(sim.PromiseFencing),
	},
	{
		Name:  "heartbeat-revives-after-a-new-grant",
		Rule:  "S3",
		Edits: heartbeats("l == nil || l.status != Live"),
		Found: breaks(sim.PromiseFencing),
	},
	{
		Name:  "heartbeat-revives-an-ended-record",
		Rule:  "S3",
		Edits: heartbeats("!l.matches(ref) || l.status == Revoked"),
		Found: breaks(sim.PromiseDurable),
	},
	{
		Name:  "heartbeat-of-a-revoked-lease",
		Rule:  "S4",
		Edits: heartbeats("!l.matches(ref) || l.status == Ended"),
		Found: breaks(sim.PromiseDurable),
	},
	{
		Name:  "late-heartbeat-refused",
		Rule:  "S3",
		Edits: heartbeats("!l.matches(ref) || l.status != Live || at.steady >= l.deadline"),
		Found: breaks(sim.PromiseHeartbeat),
	},
	{
		Name: "heartbeat-during-the-ended-note",
		Rule: "S1",
		Edits: []Edit{{
			File: "fencing/heartbeat.go",
			Old:  "\tif c := p.pendingOf(ref.Node); c != nil {\n",
			New:  "\tif c := p.pendingOf(ref.Node); c != nil && c.kind != pendingEndNote {\n",
		}},
		Found: breaks(sim.PromiseDurable),
	},
	{
		// The shelves follow, or the server's own invariant would tell.
		Name: "heartbeat-moves-the-deadline-back",
		Rule: "S3",
		Edits: []Edit{
			{
				File: "fencing/heartbeat.go",
				Old:  "\tl.deadline = max(l.deadline, at.steady+l.ttl)\n",
				New:  "\tl.deadline = at.steady + l.ttl\n",
			},
			{
				File: "fencing/heartbeat.go",
				Old:  "\tif l.indexedAs != Held {\n",
				New:  "\tif l.indexedAs != Held || l.due > l.deadline {\n",
			},
		},
		Found: breaks(sim.PromiseQuarantine),
	},
	{
		Name: "heartbeat-moves-the-ceiling-back",
		Rule: "S3",
		Edits: []Edit{{
			File: "fencing/heartbeat.go",
			Old:  "\tl.ceiling = max(l.ceiling, at.server.Add(l.ttl))\n",
			New:  "\tl.ceiling = at.server.Add(l.ttl)\n",
		}},
		Found: breaks(sim.PromiseWindow),
	},
	{
		Name: "heartbeat-leaves-the-deadline",
		Rule: "S3",
		Edits: []Edit{{
			File: "fencing/heartbeat.go",
			Old:  "\tl.deadline = max(l.deadline, at.steady+l.ttl)\n",
			New:  "",
		}},
		Found: breaks(sim.PromiseQuarantine),
	},
}
