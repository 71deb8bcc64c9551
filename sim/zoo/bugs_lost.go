package zoo

import "github.com/cirrus-id/cirrus/sim"

// inHighWater changes how the high-water file is kept.
func inHighWater(old, instead string) []Edit {
	return []Edit{{File: "store/pebble/highwater.go", Old: old, New: instead}}
}

// highWaterIgnored is a store that is opened whatever its high-water file says.
var highWaterIgnored = inHighWater("\tif err == nil {\n\t\terr = noted.lost(kept)\n\t}\n", "")

// lowersBase is a start or a term, as when says, whose base rises over the last
// one by the clock alone.
func lowersBase(when string) []Edit {
	const begins = "\tif t.core, err = fencing.NewServer(snap, cfg.Stride, t.s.now()); err != nil {\n"
	return []Edit{{File: "service/term.go", Old: begins, New: "\tif " + when + " {\n\t\tsnap.Meta.FirstEpoch -= min(snap.Meta.FirstEpoch, 1<<20)\n\t}\n" + begins}}
}

// lostBugs: a store has lost what it acknowledged, and nobody notices, or its
// epochs come again.
var lostBugs = []Bug{
	{
		Name:  "base-repeated-within-a-second-by-a-start",
		Rule:  "S2",
		Edits: lowersBase("cfg.Cluster == nil"),
		Found: breaks(sim.PromiseEpochs),
	},
	{
		Name:  "base-repeated-within-a-second-by-a-term",
		Rule:  "S2",
		Edits: lowersBase("cfg.Cluster != nil"),
		Found: breaks(sim.PromiseEpochs),
	},
	{
		Name: "grants-below-the-base",
		Rule: "S2",
		Edits: []Edit{{
			File: "fencing/pools.go",
			Old:  "highest: firstEpoch - 1,",
			New:  "highest: firstEpoch - 2*epochsPerSecond,",
		}},
		Found: breaks(sim.PromiseEpochs),
	},
	{
		Name: "lost-write-not-told",
		Rule: "S12",
		Edits: []Edit{{
			File: "fencing/alarm.go",
			Old:  "\t\tr.Forgotten = p.alarms.first(alarm{ref.Node, ref.Epoch})\n",
			New:  "",
		}},
		Found: Finder{Promises: []sim.Promise{sim.PromiseAlarm}, Profile: sim.Vows},
	},
	{
		Name:  "high-water-not-looked-at",
		Rule:  "S13",
		Edits: highWaterIgnored,
		Found: breaks(sim.PromiseLostWrites),
	},
	{
		Name:  "high-water-without-the-base",
		Rule:  "S13",
		Edits: inHighWater("\tif kept.mark >= w.mark && kept.base >= w.base {\n", "\tif kept.mark >= w.mark {\n"),
		Found: breaks(sim.PromiseLostWrites),
	},
	{
		Name:  "high-water-a-mark-late",
		Rule:  "S13",
		Edits: inHighWater("\th.wanted = h.wanted.with(to)\n\tfollows", "\tlater := h.wanted.with(to)\n\tdefer func() { h.wanted = later }()\n\tfollows"),
		Found: breaks(sim.PromiseLostWrites),
	},
	{
		Name: "high-water-before-the-database",
		Rule: "S13",
		Edits: []Edit{{
			File: "store/pebble/store.go",
			Old:  "\tif err := s.commit(b, note); err != nil || b.Meta == nil {\n\t\treturn err\n\t}\n\treturn s.high.raise(waterOf(b.Meta)) // S13: it is durable in the database by now\n",
			New:  "\tif b.Meta != nil {\n\t\tif err := s.high.raise(waterOf(b.Meta)); err != nil {\n\t\t\treturn err\n\t\t}\n\t}\n\treturn s.commit(b, note)\n",
		}},
		Found: breaks(sim.PromiseLostWrites),
	},
	{
		// An empty file is no file of Cirrus's, so its store is never served again.
		Name:  "high-water-not-synced",
		Rule:  "S13",
		Edits: inHighWater("\tif _, err = f.Write(data); err == nil {\n\t\terr = f.Sync()\n\t}\n", "\t_, err = f.Write(data)\n"),
		Found: breaks(sim.PromiseLiveness),
	},
}
