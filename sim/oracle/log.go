package oracle

import "github.com/cirrus-id/cirrus/sim/event"

// S14 log: nothing is logged under the lock that heartbeats need.

func (o *Oracle) logsLocked(n event.Logged) {
	o.violate(PromiseLog, "%s logs %q while it holds the lock that heartbeats need", n.Machine,
		n.Message)
}
