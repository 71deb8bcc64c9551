package oracle

import (
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
)

// app is what is known of an app's process.
type app struct {
	proc *process
	pool fencing.PoolName
	// windows are the leases that the process was told of.
	windows []*window
	// noes is what the service has refused the process since it asked for a holder;
	// losses how often it has told it of a lost lease that no holder has spoken of.
	noes, losses int
	// seen and deadline are the lease and its deadline when last checked.
	seen     fencing.Lease
	deadline time.Duration
	// shown is the deadline that the trace has of the lease of the epoch shownFor.
	shown    time.Duration
	shownFor fencing.Epoch
}

func (a *app) name() string { return a.proc.Machine }

// window is what one process was told of one lease.
type window struct {
	key            event.Key
	epoch          uint64
	instance       string
	floor, ceiling int64
	// deadline is the latest, by the machine's steady clock, that answers allow.
	deadline time.Duration
}

// window finds the one that a timestamp lies in.
func (a *app) window(key event.Key, ts int64) *window {
	for i := len(a.windows) - 1; i >= 0; i-- {
		if win := a.windows[i]; win.key == key && ts >= win.floor && ts <= win.ceiling {
			return win
		}
	}
	return nil
}

// hearOfHolder takes news of apps and what they do with their leases.
func (o *Oracle) hearOfHolder(news event.News) {
	switch n := news.(type) {
	case event.AppStarted:
		a := o.apps[n.App]
		if a == nil {
			a = &app{}
			o.apps[n.App] = a
		}
		a.proc, a.pool, a.windows, a.seen = o.process(n.Process), n.Pool, nil, fencing.Lease{}
	case event.Asks:
		a := o.apps[n.App]
		a.noes, a.losses = 0, 0
	case event.Ends:
		o.wasRefused(o.apps[n.App], o.process(n.Process), n.Words)
	case event.Loses:
		o.wasToldLost(o.apps[n.App], o.process(n.Process), n.Node)
	case event.Minted:
		for _, id := range n.IDs {
			o.minted(o.apps[n.App], n.PoolIndex, id)
		}
	case event.MintedLate:
		o.mintedLate(o.apps[n.App])
	case event.Used:
		o.used(o.apps[n.App], n.Key, n.Epoch)
	case event.Live:
		o.live(o.apps[n.App], n)
	case event.Shown:
		a := o.apps[n.App]
		if a == nil {
			return
		}
		a.shown = 0
		if n.Holds {
			o.noteExtended(a, n.Lease, a.deadline, n.Clock)
		}
	}
}

// toldApp takes an answer that reaches an app.
func (o *Oracle) toldApp(n event.Answered) {
	a, r := o.apps[n.App], n.Reply
	if r.Lease && r.Instance == n.To.Instance {
		a.told(event.Key{Pool: n.Call.Pool, Node: r.Node}, r, n.SentAt+r.TTL)
		return
	}
	if !r.Good {
		a.noes++
		if r.Lost {
			a.losses++
		}
	}
}

// told takes a lease that an answer told the process of.
func (a *app) told(key event.Key, r *event.Reply, deadline time.Duration) {
	for _, win := range a.windows {
		if win.key == key && win.epoch == r.Epoch {
			win.ceiling = max(win.ceiling, r.Ceiling)
			win.deadline = max(win.deadline, deadline)
			return
		}
	}
	a.windows = append(a.windows, &window{key: key, epoch: r.Epoch, instance: r.Instance,
		floor: r.Floor, ceiling: r.Ceiling, deadline: deadline})
}

// Instance returns the instance of a lease that an app's process was told of; "":
// it was told of none with that epoch.
func (o *Oracle) Instance(index int, epoch uint64) string {
	if a := o.apps[index]; a != nil {
		for _, win := range a.windows {
			if win.epoch == epoch {
				return win.instance
			}
		}
	}
	return ""
}

// RecentInstance returns the instance of the lease that an app's process was told
// of last, or ago leases before that; "": there were not so many.
func (o *Oracle) RecentInstance(index, ago int) string {
	a := o.apps[index]
	if a == nil || len(a.windows) <= ago {
		return ""
	}
	return a.windows[len(a.windows)-1-ago].instance
}
