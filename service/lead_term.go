package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store"
)

// term holds all that is known of leases and of the requests that wait for them,
// from a load of the store to the first write that fails. The next term starts with
// nothing but what it loads: no memory survives a term (S9, S10), since none is kept
// elsewhere.
type term struct {
	s     *base
	store store.Store
	// ctx is the context of all writes (S9). It does not end with a request. With a
	// Cluster it ends with the term: the next term's takeover makes late writes
	// fail.
	ctx  context.Context
	stop context.CancelFunc

	mu   sync.Mutex
	core *fencing.Server
	// changed is closed when a write is acknowledged or fails, so that requests
	// that wait for a key or for the mark ask again. It is nil while none waits.
	changed chan struct{}
	// waiting are the requests in a queue for a free node ID.
	waiting waiters
	// watchers are the streams of Watch.
	watchers map[*watcher]bool
	// failure is why the term ended; done is closed then.
	failure error
	done    chan struct{}
	// pendingLogs write lines of the log once the lock is given back: nobody waits
	// for a log while others wait for the lock (S14).
	pendingLogs []func()

	// wake makes the keeper look at the mark at once.
	wake chan struct{}
	// work counts the requests and the writes in flight.
	work inFlight
	// confirms joins requests that wait for a Confirm.
	confirms confirms
}

func newTerm(s *base, st store.Store) *term {
	t := &term{
		s: s, store: st,
		waiting:  newWaiters(),
		watchers: map[*watcher]bool{},
		done:     make(chan struct{}),
		wake:     make(chan struct{}, 1),
	}
	if s.cfg.Cluster == nil {
		t.ctx, t.stop = context.Background(), func() {}
	} else {
		t.ctx, t.stop = context.WithCancel(context.Background())
	}
	return t
}

// start loads the store and writes the first mark (S10): when it returns, the
// term may promise. ctx is for the load.
func (t *term) start(ctx context.Context) error {
	cfg := &t.s.cfg
	snap, err := t.store.Load(ctx)
	if err != nil {
		return err
	}
	t.s.steps.Add(1)
	// S6: the clock is read after loading.
	if t.core, err = fencing.NewServer(snap, cfg.Stride, t.s.now()); err != nil {
		return &refusedStart{err}
	}
	if cfg.Cluster != nil {
		if err := t.core.RequireTTL(fencing.ShortestTTL(cfg.Cluster.SessionTTL())); err != nil {
			return &refusedStart{err}
		}
	}
	t.core.Suspect(cfg.SuspectFor)
	first, next := t.core.Tick(t.s.now())
	if err := t.commit(first); err != nil {
		return fmt.Errorf("the first mark could not be written: %w", err)
	}
	if err := t.updateDefaultPool(); err != nil {
		return err
	}
	t.s.spawn(func() { t.keep(next) })
	return nil
}

// updateDefaultPool applies Config.DefaultPool.
func (t *term) updateDefaultPool() error {
	change := t.s.cfg.DefaultPool
	if change == (fencing.PoolChange{}) {
		return nil
	}
	w := storeWait{t: t}
	d, err := w.decide(t.ctx, func(now fencing.Now) (fencing.Decision, *fencing.Refusal) {
		return t.core.UpdatePool(now, fencing.DefaultPool, change)
	}, w.nextWrite)
	if err == nil && d.Write != nil {
		err = t.commit(d.Write) // without storeTimeout: a start waits for the store
	}
	if err == nil || t.cause() != nil {
		return t.cause()
	}
	err = fmt.Errorf("the flags differ from the stored pool %q: %w", fencing.DefaultPool, err)
	if t.s.cfg.Cluster == nil {
		return err
	}
	t.s.log.Error("the default pool stays as it is stored", "error", err)
	return nil
}

// refusedStart is why the rules do not let this process serve the store as it is.
type refusedStart struct{ error }

// Unwrap returns the reason.
func (r *refusedStart) Unwrap() error { return r.error }

// enter takes the lock and reads the clocks under it, so that no reading is older
// than the one before. leave gives the lock back after it has sent events to the
// watchers. It must be deferred wherever the rules could panic: a panic ends the
// term.
func (t *term) enter() fencing.Now {
	t.mu.Lock()
	return t.s.now()
}

func (t *term) leave() {
	if p := recover(); p != nil {
		t.panicked(p)
		defer panic(p)
	} else if len(t.watchers) > 0 {
		t.sendEvents()
	}
	logs := t.pendingLogs
	t.pendingLogs = nil
	t.mu.Unlock()
	for _, log := range logs {
		log()
	}
}

// panicked ends the term after a panic in the middle of a decision: the state may be
// half changed, and can be relied on no more than one that is ahead of the store
// (S9).
func (t *term) panicked(p any) {
	if endsHandler(p) {
		return
	}
	t.fail(fmt.Errorf("a panic interrupted a decision: %v", p))
	t.announceChange()
}

// commit makes a write durable and then makes it visible (S1). It runs to its end
// even if the request that wants it is gone (S9): its context is the term's. Writes
// of different keys don't wait for one another.
//
// It returns the error of the store, or a refusal if nothing was tried.
func (t *term) commit(w *fencing.Write) error {
	if err := t.startWrite(); err != nil {
		return err
	}
	defer t.endWrite()
	started := t.s.cfg.Steady.Now()
	err := t.durable(w.Batch)
	t.s.metrics.storeWrite.Observe((t.s.cfg.Steady.Now() - started).Seconds())
	return t.applied(w, err)
}

// applied applies the outcome of a write to the rules, and returns it. A panic of the
// rules is logged here and ends the term like a write that failed (S9): the goroutine
// may be the write's own, and a panic there would end the process.
func (t *term) applied(w *fencing.Write, err error) (outcome error) {
	defer func() {
		if p := caught(recover()); p != nil {
			t.s.log.Error("a panic interrupted the rules after a write", "panic", p,
				"stack", string(debug.Stack()))
			outcome = t.cause()
		}
	}()
	now := t.enter()
	defer t.leave()
	if err == nil && t.failure != nil {
		err = t.failure // S9: the write is durable, but the term answers nothing any more
	}
	if err != nil {
		t.fail(err)
	} else {
		t.core.Written(now, w)
		t.written(w)
	}
	t.announceChange()
	t.wakeAfter(w)
	return err
}

// written does what follows a durable write, whether or not the request that wanted
// it still waits.
func (t *term) written(w *fencing.Write) {
	if w.Grants {
		t.s.metrics.grants.WithLabelValues(string(w.Batch.Records[0].Pool)).Inc()
	}
	if len(w.Batch.Pools) > 0 {
		t.keepNow() // there may be a pool to open
	}
}

func (t *term) startWrite() error {
	if t.s.cfg.Cluster != nil && t.cause() != nil {
		return errNotLeading
	}
	if !t.s.startTask() {
		return errStopping
	}
	t.work.start()
	return nil
}

func (t *term) endWrite() {
	t.work.end()
	t.s.tasks.Done()
}

// durable gives a batch to the store. A panic of the store is an error like any
// other: what was written is unknown (S9).
func (t *term) durable(b fencing.Batch) (err error) {
	defer func() {
		if p := caught(recover()); p != nil {
			err = fmt.Errorf("the store panicked: %v", p)
		}
	}()
	return t.store.Commit(t.ctx, b)
}

// caught returns what recover returned, but panics again if that ends the handler.
func caught(p any) any {
	if endsHandler(p) {
		panic(p)
	}
	return p
}

// endsHandler reports whether a panic is the one by which a handler ends itself.
func endsHandler(p any) bool {
	err, ok := p.(error)
	return ok && errors.Is(err, http.ErrAbortHandler)
}

// commitAll makes writes durable, one after the other. Its error is the answer to
// the request that wanted them.
func (t *term) commitAll(writes []*fencing.Write) error {
	for _, w := range writes {
		err := t.commit(w)
		var r *fencing.Refusal
		switch {
		case errors.As(err, &r):
			return err
		case err != nil:
			return t.s.storeFailed()
		}
	}
	return nil
}

// change returns the channel that is closed when the next write is acknowledged or
// fails.
func (t *term) change() <-chan struct{} {
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return t.changed
}

func (t *term) announceChange() {
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

// fail ends the term: memory may be ahead of the store (S9), or another term has
// started (S10). The requests in the queues are woken, and the log is written after
// that (S14).
func (t *term) fail(cause error) {
	t.core.Fail(cause)
	if t.failure == nil {
		t.failure = cause
		close(t.done)
		t.stop()
		if t.s.cfg.Cluster == nil {
			t.pendingLogs = append(t.pendingLogs, func() {
				t.s.log.Error("the store or its use failed; nothing more is promised", "error", cause)
			})
		}
	}
	t.waiting.signalAll()
}

// end is fail for callers without the lock.
func (t *term) end(cause error) {
	t.enter()
	defer t.leave()
	t.fail(cause)
	t.announceChange()
}

// cause returns why the term ended, or nil.
func (t *term) cause() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failure
}

// keep keeps the mark ahead of server time, writes the node IDs that came free and
// the silence notes (S5), and opens pools (S7), until the term or the service ends.
func (t *term) keep(next time.Duration) {
	cfg := &t.s.cfg
	alarmed := false
	for {
		timer := cfg.Clock.NewTimer(max(next-cfg.Steady.Now(), 0))
		cfg.Runner.Wait(timer.Chan(), t.wake, t.s.closing, t.done)
		timer.Stop()
		if t.s.stopping() {
			return
		}
		var w *fencing.Write
		now := t.enter()
		w, next = t.core.Tick(now)
		// The alarm may have been raised by the clock reading of any request.
		alarm, offset := t.core.ClockAlarm(), t.core.ClockOffset()
		ended := t.failure != nil
		t.leave()
		if alarm && !alarmed {
			t.s.log.Error(
				"the wall clock is far ahead of server time, which follows it at 1 % only: check the clock", "offset", offset)
		}
		alarmed = alarm
		switch {
		case ended:
			return
		case w == nil:
			continue
		}
		if err := t.commit(w); err != nil {
			return
		}
		next = 0 // at once: a pool may open before the next mark is due
	}
}

// keepNow makes the keeper look at the mark now.
func (t *term) keepNow() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// promises reports whether the term can promise now (S10).
func (t *term) promises() bool {
	now := t.enter()
	defer t.leave()
	return t.core.PromisesFor(now) > 0
}

// unopened returns the pools that grant nothing yet, and for how long (S7).
func (t *term) unopened() map[fencing.PoolName]time.Duration {
	now := t.enter()
	defer t.leave()
	unopened := map[fencing.PoolName]time.Duration{}
	for _, name := range t.core.PoolNames() {
		if p, in, r := t.core.Pool(now, name); r == nil && !p.Opened {
			unopened[name] = in
		}
	}
	return unopened
}

// logUnopened logs which pools grant nothing yet, and until when.
func (t *term) logUnopened() {
	for name, in := range t.unopened() {
		t.s.log.Warn(
			"the store is new or was recovered, so node IDs may still be held from an earlier one: the pool grants nothing yet",
			"pool", name, "opens_in", in.Round(time.Millisecond))
	}
}

// alive returns an error once the term has ended. It is for answers that the rules
// are not asked for.
func (t *term) alive() error {
	if isClosed(t.done) {
		return t.ended()
	}
	return nil
}

// ended returns the error of requests once the term has ended.
func (t *term) ended() error {
	if t.s.cfg.Cluster != nil {
		return errNotLeading
	}
	return t.s.storeFailed()
}
