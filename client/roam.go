package client

import (
	"context"
	"log/slog"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/internal/reach"
)

// How often the names among a service's addresses are looked up again.
const (
	lookupEvery        = time.Minute
	lookupAfterFailure = time.Second // since the last lookup
)

// lookup is how it stands with looking names up.
type lookup struct {
	cancel   context.CancelFunc // of the one under way
	underWay bool
	at       time.Duration // steady, of the last one
	failed   bool          // an address has failed since
}

// begin acquires the first lease, once it is known where: at an address that
// needs no lookup, or at the first that is found.
func (h *Holder) begin() {
	h.loop.rules.Addresses(h.service.addrs.Len())
	known := h.service.addrs.StartKnown()
	if h.service.addrs.Named() {
		h.look(!known)
	}
	if known {
		h.acquire()
	}
}

// look looks names up beside the loop. acquire says that the first lease waits
// for it.
func (h *Holder) look(acquire bool) {
	l := &h.loop
	ctx, cancel := context.WithCancel(l.base)
	l.lookup = lookup{cancel: cancel, underWay: true, at: h.steady()}
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
		h.mail.post(func() { l.calls--; l.lookup.underWay = false; begin() })
	})
}

// take takes over the addresses that were found.
func (h *Holder) take(found reach.Found) {
	h.service.addrs.Take(found)
	h.loop.rules.Addresses(h.service.addrs.Len())
}

// lookAgain looks names up again if it is time. No call waits for it.
func (h *Holder) lookAgain() {
	l := &h.loop.lookup
	if l.underWay || !h.service.addrs.Named() {
		return
	}
	every := lookupEvery
	if l.failed {
		every = lookupAfterFailure
	}
	if h.steady()-l.at >= every {
		h.look(false)
	}
}

// noteAddress keeps what an answer tells of the address that it came from.
func (h *Holder) noteAddress(from *reach.Address, a fencing.Answer, err error) {
	if a.Elsewhere {
		h.leave(from, err)
	} else {
		h.service.addrs.Answered(from)
	}
}

// leave goes on to the next address, if there is one. What was asked here may
// still be answered: that does no harm (C7).
func (h *Holder) leave(a *reach.Address, err error) {
	h.loop.lookup.failed = true
	if h.service.addrs.Leave(a, err) {
		h.log.say(slog.LevelWarn, "an address of the service fails: going on to the next", "address", a.String(), "error", err)
	}
}
