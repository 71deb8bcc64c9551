package oracle

import (
	"time"

	"github.com/cirrus-id/cirrus/sim/event"
)

// S9 timeout: a request is answered in time, however long the store takes.

// storeTimeout is how long a request may wait for the store, all its waits
// together.
const storeTimeout = 2 * time.Second

// answersInTime: an answer is sent in time. With replicas it is etcd's client that
// gives up.
func (o *Oracle) answersInTime(op *operation, t *term, a *event.Reply) {
	if o.config.Replicated || op.held {
		return
	}
	c := &op.proc.server.clock
	if c.Frozen > op.arrivedAt || c.Woke > op.arrivedAt {
		return
	}
	// of what it reads, and of its timer
	took, slack := c.Steady-op.steady, 10*time.Millisecond+2*t.tolerance()
	if most := op.call.Wait + storeTimeout; took > most+slack {
		o.violate(PromiseTimeout, "%s #%d is answered %v after it arrived, and it may take %v",
			op.call.Procedure, op.call.Number, took, most)
	}
	if a.Code == "unavailable" && took >= storeTimeout-slack {
		o.saw("a request was answered before the store")
	}
}
