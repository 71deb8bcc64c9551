package oracle

import (
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
)

// P2 window: IDs lie in the windows that their minters were told, and the windows
// of a node ID don't touch.

// mintsInWindow: a timestamp lies in a window of who minted it.
func (o *Oracle) mintsInWindow(a *app, k event.Key, ts int64) {
	n := o.node(k)
	under := a.window(k, ts)
	if under == nil {
		o.violate(PromiseWindow,
			"%s minted an ID with timestamp %d, which is in no window of node ID %d that it was told", a.name(), ts, k.Node)
		return
	}
	n.used = max(n.used, ts)
	if l := n.lease(under.epoch); l != nil {
		l.used = max(l.used, ts)
		if l.released && ts > l.last && l.instance == under.instance {
			o.violate(PromiseWindow,
				"%s minted timestamp %d of node ID %d after it had said that %d was the last",
				a.name(), ts, k.Node, l.last)
		}
	}
}

// releases: a release names no timestamp below one that was minted.
func (o *Oracle) releases(l *lease, r *event.Request) {
	said := l.ceiling
	if r.Last != nil {
		said = *r.Last
	}
	if said < l.used {
		o.violate(PromiseWindow,
			"the release of node ID %d, epoch %d says that %d was used last, but %d was", r.Node,
			r.Epoch, said, l.used)
	}
	l.last = max(l.last, said)
	l.released = true
}

// windowGrows: a lease that is promised again keeps its floor, and its ceiling does
// not fall.
func (o *Oracle) windowGrows(t *term, l *lease, last *promised, a *event.Reply) {
	before := l.ceiling
	if t.superseded() {
		before = last.ceiling // S3: the other may have promised more by now
	}
	if a.Ceiling < before || a.Floor != l.floor {
		o.violate(PromiseWindow,
			"the window of node ID %d, epoch %d was [%d, %d] and is now [%d, %d]", a.Node, a.Epoch,
			l.floor, before, a.Floor, a.Ceiling)
	}
}

// grantAboveUsed: a grant begins above all timestamps that were minted.
func (o *Oracle) grantAboveUsed(n *node, r *fencing.Record) {
	if int64(r.Floor) <= n.used {
		o.violate(PromiseWindow, "node ID %d is granted from %d, but it was used up to %d", r.Node,
			r.Floor, n.used)
	}
}

// grantAbove: a grant begins above all that an earlier lease was promised or, if it
// was released, has used.
func (o *Oracle) grantAbove(l *lease, r *fencing.Record) {
	until := l.ceiling
	if l.released {
		until = max(l.last, l.floor-1)
	}
	if int64(r.Floor) <= min(until, l.ceiling) {
		o.violate(PromiseWindow,
			"node ID %d is granted from %d, but epoch %d was promised up to %d", r.Node, r.Floor,
			l.epoch, until)
	}
}

// grantAboveLoaded: a grant begins above all that may have been promised before the
// start.
func (o *Oracle) grantAboveLoaded(n *node, r *fencing.Record) {
	if int64(r.Floor) <= n.loadedCeiling {
		o.violate(PromiseWindow,
			"node ID %d is granted from %d, but may have been promised up to %d before this start",
			r.Node, r.Floor, n.loadedCeiling)
	}
}

// endHasWindow: the end of a lease leaves a window that is not below its floor.
func (o *Oracle) endHasWindow(r *fencing.Record) {
	if r.Ceiling < r.Floor-1 {
		o.violate(PromiseWindow,
			"node ID %d, epoch %d is noted as ended with ceiling %d, below its floor, %d", r.Node,
			r.Epoch, r.Ceiling, r.Floor)
	}
}

// endsBelow reports whether the end of a lease lies below what was promised.
func (o *Oracle) endsBelow(l *lease, r *fencing.Record) bool {
	if int64(r.Ceiling) < l.ceiling {
		o.violate(PromiseWindow,
			"node ID %d, epoch %d is noted as ended with ceiling %d, but %d was promised", r.Node,
			r.Epoch, r.Ceiling, l.ceiling)
		return true
	}
	return false
}

// endsAboveUsed: the end of a lease is not below a timestamp that was minted.
func (o *Oracle) endsAboveUsed(l *lease, r *fencing.Record) {
	if int64(r.Ceiling) < l.used {
		o.violate(PromiseWindow, "node ID %d, epoch %d is ended with ceiling %d, but %d was used",
			r.Node, r.Epoch, r.Ceiling, l.used)
	}
}

// windowsApart: of two grants of a node ID, the later floor is above all that the
// earlier one may have used. They come by epoch.
func (o *Outside) windowsApart(grants []*event.Grant) {
	var highest *event.Grant
	for _, g := range grants {
		if highest != nil && g.Floor <= highest.Used() {
			o.violate(PromiseWindow, "%v: its floor %d is not above %d, which was used under %v", g,
				g.Floor, highest.Used(), highest)
		}
		if highest == nil || g.Used() > highest.Used() {
			highest = g
		}
	}
}
