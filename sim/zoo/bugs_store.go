package zoo

import "github.com/cirrus-id/cirrus/sim"

// unsynced is a store that doesn't sync the commits that a condition on the
// batch b names.
func unsynced(when string) []Edit {
	return []Edit{{
		File: "store/pebble/store.go",
		Old:  "\t\terr = s.apply(batch)\n",
		New: "\t\tif " + when + ` {
			err = s.db.Apply(batch, pebble.NoSync)
		} else {
			err = s.apply(batch)
		}
`,
	}}
}

// oneRecord is a condition: the batch b changes one record's status to this.
func oneRecord(status string) string {
	return "b.Meta == nil && len(b.Records) == 1 && b.Records[0].Status == fencing." + status
}

// unawaited is a service that takes those writes for durable that a condition
// on the batch b names, while they are still under way.
func unawaited(when string) []Edit {
	return []Edit{{
		File: "service/term.go",
		Old:  "\treturn t.store.Commit(t.ctx, b)\n",
		New: "\tif " + when + ` {
		t.s.cfg.Runner.Go(func() { _ = t.store.Commit(t.ctx, b) })
		return nil
	}
	return t.store.Commit(t.ctx, b)
`,
	}}
}

// storeBugs: what is promised is not durable, or what failed was promised.
var storeBugs = []Bug{
	{
		Name:  "grant-not-synced",
		Rule:  "S1",
		Edits: unsynced(oneRecord("Live")),
		Found: breaks(sim.PromiseDurable),
	},
	{
		Name:  "release-not-synced",
		Rule:  "S1",
		Edits: unsynced(oneRecord("Ended")),
		Found: breaks(sim.PromiseDurable),
	},
	{
		Name:  "revoke-not-synced",
		Rule:  "S1",
		Edits: unsynced(oneRecord("Revoked")),
		Found: breaks(sim.PromiseDurable),
	},
	{
		// The high-water file stands behind it, and refuses the store (S13): both
		// must fall.
		Name:  "mark-not-synced",
		Rule:  "S1",
		Edits: append(unsynced("b.Meta != nil"), highWaterIgnored...),
		Found: breaks(sim.PromiseDurable),
	},
	{
		Name:  "grant-answered-before-its-write",
		Rule:  "S1",
		Edits: unawaited(oneRecord("Live")),
		Found: breaks(sim.PromiseDurable),
	},
	{
		Name:  "release-answered-before-its-write",
		Rule:  "S1",
		Edits: unawaited(oneRecord("Ended")),
		Found: breaks(sim.PromiseDurable),
	},
	{
		Name:  "revoke-answered-before-its-write",
		Rule:  "S1",
		Edits: unawaited(oneRecord("Revoked")),
		Found: breaks(sim.PromiseDurable),
	},
	{
		Name: "two-writes-of-one-record",
		Rule: "S1",
		Edits: []Edit{{
			File: "fencing/release.go",
			Old: `	if p.pendingOf(ref.Node) != nil {
		return Decision{Wait: WaitKey}, nil
	}
	l := p.slots.at(ref.Node)
`,
			New: "\tl := p.slots.at(ref.Node)\n",
		}},
		Found: breaks(sim.PromiseDurable),
	},
	{
		Name: "failed-write-forgiven",
		Rule: "S9",
		Edits: []Edit{{
			File: "service/term.go",
			Old:  "\t\tt.fail(err)\n",
			New:  "",
		}},
		Found: breaks(sim.PromiseFailStop),
	},
	{
		// Three lines of defence stand behind each other here: all must fall.
		Name: "fatalf-returns",
		Rule: "S9",
		Edits: []Edit{
			{
				File: "store/pebble/options.go",
				Old:  "\tl.failure.now(cause(format, args))\n",
				New:  "\tl.log.Error(cause(format, args).Error())\n",
			},
			{
				File: "store/pebble/failstop.go",
				Old:  "\tif err != nil && w.armed.Load() {\n",
				New:  "\tif err != nil && w.armed.Load() && false {\n",
			},
		},
		Found: breaks(sim.PromiseFailStop),
	},
}
