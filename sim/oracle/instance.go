package oracle

import "github.com/cirrus-id/cirrus/sim/event"

// C1 instance: each lease has an instance ID of its own.

// instanceIsOwn: an instance ID is for one lease of one process.
func (o *Oracle) instanceIsOwn(c *event.Call) {
	if !c.FromApp {
		return
	}
	from := o.process(c.From)
	i := o.instances[c.Instance]
	switch {
	case i == nil:
		i = &instance{of: from}
		o.instances[c.Instance] = i
	case i.of != from:
		o.violate(PromiseInstance, "%s uses an instance ID of another process", c.From.Machine)
	case i.used && c.Procedure == event.CallAcquire:
		o.violate(PromiseInstance, "%s asks for a lease with an instance ID that has had one",
			c.From.Machine)
	}
	i.used = i.used || c.Procedure != event.CallAcquire
}
