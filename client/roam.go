package client

import (
	"context"
	"log/slog"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/internal/reach"
)

// How often the host names among the service's addresses are looked up again.
const (
	lookupEvery        = time.Minute
	lookupAfterFailure = time.Second // since the last lookup
)

// lookup is the state of looking up host names.
type lookup struct {
	cancel     context.CancelFunc // of the one in progress
	inProgress bool
	at         time.Duration // steady, of the last one
	failed     bool          // an address has failed since
}

// begin acquires the first lease: at once if an address needs no lookup,
// otherwise when a lookup has found the first address.
func (h *Holder) begin() {
	h.loop.rules.Addresses(h.service.addrs.Len())
	known := h.service.addrs.StartKnown()
	if h.service.addrs.Named() {
		h.lookUp(!known)
	}
	if known {
		h.acquire()
	}
}

// lookUp starts a lookup of all host names outside the loop. If acquire is set,
// the first lease is acquired when the lookup has found an address or has ended.
func (h *Holder) lookUp(acquire bool) {
	l := &h.loop
	ctx, cancel := context.WithCancel(l.base)
	l.lookup = lookup{cancel: cancel, inProgress: true, at: h.steady()}
	l.calls++
	begin := func() {
		if acquire {
			acquire = false
			h.acquire()
		}
	}
	h.cfg.runner.Go(func() {
		h.service.addrs.Find(ctx, func(found reach.Found) {
			h.mail.post(func() { h.take(found); begin() })
		})
		cancel()
		h.mail.post(func() { l.calls--; l.lookup.inProgress = false; begin() })
	})
}

// take adopts the addresses that a lookup found.
func (h *Holder) take(found reach.Found) {
	h.service.addrs.Take(found)
	h.loop.rules.Addresses(h.service.addrs.Len())
}

// lookUpIfDue starts another lookup if one is due. No call waits for it.
func (h *Holder) lookUpIfDue() {
	l := &h.loop.lookup
	if l.inProgress || !h.service.addrs.Named() {
		return
	}
	every := lookupEvery
	if l.failed {
		every = lookupAfterFailure
	}
	if h.steady()-l.at >= every {
		h.lookUp(false)
	}
}

// noteAddress records whether the address that answered works.
func (h *Holder) noteAddress(from *reach.Address, a fencing.Answer, err error) {
	if a.Elsewhere {
		h.leave(from, err)
	} else {
		h.service.addrs.Answered(from)
	}
}

// leave moves on to the next address, if there is one. The call to this address
// may still be answered later, which does no harm (C7).
func (h *Holder) leave(a *reach.Address, err error) {
	h.loop.lookup.failed = true
	if h.service.addrs.Leave(a, err) {
		h.log.say(slog.LevelWarn, "an address of the service failed: trying the next one",
			"address", a.String(), "error", err)
	}
}
