package oracle

import "github.com/cirrus-id/cirrus/sim/event"

// S9 fail-stop: after a write that failed, the server promises nothing more.

// startsAfterFailure: no write is started after one has failed.
func (o *Oracle) startsAfterFailure(t *term) {
	if t.failed {
		o.violate(PromiseFailStop, "a write was started after one had failed")
	}
}

// promisesAfterFailure: nothing is promised after a write has failed.
func (o *Oracle) promisesAfterFailure(t *term, a *event.Reply) {
	if t.failed {
		o.violate(PromiseFailStop, "node ID %d, epoch %d was promised after a write had failed",
			a.Node, a.Epoch)
	}
}
