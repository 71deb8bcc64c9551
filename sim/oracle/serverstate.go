package oracle

import "github.com/cirrus-id/cirrus/sim/event"

// server state: the server's own books are in order.

// checked takes what a server's check of its own state came to.
func (o *Oracle) checked(n event.Checked) {
	s := o.servers[n.Server]
	if s.leads = n.Leads; n.Leads {
		if t := o.terms[s.proc]; t != nil && t.servesFrom == 0 {
			t.servesFrom = max(s.clock.Steady, 1)
		}
		if n.Leaders > 1 {
			o.saw("two replicas thought that they led")
		}
	}
	if n.Fault != "" {
		o.violate(PromiseState, "%s", n.Fault)
	}
}

func (o *Oracle) panicked() { o.violate(PromiseState, "a handler panicked") }
