package oracle

import (
	"strings"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
)

// S12 alarm: a holder that knows of a lease which the store has lost is noticed.

// vanish notes the leases whose records a store has lost.
func (o *Oracle) vanish(kept fencing.Snapshot) {
	has := map[event.Key]fencing.Epoch{}
	for i := range kept.Records {
		r := &kept.Records[i]
		has[event.KeyOf(r)] = r.Epoch
	}
	for _, k := range o.order {
		n := o.nodes[k]
		if l := n.lease(uint64(n.durable.Epoch)); l != nil && has[k] < n.durable.Epoch &&
			n.durable.Status == fencing.Live {
			l.vanished = true
		}
	}
}

// alarmed: a LEASE_LOST for a holder whose lease the store has lost is counted, if
// the server can know. The log may wait a second to tell of several at once.
func (o *Oracle) alarmed(d *fencing.Record, l *lease, lostWrites int) {
	if l == nil || !l.vanished || o.forged || uint64(d.Epoch) >= l.epoch {
		return
	}
	o.saw("the holder of a lease that the store had lost came back")
	if lostWrites == 0 {
		o.violate(PromiseAlarm,
			"a holder knows of epoch %d, the store of epoch %d, and it is not counted", l.epoch,
			d.Epoch)
	}
}

// logged takes a line that a server logs.
func (o *Oracle) logged(n event.Logged) {
	if n.Locked {
		o.logsLocked(n)
		return
	}
	if strings.Contains(n.Message, "(S12)") && !o.forged {
		o.alarms++
		o.saw("the server found that its store had lost a write")
		if o.config.Replicated {
			o.neverLost()
		}
	}
	if strings.Contains(n.Message, "panicked") {
		o.panicked()
	}
}
