package oracle

import (
	"cmp"
	"slices"
	"time"

	"github.com/cirrus-id/cirrus/sim/event"
)

// P1 exclusion: at no instant do two live holders share a node ID.

// exclusion reports whether P1 is checked.
func (o *Oracle) exclusion() bool { return o.config.Exclusive && !o.softened }

// live judges a holder that takes itself for live: whether it may, and whether it
// is the only one.
func (o *Oracle) live(a *app, n event.Live) {
	o.entitled(a, n)
	if !o.exclusion() {
		return
	}
	for _, other := range n.Others {
		o.violate(PromiseExclusion, "%s (epoch %d) and %s (epoch %d) both hold node ID %d",
			a.name(), n.Lease.Epoch, o.apps[other.App].name(), other.Epoch, n.Lease.Node)
		o.softened = true // it would only repeat itself
	}
}

// entitled checks that a live holder counts its TTL from before it asked (C2), and
// that neither deadline nor ceiling ever go back (C7).
func (o *Oracle) entitled(a *app, n event.Live) {
	l, deadline := n.Lease, n.Clock.Steady+n.Left
	most := time.Duration(0)
	for _, win := range a.windows {
		if win.epoch == uint64(l.Epoch) && win.key.Node == int(l.Node) {
			most = max(most, win.deadline)
		}
	}
	slack := n.Clock.Resolution + time.Microsecond
	if deadline > most+slack {
		o.violate(PromiseExclusion,
			"%s takes its lease of node ID %d, epoch %d for live %v longer than any answer allows",
			a.name(), l.Node, l.Epoch, deadline-most)
	}
	if old := &a.seen; old.Epoch == l.Epoch && old.Node == l.Node {
		if l.Ceiling < old.Ceiling || deadline+slack < a.deadline {
			o.violate(PromiseExclusion, "%s moves deadline or ceiling of node ID %d, epoch %d back",
				a.name(), l.Node, l.Epoch)
		}
	}
	a.seen, a.deadline = l, deadline
	o.noteExtended(a, l, deadline, n.Clock)
}

// mintedLate reports a holder that minted though its deadline had passed.
func (o *Oracle) mintedLate(a *app) {
	o.violate(PromiseExclusion, "%s minted after its deadline", a.name())
}

// oneLive: no two holders of a node ID are live at one instant.
func (o *Outside) oneLive(grants []*event.Grant) {
	type life struct {
		event.Span
		grant *event.Grant
	}
	var lives []life
	for _, g := range grants {
		for _, s := range g.Live {
			lives = append(lives, life{s, g})
		}
	}
	slices.SortFunc(lives, func(a, b life) int { return cmp.Compare(a.From, b.From) })
	var last life // of all before, the one that is live for longest
	for _, l := range lives {
		if last.grant != nil && last.grant != l.grant && l.From < last.To {
			o.violate(PromiseExclusion, "two are live at %v: %v, and %v", l.From, last.grant,
				l.grant)
		}
		if last.grant == nil || l.To > last.To {
			last = l
		}
	}
}
