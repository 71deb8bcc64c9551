package oracle

import (
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
)

// S10 mark: nothing is promised beyond the mark that is on the disk.

// markRises: the mark is not lowered.
func (o *Oracle) markRises(t *term, meta *fencing.Meta) {
	if meta != nil && meta.Mark < t.meta.Mark {
		o.violate(PromiseMark, "the mark is lowered from %d to %d", t.meta.Mark, meta.Mark)
	}
}

// grantWithinMark: a grant's window ends at mark + TTL at the latest.
func (o *Oracle) grantWithinMark(r *fencing.Record) {
	if most := o.meta.Mark.Add(r.TTL); r.Ceiling > most {
		o.violate(PromiseMark, "node ID %d is granted up to %d, above mark + TTL = %d", r.Node,
			r.Ceiling, most)
	}
}

// withinMark: a promise is made below the mark, and within the stride after the mark
// was sent.
func (o *Oracle) withinMark(t *term, a *event.Reply, s time.Duration) {
	if a.Server > int64(t.meta.Mark) {
		o.violate(PromiseMark, "a promise was made at server time %d, above the mark, %d", a.Server,
			t.meta.Mark)
	}
	if most := int64(t.meta.Mark.Add(a.TTL)); a.Ceiling > most && o.maxTTL == a.TTL {
		o.violate(PromiseMark, "ceiling %d was promised, above mark + TTL = %d", a.Ceiling, most)
	}
	switch {
	case !t.written:
		o.violate(PromiseMark, "a promise was made before this start's first mark was written")
	case s > t.markAt+t.keeps()+t.tolerance():
		o.violate(PromiseMark,
			"a promise was made %v after the mark was sent, later than the stride, %v", s-t.markAt,
			t.keeps())
	}
}

// TillMark returns how long after now the mark of a process's term runs out, by its
// machine's steady clock, the stride that it keeps and what two readings may be off;
// false: it has written none.
func (o *Oracle) TillMark(by event.Process) (left, stride, tolerance time.Duration, ok bool) {
	t := o.term(o.process(by))
	if !t.written {
		return 0, 0, 0, false
	}
	return t.markAt + t.keeps() - t.steady(), t.keeps(), t.tolerance(), true
}
