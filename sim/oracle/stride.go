package oracle

import (
	"time"

	"github.com/cirrus-id/cirrus/fencing"
)

// S8 stride: a stride becomes shorter only once the longer one has passed.

// shrinks: a mark is written with a shorter stride than the term has loaded no
// earlier than that stride after the loading. A process before it may still promise
// under that one, so whoever loads next must find it until then.
func (o *Oracle) shrinks(t *term, meta *fencing.Meta, s time.Duration) {
	if meta == nil || t.superseded() || meta.Stride >= t.stored {
		return
	}
	if since := s - t.loadedAt; since+t.tolerance() < t.stored {
		o.violate(PromiseStride,
			"the stride is stored as %v only %v after a start that found it to be %v", meta.Stride,
			since, t.stored)
	}
	o.saw("a shorter stride took effect")
}

// keeps is the stride that a term keeps: the one that it was told, where that is
// shorter than the stored one.
func (t *term) keeps() time.Duration {
	if t.server.proc != t.proc {
		return t.meta.Stride // it has ended
	}
	return min(t.meta.Stride, t.server.stride)
}
