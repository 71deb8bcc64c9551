package client

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

// Holder holds a lease for an app: it keeps it alive, replaces it when it is
// lost, and has the generator that mints under it. Get one from Hold; give it
// back with Release. All methods are safe for use by many goroutines.
type Holder struct {
	cfg       *config
	service   service
	generator *snowflake.Generator

	// now is what the app sees; the loop stores a new one with each change.
	now atomic.Pointer[view]
	// why is why the last call failed; nil if it did not.
	why atomic.Pointer[error]

	mail mailbox
	loop loop
	log  *logger

	// first opens when the first lease is held or the holder is over, stopped
	// when minting has ended for a Release, over when nothing will change any
	// more. The errors are set before over opens.
	first, stopped, over latch
	holdErr, releaseErr  error
}

// ErrEnded says that the holder was released, or ended for good. Hold again to
// get another lease.
var ErrEnded = errors.New("the holder has ended: hold again to get another lease")

// errAsking is all there is to say while the service has not answered yet.
var errAsking = errors.New("no lease is held just now: the service has been asked")

// view is one snapshot of the lease. It is never changed.
type view struct {
	lease    fencing.Lease
	deadline time.Duration // steady
	held     bool          // the rules hold it; whether it is live, the clock says
	lost     latch         // opens when it stops being live
}

// latch is a channel that is closed once, and then stays open for all who want
// to pass.
type latch chan struct{}

// opened is a latch that is open from the first.
func opened() latch {
	l := make(latch)
	l.open()
	return l
}

// open is for one goroutine alone: the holder's loop, once there is one.
func (l latch) open() {
	if !l.isOpen() {
		close(l)
	}
}

func (l latch) isOpen() bool {
	select {
	case <-l:
		return true
	default:
		return false
	}
}

// Hold asks the service at target for a lease for the app, and returns when one
// is held. app is 1 to 253 bytes of UTF-8, by which the service knows which node
// ID to give back after a restart; it need not be unique.
//
// target is an http:// or https:// URL, or several with commas between them, one
// for each replica of the service. A host name that has several IPs counts as so
// many addresses, looked up again when one of them fails, and every minute. The
// holder keeps to an address that works, and leaves one that can't be reached,
// is silent for its share of a third of the TTL, or answers UNAVAILABLE, for the
// next one at once. Holders begin at different ones.
//
// ctx bounds how long Hold tries, and nothing after that; its values go along
// with every call that the holder makes. Errors: what is wrong with an option;
// the service's error, at once if asking again is of no use; ctx's, together
// with the last answer's. For the service's, connect.CodeOf gives the code.
//
// If Hold fails, a lease that was granted but not heard of runs out by itself.
func Hold(ctx context.Context, target, app string, opts ...Option) (*Holder, error) {
	cfg, err := newConfig(target, app, opts)
	if err != nil {
		return nil, err
	}
	h := newHolder(ctx, cfg)
	cfg.runner.Go(h.run)
	cfg.runner.Wait(nil, h.first, ctx.Done())
	if !h.first.isOpen() {
		h.mail.post(func() { h.abandon(ctx.Err()) })
		cfg.runner.Wait(nil, h.over, nil)
	}
	if h.over.isOpen() && h.holdErr != nil {
		return nil, fmt.Errorf("no lease of pool %q for app %q from %s: %w", cfg.rules.Pool, app, cfg.target(), h.holdErr)
	}
	return h, nil
}

func newHolder(ctx context.Context, cfg *config) *Holder {
	h := &Holder{
		cfg:       cfg,
		service:   newService(cfg),
		generator: snowflake.NewGenerator(cfg.steady, snowflake.Options{MaxLead: cfg.maxLead}),
		mail:      mailbox{wake: make(chan struct{}, 1)},
		loop:      newLoop(context.WithoutCancel(ctx), cfg.rules),
		log:       newLogger(context.WithoutCancel(ctx), cfg),
		first:     make(latch), stopped: make(latch), over: make(latch),
	}
	h.now.Store(&view{lost: opened()})
	return h
}

// Lease returns the lease as it is now: node ID, epoch and all the rest as one
// snapshot. After a loss, and until a new lease is held, it is the last one with
// nothing remaining.
func (h *Holder) Lease() Lease {
	v := h.now.Load()
	return Lease{Lease: v.lease, Remaining: h.remaining(v)}
}

// NodeID returns the lease's node ID. Where the epoch matters as well, take both
// from one Lease.
func (h *Holder) NodeID() snowflake.NodeID { return h.now.Load().lease.Node }

// Epoch returns the lease's epoch, the fencing token.
func (h *Holder) Epoch() fencing.Epoch { return h.now.Load().lease.Epoch }

// Remaining returns how long the node ID may be used without another heartbeat;
// 0 if it must not be.
func (h *Holder) Remaining() time.Duration { return h.remaining(h.now.Load()) }

// Valid says whether the node ID may be used now. It looks at the steady clock
// itself (C4).
func (h *Holder) Valid() bool { return h.Remaining() > 0 }

// Err says why the node ID must not be used now; nil: it may be. It is the
// error of the last call, if that failed, or that of the service which ended the
// holder, or ErrEnded after Release.
func (h *Holder) Err() error {
	v := h.now.Load()
	switch {
	case h.remaining(v) > 0:
		return nil
	case h.over.isOpen():
		return errors.Join(ErrEnded, h.holdErr)
	}
	if why := h.why.Load(); why != nil {
		return *why
	}
	return errAsking
}

// remaining is given a view that was loaded before the clock is read, so the
// reading is never older than the view.
func (h *Holder) remaining(v *view) time.Duration {
	if !v.held {
		return 0
	}
	return max(0, v.deadline-h.cfg.steady.Now())
}

// Lost returns a channel that is closed when the lease that is valid now
// expires, is lost or is given back; if none is, it is closed already. After
// that, get a new one. It comes as soon as the holder's loop notices, so it is
// for going on, not for safety: that is what Valid and the generator are for.
func (h *Holder) Lost() <-chan struct{} {
	v := h.now.Load()
	if h.remaining(v) == 0 {
		return opened()
	}
	return v.lost
}

// Generator returns the generator. It lasts as long as the holder does, over all
// its leases: under each it starts a new state (G4), and between them it
// refuses with snowflake.ErrLeaseNotValid. Its Begin is the holder's alone.
func (h *Holder) Generator() *snowflake.Generator { return h.generator }

// Release ends the holder: it stops minting and then gives the lease back, so
// that others can have the node ID without waiting (C6). When it returns,
// whatever it returns, nothing will be minted any more.
//
// Calls that fail are tried again for up to 30 s. Errors: the last try's; ctx's,
// if that ended first. Then the lease runs out by itself. A lease that was lost
// is no error, and neither is releasing again.
func (h *Holder) Release(ctx context.Context) error {
	h.mail.post(h.release)
	h.cfg.runner.Wait(nil, h.stopped, h.over)
	h.cfg.runner.Wait(nil, h.over, ctx.Done())
	if !h.over.isOpen() {
		h.mail.post(func() { h.abandon(ctx.Err()) })
		h.cfg.runner.Wait(nil, h.over, nil)
	}
	h.log.flush(ctx, h.cfg) // the app may end now
	if h.releaseErr != nil {
		return fmt.Errorf("release of %s: %w", describe(h.now.Load().lease), h.releaseErr)
	}
	return nil
}

func describe(l fencing.Lease) string {
	if l.Epoch == 0 {
		return "no lease"
	}
	return fmt.Sprintf("node ID %d, epoch %d of pool %q", l.Node, l.Epoch, l.Pool)
}
