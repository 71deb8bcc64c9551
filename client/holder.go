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

// Holder holds a lease for an app: it keeps the lease alive, acquires a new one
// after a loss, and has the generator that mints under the lease. Hold returns
// one; Release ends it. All methods are safe for use by many goroutines.
type Holder struct {
	cfg       *config
	service   service
	generator *snowflake.Generator

	// now is the lease as the app sees it; the loop stores a new one with each
	// change.
	now atomic.Pointer[snapshot]
	// why is the error of the last call; nil if that call succeeded.
	why atomic.Pointer[error]

	mail mailbox
	loop loop
	log  *logger

	// first opens when the first lease is held or the holder has ended, stopped
	// when minting has ended for a Release, ended when nothing will change any
	// more. The errors are set before ended opens.
	first, stopped, ended latch
	holdErr, releaseErr   error
}

// ErrEnded means that the holder was released or refused. Call Hold again to get
// another lease.
var ErrEnded = errors.New("the holder has ended: call Hold to get another lease")

// errAsking is the cause that Err returns while the service has not answered yet.
var errAsking = errors.New("no lease is held now: waiting for the service's answer")

// snapshot is the lease as the app sees it. A change stores a new one.
type snapshot struct {
	lease    fencing.Lease
	deadline time.Duration // steady
	held     bool          // the rules hold it; it is live until the deadline
	lost     latch         // opens when it stops being live
}

// latch is a one-time signal: opening it closes the channel, which releases
// everybody who waits for it, now and later.
type latch chan struct{}

// opened returns a latch that is open already.
func opened() latch {
	l := make(latch)
	l.open()
	return l
}

// open opens the latch. Only one goroutine may call it: the holder's loop, once
// that runs.
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
// is held. app is 1 to 253 bytes of UTF-8 and need not be unique; the service
// uses it to grant the same node ID again after a restart.
//
// target is an http:// or https:// URL, or several with commas between them, one
// for each replica of the service. A host name with several IPs counts as one
// address for each IP; it is looked up again every minute, and when one of its
// addresses fails. The holder stays with an address that works. It moves on to
// the next one at once if an address can't be reached, answers UNAVAILABLE, or
// does not answer within its share of a third of the TTL. Holders start at
// different addresses.
//
// ctx bounds how long Hold tries, and nothing after that; its values are passed
// to every call that the holder makes. Errors: what is wrong with an option; the
// service's error, at once if asking again would not help; ctx's error, joined
// with the last call's. connect.CodeOf returns the code of the service's error.
//
// If Hold fails, a lease whose grant did not arrive expires by itself.
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
		cfg.runner.Wait(nil, h.ended, nil)
	}
	if h.ended.isOpen() && h.holdErr != nil {
		return nil, fmt.Errorf("no lease of pool %q for app %q from %s: %w",
			cfg.rules.Pool, app, cfg.target(), h.holdErr)
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
		first:     make(latch), stopped: make(latch), ended: make(latch),
	}
	h.now.Store(&snapshot{lost: opened()})
	return h
}

// Lease returns one snapshot of the lease: node ID, epoch and the rest belong
// together. After a loss, until a new lease is held, it returns the last lease
// with Remaining 0.
func (h *Holder) Lease() Lease {
	s := h.now.Load()
	return Lease{Lease: s.lease, Remaining: h.remaining(s)}
}

// NodeID returns the lease's node ID. Take both from one Lease if the epoch
// matters as well.
func (h *Holder) NodeID() snowflake.NodeID { return h.now.Load().lease.Node }

// Epoch returns the lease's epoch, the fencing token.
func (h *Holder) Epoch() fencing.Epoch { return h.now.Load().lease.Epoch }

// Remaining returns how long the node ID may be used without another heartbeat;
// 0 if it must not be.
func (h *Holder) Remaining() time.Duration { return h.remaining(h.now.Load()) }

// Valid reports whether the node ID may be used now. It reads the steady clock
// itself (C4).
func (h *Holder) Valid() bool { return h.Remaining() > 0 }

// Err returns why the node ID must not be used now, or nil if it may be used. It
// returns the error of the last call, if that failed. After the end it returns
// ErrEnded, joined with the service's error if that ended the holder.
func (h *Holder) Err() error {
	s := h.now.Load()
	switch {
	case h.remaining(s) > 0:
		return nil
	case h.ended.isOpen():
		return errors.Join(ErrEnded, h.holdErr)
	}
	if why := h.why.Load(); why != nil {
		return *why
	}
	return errAsking
}

// remaining returns how long the lease of s is still valid. s was loaded before
// the clock is read, so the reading is never older than the snapshot.
func (h *Holder) remaining(s *snapshot) time.Duration {
	if !s.held {
		return 0
	}
	return max(0, s.deadline-h.cfg.steady.Now())
}

// Lost returns a channel that is closed when the lease that is valid now
// expires, is lost or is released; if no lease is valid, it is closed already.
// Call Lost again for the next lease. The holder's loop closes the channel, which
// may be some time after the deadline: rely on Valid and the generator for
// safety, and on Lost only to react.
func (h *Holder) Lost() <-chan struct{} {
	s := h.now.Load()
	if h.remaining(s) == 0 {
		return opened()
	}
	return s.lost
}

// Generator returns the generator. It is the same one for all leases of the
// holder: under each it starts a new session (G4), and between leases it returns
// snowflake.ErrLeaseNotValid. Only the holder may call its Begin.
func (h *Holder) Generator() *snowflake.Generator { return h.generator }

// Release ends the holder: it stops minting and then gives the lease back, so
// that others can have the node ID without waiting (C6). Nothing is minted any
// more once it has returned, with or without an error.
//
// A call that fails is retried for up to 30 s. Errors: the last try's, or ctx's
// if ctx ended first; in both cases the lease expires by itself. It is no error
// if the lease was lost before, or was released already.
func (h *Holder) Release(ctx context.Context) error {
	h.mail.post(h.release)
	h.cfg.runner.Wait(nil, h.stopped, h.ended)
	h.cfg.runner.Wait(nil, h.ended, ctx.Done())
	if !h.ended.isOpen() {
		h.mail.post(func() { h.abandon(ctx.Err()) })
		h.cfg.runner.Wait(nil, h.ended, nil)
	}
	h.log.flush(ctx, h.cfg) // the process may exit after Release
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
