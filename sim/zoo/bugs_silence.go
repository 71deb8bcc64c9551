package zoo

import "github.com/cirrus-id/cirrus/sim"

// inNotes changes how silence notes are made and taken away.
func inNotes(old, instead string) []Edit {
	return []Edit{{File: "fencing/silence.go", Old: old, New: instead}}
}

const (
	timeLeft      = "Left: timeLeft(l.deadline - at.steady)"
	notedCeiling  = "Ceiling: l.ceiling}"
	noteBegins    = "\t\t\tw.Batch.Records = append(w.Batch.Records, p.begin(l, rec, pendingSilenceNote))\n"
	durablyHeard  = "\tl.deadline = max(l.deadline, c.deadline)\n"
	looksAtMark   = "\tif !s.promising(at) {\n"
	heardFirst    = "\tif l.note != nil {\n\t\treturn Decision{Write: s.removeNote(p, l, at)}, nil\n\t}\n"
	acquiredFirst = "\tif l.note != nil {\n\t\treturn Decision{Write: s.removeNote(p, l, at)}, true\n\t}\n"
)

// silenceBugs: silence notes that say less or more than what was promised, and
// promises beside them.
var silenceBugs = []Bug{
	{
		Name:  "heartbeat-beside-its-silence-note",
		Rule:  "S5",
		Edits: []Edit{{File: "fencing/heartbeat.go", Old: heardFirst, New: ""}},
		Found: breaks(sim.PromiseSilence),
	},
	{
		Name:  "repeated-acquire-beside-its-silence-note",
		Rule:  "S5",
		Edits: []Edit{{File: "fencing/acquire.go", Old: acquiredFirst, New: ""}},
		Found: breaks(sim.PromiseSilence),
	},
	{
		Name:  "silence-note-from-before-the-heartbeat",
		Rule:  "S5",
		Edits: inNotes(timeLeft, "Left: timeLeft(min(l.due, l.deadline) - at.steady)"),
		Found: breaks(sim.PromiseQuarantine),
	},
	{
		Name:  "silence-note-without-the-stride",
		Rule:  "S6",
		Edits: inNotes(noteBegins, "\t\t\tif l.deadline == s.mark.since+s.mark.longest+l.ttl {\n\t\t\t\trec.Silence.Left -= s.mark.longest\n\t\t\t}\n"+noteBegins),
		Found: breaks(sim.PromiseQuarantine),
	},
	{
		Name: "silence-note-of-a-deposed-leader",
		Rule: "S10",
		Edits: []Edit{
			{File: "store/etcd/kv.go", Old: "type Op struct {\n", New: "type Op struct {\n\tnotes bool\n"},
			inTerm("\tops, err := t.encode(b)\n", "\tops, err := t.encode(b)\n\tfor _, rec := range b.Records {\n\t\tops[0].notes = ops[0].notes || rec.Silence.Noted\n\t}\n"),
			inTerm(guarded, guarded+"\tfor _, op := range ops {\n\t\tif op.notes {\n\t\t\ttxn.If = nil\n\t\t}\n\t}\n"),
		},
		Found: breaks(sim.PromiseTerm),
	},
	{
		Name:  "silence-note-up-to-a-new-ceiling",
		Rule:  "S5",
		Edits: inNotes(notedCeiling, "Ceiling: at.server.Add(2*s.mark.stride + l.ttl)}"),
		Found: breaks(sim.PromiseMark),
	},
	{
		Name: "silence-note-kept-by-a-new-grant",
		Rule: "S5",
		Edits: []Edit{{
			File: "fencing/acquire.go",
			Old:  "\t\tp.unplace(l)\n\t\tl.pending = c\n",
			New:  "\t\tp.unplace(l)\n\t\tl.pending = c\n\t\tif l.note != nil {\n\t\t\trec.Silence = *l.note\n\t\t}\n",
		}},
		Found: breaks(sim.PromiseSilence),
	},
	{
		Name:  "start-above-mark-and-ttl-with-a-silence-note",
		Rule:  "S6",
		Edits: restored("l.ceiling = min(rec.Silence.Ceiling, s.meta.Mark.Add(rec.TTL))", "l.ceiling = rec.Silence.Ceiling"),
		Found: fails("fencing", "TestNotedCeilingIsBounded", "a server writes no note above mark + TTL, and the mark is never lowered: only a hand in the store can make such a note"),
	},
	{
		Name:  "start-without-the-silence-note",
		Rule:  "P4",
		Edits: restored("\t\t\tif rec.Silence.Noted { // nothing", "\t\t\tif false { // nothing"),
		Found: breaks(sim.PromiseLiveness),
	},
	{
		Name: "no-look-at-the-mark-once-a-silence-note-is-gone",
		Rule: "S10",
		Edits: []Edit{
			{File: "fencing/slot.go", Old: "\tnote *Silence\n", New: "\tnote *Silence\n\theard bool\n"},
			{File: "fencing/silence.go", Old: durablyHeard, New: durablyHeard + "\tl.heard = true\n"},
			{File: "fencing/heartbeat.go", Old: looksAtMark, New: "\theard := l.heard\n\tif l.heard = false; !heard && !s.promising(at) {\n"},
		},
		Found: breaks(sim.PromiseMark),
	},
	{
		Name:  "joined-heartbeat-leaves-the-deadline",
		Rule:  "S5",
		Edits: inNotes("\t\tc.deadline = max(c.deadline, at.steady+c.ttl)\n", ""),
		Found: fails("fencing", "TestTranscripts", "a heartbeat that joins is decided on again before it is answered, which moves the deadline anyhow: until then nobody was promised anything"),
	},
	{
		Name:  "silence-noted-once-only",
		Rule:  "P4",
		Edits: inNotes("{ return ttl/20 + s.mark.stride }", "{ return MaxDuration }"),
		Found: breaks(sim.PromiseLiveness),
	},
	{
		Name:  "silence-noted-late-after-a-start",
		Rule:  "P4",
		Edits: restored("\t\t\tl.noteAt = s.mark.since + 2*s.mark.longest\n", "\t\t\tl.noteAt = s.silentAt(now.Steady, rec.TTL)\n"),
		Found: breaks(sim.PromiseLiveness),
	},
}
