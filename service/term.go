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

// term is all that is known of leases and of who waits for them, from a load of
// the store to the first write that fails. Another term begins with nothing but
// what it loads: no memory survives one (S9, S10), since none is kept elsewhere.
type term struct {
	s     *Service
	store store.Store
	// ctx is the writes' (S9): no request's end ends it. With a Cluster, where
	// another term's beginning shuts them out, the term's end does.
	ctx  context.Context
	stop context.CancelFunc

	mu   sync.Mutex
	core *fencing.Server
	// changed is closed when a write is acknowledged or fails, so that whoever
	// waits for a key or for the mark asks again. It is nil while nobody waits.
	changed chan struct{}
	// waiting are those who stand in a queue for a free node ID.
	waiting waiters
	// watchers are the streams of Watch.
	watchers map[*watcher]bool
	// failure is why the term is over; over is closed then.
	failure error
	over    chan struct{}
	// untold is what is to be logged once the core is given back: nobody waits
	// for a log while others wait for the core (S14).
	untold []func()

	// kick makes the keeper look at the mark at once.
	kick chan struct{}
	// under are the requests and the commits under way.
	under underway
	// confirms are the looks at the term record that requests share.
	confirms confirms
}

func newTerm(s *Service, st store.Store) *term {
	t := &term{
		s: s, store: st,
		waiting:  newWaiters(),
		watchers: map[*watcher]bool{},
		over:     make(chan struct{}),
		kick:     make(chan struct{}, 1),
	}
	if s.cfg.Cluster == nil {
		t.ctx, t.stop = context.Background(), func() {}
	} else {
		t.ctx, t.stop = context.WithCancel(context.Background())
	}
	return t
}

// begin loads the store and writes the first mark (S10): when it returns, the
// term may promise. ctx is the loading's.
func (t *term) begin(ctx context.Context) error {
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
	if err := t.askOfDefaultPool(); err != nil {
		return err
	}
	t.s.spawn(func() { t.keep(next) })
	return nil
}

// askOfDefaultPool applies what the configuration asks of the default pool.
func (t *term) askOfDefaultPool() error {
	change := t.s.cfg.DefaultPool
	if change == (fencing.PoolChange{}) {
		return nil
	}
	waits := writeWait{t: t}
	d, err := waits.decide(t.ctx, func(now fencing.Now) (fencing.Decision, *fencing.Refusal) {
		return t.core.UpdatePool(now, fencing.DefaultPool, change)
	})
	if err == nil && d.Write != nil {
		err = t.commit(d.Write) // a start has all the time that the store needs
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

// refusedStart is why the rules let this process not serve the store as it is.
type refusedStart struct{ error }

// Unwrap gives the reason.
func (r *refusedStart) Unwrap() error { return r.error }

// enter takes the core, and leave gives it back after telling the watchers.
// Between them the clocks are read, so no reading is older than the one before.
// leave must be deferred wherever the core could panic: that ends the term.
func (t *term) enter() fencing.Now {
	t.mu.Lock()
	return t.s.now()
}

func (t *term) leave() {
	if p := recover(); p != nil {
		t.panicked(p)
		defer panic(p)
	} else if len(t.watchers) > 0 {
		t.tellWatchers()
	}
	untold := t.untold
	t.untold = nil
	t.mu.Unlock()
	for _, tell := range untold {
		tell()
	}
}

// panicked ends the term if the core was left in the middle of a decision: what
// it knows may be half of it, which is no more to be relied on than a memory
// that is ahead of the store (S9).
func (t *term) panicked(p any) {
	if endsHandler(p) {
		return
	}
	t.fail(fmt.Errorf("a decision was broken off by a panic: %v", p))
	t.tellChange()
}

// commit makes a write durable and then shows it (S1). It runs to its end
// whatever becomes of the request that wants it (S9): its context is the
// term's. Writes of different keys don't wait for one another.
//
// It errs with what the store says, or with a refusal where nothing was tried.
func (t *term) commit(w *fencing.Write) error {
	if err := t.beginWrite(); err != nil {
		return err
	}
	defer t.endWrite()
	started := t.s.cfg.Steady.Now()
	err := t.durable(w.Batch)
	t.s.metrics.storeWrite.Observe((t.s.cfg.Steady.Now() - started).Seconds())
	return t.settled(w, err)
}

// settled takes in what became of a write, and returns it. A panic of the rules
// is logged here and ends the term like a write that failed (S9): the goroutine
// may be the write's own, where a panic that nobody recovers ends the process.
func (t *term) settled(w *fencing.Write, err error) (outcome error) {
	defer func() {
		if p := caught(recover()); p != nil {
			t.s.log.Error("what a write has done could not be taken in", "panic", p, "stack", string(debug.Stack()))
			outcome = t.cause()
		}
	}()
	now := t.enter()
	defer t.leave()
	if err == nil && t.failure != nil {
		err = t.failure // S9: durable, but nothing is answered any more
	}
	if err != nil {
		t.fail(err)
	} else {
		t.core.Written(now, w)
		t.written(w)
	}
	t.tellChange()
	t.wakeAfter(w)
	return err
}

// written does what a durable write calls for, whether or not the request that
// wanted it still waits.
func (t *term) written(w *fencing.Write) {
	if w.Grants {
		t.s.metrics.grants.WithLabelValues(string(w.Batch.Records[0].Pool)).Inc()
	}
	if len(w.Batch.Pools) > 0 {
		t.keepNow() // it may have something to open
	}
}

func (t *term) beginWrite() error {
	if t.s.cfg.Cluster != nil && t.cause() != nil {
		return errNotLeading
	}
	if !t.s.beginTask() {
		return errStopping
	}
	t.under.begin()
	return nil
}

func (t *term) endWrite() {
	t.under.end()
	t.s.tasks.Done()
}

// durable hands a batch to the store. One that panics has failed like any
// other: what it wrote is unknown (S9).
func (t *term) durable(b fencing.Batch) (err error) {
	defer func() {
		if p := caught(recover()); p != nil {
			err = fmt.Errorf("the store panicked: %v", p)
		}
	}()
	return t.store.Commit(t.ctx, b)
}

// caught is what recover returned, unless that goes on.
func caught(p any) any {
	if endsHandler(p) {
		panic(p)
	}
	return p
}

// endsHandler says whether a panic is somebody's who ends this very handler.
func endsHandler(p any) bool {
	err, ok := p.(error)
	return ok && errors.Is(err, http.ErrAbortHandler)
}

// commitAll makes writes durable, one after the other, and errs with what the
// request for them is answered.
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

// change is what is closed at the next write that is acknowledged or fails.
func (t *term) change() <-chan struct{} {
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return t.changed
}

func (t *term) tellChange() {
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

// fail ends all promises: memory may be ahead of the store (S9), or another
// term has begun (S10). Whoever waits in a queue is told, and the log after all
// others (S14).
func (t *term) fail(cause error) {
	t.core.Fail(cause)
	if t.failure == nil {
		t.failure = cause
		close(t.over)
		t.stop()
		if t.s.cfg.Cluster == nil {
			t.untold = append(t.untold, func() {
				t.s.log.Error("the store or its use failed; nothing more is promised", "error", cause)
			})
		}
	}
	t.waiting.signalAll()
}

// end is fail, for whoever has not entered.
func (t *term) end(cause error) {
	t.enter()
	defer t.leave()
	t.fail(cause)
	t.tellChange()
}

// cause is why the term is over, or nil.
func (t *term) cause() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failure
}

// keep keeps the mark ahead of server time, notes what ended, and opens
// pools, until the term is over or the service stops.
func (t *term) keep(next time.Duration) {
	cfg := &t.s.cfg
	alarmed := false
	for {
		timer := cfg.Clock.NewTimer(max(next-cfg.Steady.Now(), 0))
		cfg.Runner.Wait(timer.Chan(), t.kick, t.s.closing, t.over)
		timer.Stop()
		if t.s.stopping() {
			return
		}
		var w *fencing.Write
		now := t.enter()
		w, next = t.core.Tick(now)
		// Any request's reading of the clocks may have been the first to see it.
		alarm, offset := t.core.ClockAlarm(), t.core.ClockOffset()
		over := t.failure != nil
		t.leave()
		if alarm && !alarmed {
			t.s.log.Error("the wall clock is far ahead of server time, which follows it at 1 % only: check the clock", "offset", offset)
		}
		alarmed = alarm
		switch {
		case over:
			return
		case w == nil:
			continue
		}
		if err := t.commit(w); err != nil {
			return
		}
		next = 0 // look again: a pool may open before the next mark is due
	}
}

// keepNow makes the keeper look at the mark now.
func (t *term) keepNow() {
	select {
	case t.kick <- struct{}{}:
	default:
	}
}

// promises says whether promises can be made just now (S10).
func (t *term) promises() bool {
	now := t.enter()
	defer t.leave()
	return t.core.PromisesFor(now) > 0
}

// unopened says which pools grant nothing yet, and for how long (S7).
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
