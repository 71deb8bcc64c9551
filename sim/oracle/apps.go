package oracle

import (
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
)

// The second half of P4: an app without a lease asks, and gets what there is.

// PoolNames are those of all pools that there may be.
var PoolNames = []fencing.PoolName{fencing.DefaultPool, "second"}

// Missing reports whether one of these apps has no node ID yet and will have one.
func (o *Oracle) Missing(apps []event.App) bool {
	for _, name := range PoolNames {
		if o.without(apps, name) != nil {
			return true
		}
	}
	return false
}

// without is an app that has no node ID of its pool and should get one; nil:
// there is none.
func (o *Oracle) without(apps []event.App, name fencing.PoolName) *event.App {
	if !o.config.Judged {
		return nil
	}
	p := o.pool(name)
	if !p.known {
		return nil // the store has lost it, and nobody makes it again
	}
	asking, live := 0, 0
	var without *event.App
	for i := range apps {
		a := &apps[i]
		if a.Gone || a.Pool != name {
			continue
		}
		asking++
		if a.Live {
			live++
		} else if without == nil {
			without = a
		}
	}
	if live >= min(asking, p.size()) {
		return nil
	}
	return without
}

// late: no app has no node ID though there had to be one for it.
func (o *Oracle) late(apps []event.App) {
	t, limit := o.ruling(), o.faultsEndedAt+o.starting()
	switch {
	case t == nil && o.now() > limit:
		o.lateBy(o.nobodyServes())
		return
	case t == nil:
		return
	case t.since > limit:
		o.lateBy(t.server.name + " took over at " + t.since.String() +
			", though nothing had happened to who led before")
		return
	}
	now := t.steady()
	for _, name := range PoolNames {
		p := o.pool(name)
		missing := o.without(apps, name)
		if missing == nil || !p.Opened {
			continue
		}
		since := max(o.undisturbed(t), p.openedAt)
		if at, ok := o.spareNode(t, p, apps); ok && now > max(at, since)+o.asks(missing) {
			o.lateBy(missing.Name + " has no node ID, and pool " + string(name) +
				" has had one for it for " + (now - max(at, since)).String())
			return
		}
	}
}

func (o *Oracle) lateBy(what string) {
	o.violate(PromiseLiveness, "%v after faults had stopped, %s", o.now()-o.faultsEndedAt, what)
}

// spareNode is the time by which the first node ID had to be free that no app
// has.
func (o *Oracle) spareNode(t *term, p *pool, apps []event.App) (first time.Duration, ok bool) {
	taken := 0
	for _, k := range o.order {
		if !p.inRange(k) {
			continue
		}
		taken++
		if at, free := o.freeBy(t, o.nodes[k]); free && !isHeld(apps, k) && (!ok || at < first) {
			first, ok = at, true
		}
	}
	if taken < p.size() {
		return p.rangeAt, true
	}
	return first, ok
}

// isHeld reports whether an app has a node ID.
func isHeld(apps []event.App, k event.Key) bool {
	for i := range apps {
		if a := &apps[i]; a.Live && string(a.Pool) == k.Pool && int(a.Node) == k.Node {
			return true
		}
	}
	return false
}

// starting is how long a server may take to serve once faults have stopped: a
// start that fails because its clock is wrong, and two that load slowly.
func (o *Oracle) starting() time.Duration {
	if o.config.Replicated {
		return o.electing()
	}
	return 4 * o.config.TTL
}

func (o *Oracle) nobodyServes() string {
	if o.config.Replicated {
		return "no replica leads"
	}
	return "the server does not serve"
}

// electing is how long it may take, once faults have stopped, until a replica
// leads for good. The session of one that is gone must end (1 of its TTLs),
// those whom no watch has told check again (2), who has lost its own may hear
// late of it (3), and each step may have asked etcd in vain before. Who is
// refused since its clock is wrong lets others try for 5 s, until somebody has
// set it; who resigns may take 2 s; and who has failed, or could not stand for
// election, pauses for up to 1 s each.
func (o *Oracle) electing() time.Duration {
	c := &o.config
	return 6*c.Session + 6*c.EtcdTimeout + c.TTL/2 + 10*time.Second
}

// learning is how long it may take until a replica that follows knows who leads:
// it checks every two TTLs of a session, may have been told wrongly for one more,
// and may have asked etcd in vain before; and a request that was forwarded to one
// that is gone notices that after a while.
func (o *Oracle) learning() time.Duration {
	c := &o.config
	if !c.Replicated {
		return 0
	}
	return 3*c.Session + 2*c.EtcdTimeout + c.PeerTimeout
}

// asks is how long an app may take to ask for a lease and to be heard.
func (o *Oracle) asks(a *event.App) time.Duration {
	c := &o.config
	// an app that was dead comes back, or one that was refused pauses
	start := 5 * c.TTL / 2
	// when to ask again, as a server said that has lost its memory since
	told := c.Longest + 2*c.Quarantine + 2*c.Stride
	told = min(told, fencing.MaxRetryAfter) * 11 / 10 // and the jitter
	// a call that got lost before faults stopped is given up, and tried again
	given := min(a.Wait, fencing.MaxWait) + fencing.MaxTry + fencing.MaxBackoff
	return start + told + given + o.learning()
}
