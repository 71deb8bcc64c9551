package oracle

// C5 answer: only the service's own words end a lease or a holder.

// wasToldLost: a holder takes its lease for lost only if the service has told it.
func (o *Oracle) wasToldLost(a *app, p *process, node int) {
	switch {
	case a.proc != p:
	case a.losses == 0:
		o.violate(PromiseAnswer,
			"%s takes its lease of node ID %d for lost, but the service has not told it so",
			a.name(), node)
	default:
		a.losses = 0
	}
}

// wasRefused: a holder ends only if the service has refused it something.
func (o *Oracle) wasRefused(a *app, p *process, words string) {
	if a.proc == p && a.noes == 0 {
		o.violate(PromiseAnswer, "%s %s, but the service has refused it nothing", a.name(), words)
	}
}
