package zoo

// controls are changes that do no harm.
var controls = []Bug{
	{
		Name: "longer-quarantine",
		Rule: "S2",
		Edits: []Edit{
			isFree("at.server > l.ceiling+1 && (l.status == Ended || at.steady >= l.deadline+p.QuarantineOf(l.ttl))"),
			{
				File: "fencing/slot.go",
				Old:  "\t\tfree += left.Sub(-1)\n",
				New:  "\t\tfree += left.Sub(-2)\n",
			},
			{
				File: "fencing/slot.go",
				Old:  "\tif left := l.ceiling - at.server; left >= 0 {\n",
				New:  "\tif left := l.ceiling - at.server; left >= -1 {\n",
			},
			{
				File: "fencing/settle.go",
				Old:  "\tbefore := (at.server - 1).Sub(0) ",
				New:  "\tbefore := (at.server - 2).Sub(0) ",
			},
		},
	},
	{
		Name:  "epochs-with-gaps",
		Rule:  "S2",
		Edits: nextEpoch("\tp.highest += 3\n"),
	},
	{
		Name: "heartbeats-more-often",
		Rule: "C3",
		Edits: []Edit{{
			File: "fencing/types.go",
			Old:  "return l.TTL / 3 }",
			New:  "return l.TTL / 4 }",
		}},
	},
	{
		Name: "deadline-from-a-little-earlier",
		Rule: "C2",
		Edits: []Edit{{
			File: "fencing/holder.go",
			Old:  "\th.deadline = max(h.deadline, a.Call.SentAt+h.lease.TTL)\n",
			New:  "\th.deadline = max(h.deadline, a.Call.SentAt+h.lease.TTL-h.lease.TTL/50)\n",
		}},
	},
	{
		Name: "mark-written-earlier",
		Rule: "S10",
		Edits: []Edit{{
			File: "fencing/mark.go",
			Old:  "\treturn !s.mark.written || at.steady >= s.mark.sent+half || at.server > s.meta.Mark.Add(-half)\n",
			New:  "\treturn !s.mark.written || at.steady >= s.mark.sent+half*3/4 || at.server > s.meta.Mark.Add(-half)\n",
		}},
	},
}
