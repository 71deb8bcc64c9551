package oracle

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/cirrus-id/cirrus/sim/event"
)

// Outside judges leases by what an outsider knows of them, who has real servers and
// none of their clocks. It finds less than an Oracle: of two instants it takes the one
// that excuses the service.
type Outside struct {
	// Quarantine is the pools'.
	Quarantine time.Duration
	// Violated takes a promise that is broken, and how.
	Violated func(p Promise, text string)
}

// Judge checks the grants of a whole run, of all pools.
func (o *Outside) Judge(grants []event.Grant) {
	grants = slices.Clone(grants)
	slices.SortStableFunc(grants, func(a, b event.Grant) int {
		return cmp.Compare(a.Epoch,
			b.Epoch)
	})
	byPool, byNode := map[string][]*event.Grant{}, map[event.Key][]*event.Grant{}
	for i := range grants {
		g := &grants[i]
		byPool[g.Pool] = append(byPool[g.Pool], g)
		byNode[g.Key] = append(byNode[g.Key], g)
		o.keptUntilDue(g)
	}
	for _, of := range byPool {
		o.epochsRise(of)
	}
	for _, of := range byNode {
		o.windowsApart(of)
		o.oneLive(of)
		o.rested(of)
	}
}

func (o *Outside) violate(p Promise, format string, args ...any) {
	o.Violated(p, fmt.Sprintf(format, args...))
}
