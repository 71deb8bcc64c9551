package explore

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

// say adds to the description of the present step.
func (w *world) say(format string, args ...any) {
	if w.verbose {
		w.words = append(w.words, fmt.Sprintf(format, args...))
	}
}

// serverName returns the leader's number: how many servers have led.
func (w *world) serverName(s *state) int {
	return 1 + w.scope.Crashes - int(s.budget.crashes) + w.scope.Takeovers - int(s.budget.takeovers)
}

func deposedName(i int) string {
	return [...]string{"the deposed server", "the server that was deposed after it"}[i]
}

// epoch returns an epoch as counted from the base of the first start. The bases of
// later starts are multiples of 2^20 above it.
func (w *world) epoch(e fencing.Epoch) string {
	const step = 1 << 20 // the least distance of a base from the one before (S2)
	d := e - w.firstEpoch - step
	if d < step {
		return fmt.Sprintf("e%d", d+1)
	}
	return fmt.Sprintf("e%d+%d×2^20", d%step+1, d/step)
}

// instant returns a server time in seconds since the start of the search.
func instant(m snowflake.Millis) string {
	return strconv.FormatFloat(float64(m-startOfTime)/1000, 'f', -1, 64) + "s"
}

func (w *world) window(v window) string {
	return fmt.Sprintf("node ID %d, %s to %s, under epoch %s",
		v.node, instant(v.floor), instant(v.ceiling), w.epoch(v.epoch))
}

func (w *world) lease(l *fencing.Lease) string {
	return fmt.Sprintf("node ID %d under epoch %s, server time %s, window %s to %s",
		l.Node, w.epoch(l.Epoch), instant(l.ServerTime), instant(l.Floor), instant(l.Ceiling))
}

func (w *world) call(c fencing.Call) string {
	s := fmt.Sprintf("%v", c.Kind)
	switch c.Kind {
	case fencing.CallAcquire:
		s += " as " + shortInstance(c.Instance)
	case fencing.CallRelease:
		s += fmt.Sprintf(" of %s, last timestamp %s", w.epoch(c.Epoch), instant(c.Last))
	default:
		s += " for " + w.epoch(c.Epoch)
	}
	return fmt.Sprintf("%s (sent at %v)", s, c.SentAt)
}

func shortInstance(i fencing.InstanceID) string {
	return "i" + strings.TrimLeft(strings.TrimPrefix(string(i), "instance-"), "0")
}

func (w *world) batch(b *fencing.Batch) string {
	var parts []string
	if b.Meta != nil {
		parts = append(parts, "mark "+instant(b.Meta.Mark))
	}
	for i := range b.Pools {
		parts = append(parts, fmt.Sprintf("pool, opened: %v", b.Pools[i].Opened))
	}
	for i := range b.Records {
		parts = append(parts, w.record(&b.Records[i]))
	}
	return "{" + strings.Join(parts, "; ") + "}"
}

func (w *world) record(r *fencing.Record) string {
	line := fmt.Sprintf("node ID %d %v under %s, %s to %s",
		r.Node, r.Status, w.epoch(r.Epoch), instant(r.Floor), instant(r.Ceiling))
	if r.Silence.Noted {
		line += fmt.Sprintf(", silent with %v left and ceiling %s",
			r.Silence.Left, instant(r.Silence.Ceiling))
	}
	return line
}

func (w *world) contents(n uint32) string {
	d := w.disks.at(n)
	parts := []string{"mark " + instant(d.meta.Mark)}
	for i := range d.records {
		if d.records[i].Status != 0 {
			parts = append(parts, w.record(&d.records[i]))
		}
	}
	return "{" + strings.Join(parts, "; ") + "}"
}

// describe describes an operation on a holder and what the holder did.
func (w *world) describe(i int, op holderOp, e *effect) {
	name := nameOf(i)
	switch op.kind {
	case hopReply:
		a := w.answers.at(op.arg)
		w.say("%s gets the answer to its %s: %v", name, w.call(a.Call), a.Verdict)
		if a.Lease.Epoch != 0 {
			w.say(", ceiling %s", instant(a.Lease.Ceiling))
		}
		if op.keep {
			w.say(", which will arrive again")
		}
	case hopRelease:
		w.say("%s releases its lease, having used %s",
			name, [...]string{"nothing", "its floor", "all of its window"}[op.arg])
	case hopRestart:
		w.say("%s dies and starts again", name)
	default:
		w.say("%s reads its clock (%v)", name, span(Units(op.clock)))
	}
	for _, a := range e.acts {
		switch a.Kind {
		case fencing.ActSend:
			w.say("; it sends %s", w.call(a.Call))
		case fencing.ActBegin:
			w.say("; it starts to mint: node ID %d under epoch %s, %s to %s, until %v by its clock",
				a.Lease.Node, w.epoch(a.Lease.Epoch), instant(a.Lease.Floor),
				instant(a.Lease.Ceiling),
				a.Deadline)
		case fencing.ActExtend:
			w.say("; it may mint up to %s, until %v by its clock", instant(a.Lease.Ceiling),
				a.Deadline)
		case fencing.ActStop:
			w.say("; it stops minting")
		case fencing.ActTell:
			w.say("; the app is told: %v", a.Change)
		}
	}
	if e.full {
		w.say("; of the requests from %s one is lost", name)
	}
}

// opening returns the first line of a transcript.
func (w *world) opening() string {
	c := w.scope
	return fmt.Sprintf(
		"    steady  what happens (ttl %v, quarantine %v, stride %v, node IDs 0 to %d)",
		span(c.TTL), span(c.Quarantine), span(c.Stride), c.Nodes-1)
}
