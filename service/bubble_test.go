package service

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
	"github.com/cirrus-id/cirrus/snowflake"
)

// A bubble is a service with a store that a test can hold, its real HTTP
// server on pipes in memory, and time that passes when everyone waits for it:
// what can happen has happened when settle returns, so "nothing happens" is
// something that a test can see.
type bubble struct {
	t      *testing.T
	store  *testStore
	wall   *wallClock
	s      *Service
	leases cirrusv1connect.LeaseServiceClient
	admin  cirrusv1connect.AdminServiceClient
	log    *syncBuffer
	net    *pipeListener
	server *http.Server
	http   *http.Client
}

// bubbleOptions are what tests want otherwise.
type bubbleOptions struct {
	pool       func(*fencing.Pool)
	suspicious bool
	random     *strings.Reader
	log        slog.Handler // where the log goes, if not to the bubble's
	// crowd is how many node IDs have live leases from before.
	crowd int
	// steady is put before the steady clock.
	steady *countingClock
	// observer is the service's.
	observer Observer
}

// inBubble runs a test in a bubble. When the test is over it checks the core's
// invariants, and that every goroutine has ended.
func inBubble(t *testing.T, opts bubbleOptions, test func(b *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)))
		b := &bubble{t: t, log: &syncBuffer{}, net: newPipeListener(),
			wall: &wallClock{Clock: clockwork.NewRealClock()}}
		b.store = newTestStore(newBatch(t, time.Now(), !opts.suspicious, opts.pool))
		b.store.crowd(opts.crowd)
		b.begin(opts)
		defer b.end()
		test(b)
	})
}

// newBatch is a new store's, as `cirrus init` makes it.
func newBatch(t testing.TB, wall time.Time, vouched bool, edit func(*fencing.Pool)) fencing.Batch {
	t.Helper()
	p := fencing.NewPool(fencing.DefaultPool)
	if edit != nil {
		edit(&p)
	}
	batch, err := fencing.NewStore(snowflake.Millis(wall.UnixMilli()), fencing.DefaultStride,
		vouched, p)
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

func (b *bubble) begin(opts bubbleOptions) {
	cfg := Config{Store: b.store, Clock: b.wall, Steady: steadyClock{time.Now()},
		Logger: slog.New(slog.NewTextHandler(b.log, nil)), Observer: opts.observer}
	if opts.log != nil {
		cfg.Logger = slog.New(opts.log)
	}
	if opts.random != nil {
		cfg.Random = opts.random
	}
	if opts.steady != nil {
		opts.steady.Steady, cfg.Steady = cfg.Steady, opts.steady
	}
	s, err := New(context.Background(), cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.s = s
	b.server = NewHTTPServer(s.Handler(), cfg.Logger)
	go func() {
		if err := b.server.Serve(b.net); !errors.Is(err, http.ErrServerClosed) {
			b.t.Error(err)
		}
	}()
	b.http = &http.Client{Transport: &http.Transport{DialContext: b.net.dial,
		MaxIdleConnsPerHost: 100}}
	b.leases = cirrusv1connect.NewLeaseServiceClient(b.http, "http://cirrus")
	b.admin = cirrusv1connect.NewAdminServiceClient(b.http, "http://cirrus")
}

func (b *bubble) end() {
	b.t.Helper()
	b.store.letAll()
	b.s.StopRequests()
	if err := b.server.Shutdown(context.Background()); err != nil {
		b.t.Error(err)
	}
	b.s.Close()
	b.http.CloseIdleConnections()
	checkService(b.t, b.s)
	for _, fault := range b.store.faults {
		b.t.Error(fault)
	}
}

// checkService checks what must hold of a service that is at rest.
func checkService(t testing.TB, s *Service) {
	t.Helper()
	checkTerm(t, s.state.Load().term)
}

func checkTerm(t testing.TB, of *term) {
	t.Helper()
	of.mu.Lock()
	defer of.mu.Unlock()
	if err := of.core.Check(); err != nil {
		t.Error(err)
	}
	if of.waiting.len() != 0 || len(of.watchers) != 0 {
		t.Errorf("%d waiters and %d watchers were left behind", of.waiting.len(), len(of.watchers))
	}
	for _, name := range of.core.PoolNames() {
		if turn := of.core.Turn(name); turn != 0 && of.failure == nil {
			t.Errorf("ticket %d was left in the queue of pool %q", turn, name)
		}
	}
}

// term is what the service serves by.
func (b *bubble) term() *term { return b.s.state.Load().term }

// settle waits until nobody can go on without the test or the clock.
func (b *bubble) settle() { synctest.Wait() }

// pass lets time pass, and what comes with it.
func (b *bubble) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// oneHeld returns the only commit that is held.
func (b *bubble) oneHeld() *heldCommit {
	b.t.Helper()
	b.settle()
	held := b.store.takeHeld()
	if len(held) != 1 {
		b.t.Fatalf("%d commits are held, want 1", len(held))
	}
	return held[0]
}

// call is a request under way.
type call[T any] struct {
	cancel context.CancelFunc
	mu     sync.Mutex
	over   bool
	resp   T
	err    error
	at     time.Time
}

// start sends a request beside the test.
func start[T any](do func(context.Context) (T, error)) *call[T] {
	ctx, cancel := context.WithCancel(context.Background())
	c := &call[T]{cancel: cancel}
	go func() {
		resp, err := do(ctx)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.over, c.resp, c.err, c.at = true, resp, err, time.Now()
		cancel()
	}()
	return c
}

func (c *call[T]) ended() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.over
}

// waits fails the test if the request has ended.
func (c *call[T]) waits(t testing.TB, what string) {
	t.Helper()
	if c.ended() {
		t.Fatalf("%s was answered: %v, %v", what, c.resp, c.err)
	}
}

// done returns the answer of a request that must have ended well.
func (c *call[T]) done(t testing.TB, what string) T {
	t.Helper()
	if !c.ended() {
		t.Fatalf("%s is still waiting", what)
	}
	if c.err != nil {
		t.Fatalf("%s: %v", what, c.err)
	}
	return c.resp
}

// failed returns the error of a request that must have ended badly.
func (c *call[T]) failed(t testing.TB, what string, want wanted) {
	t.Helper()
	if !c.ended() {
		t.Fatalf("%s is still waiting", what)
	}
	want.check(t, what, c.err)
}

// The requests, short. An instance is named by a word.

func secret(word string) string { return word + "-" + strings.Repeat("s3cr3t", 3) }

type acquireCall = call[*cirrusv1.AcquireResponse]

func (b *bubble) acquire(word string, wait time.Duration) *acquireCall {
	return b.acquireIn("", word, wait)
}

func (b *bubble) acquireIn(pool, word string, wait time.Duration) *acquireCall {
	return start(func(ctx context.Context) (*cirrusv1.AcquireResponse, error) {
		return b.leases.Acquire(ctx, acquireRequest(pool, word, wait))
	})
}

// acquired is a lease that must be had at once.
func (b *bubble) acquired(word string) *cirrusv1.Lease {
	b.t.Helper()
	c := b.acquire(word, 0)
	b.settle()
	return c.done(b.t, word).Lease
}

func (b *bubble) heartbeat(l *cirrusv1.Lease) *call[*cirrusv1.HeartbeatResponse] {
	return start(func(ctx context.Context) (*cirrusv1.HeartbeatResponse, error) {
		return b.leases.Heartbeat(ctx, heartbeatRequest(l))
	})
}

func (b *bubble) release(l *cirrusv1.Lease, last *int64) *call[*cirrusv1.ReleaseResponse] {
	return start(func(ctx context.Context) (*cirrusv1.ReleaseResponse, error) {
		return b.leases.Release(ctx, releaseRequest(l, last))
	})
}

// released gives a lease back that was never used, so that its ID is free.
func (b *bubble) released(l *cirrusv1.Lease) {
	b.t.Helper()
	unused := l.FloorMs - 1
	c := b.release(l, &unused)
	b.settle()
	c.done(b.t, "release")
}

func (b *bubble) revoke(l *cirrusv1.Lease) *call[*cirrusv1.RevokeResponse] {
	return start(func(ctx context.Context) (*cirrusv1.RevokeResponse, error) {
		return b.admin.Revoke(ctx,
			&cirrusv1.RevokeRequest{Pool: l.Pool, NodeId: l.NodeId, Epoch: l.Epoch})
	})
}

func (b *bubble) list(pool string) []*cirrusv1.LeaseStatus {
	b.t.Helper()
	resp, err := b.admin.ListLeases(context.Background(),
		&cirrusv1.ListLeasesRequest{Pool: pool, PageSize: MaxPage})
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.Leases
}

func acquireRequest(pool, word string, wait time.Duration) *cirrusv1.AcquireRequest {
	req := &cirrusv1.AcquireRequest{Pool: pool, AppId: word, InstanceId: secret(word)}
	if wait > 0 {
		req.Wait = proto3(wait)
	}
	return req
}

func heartbeatRequest(l *cirrusv1.Lease) *cirrusv1.HeartbeatRequest {
	return &cirrusv1.HeartbeatRequest{Pool: l.Pool, NodeId: l.NodeId, Epoch: l.Epoch,
		InstanceId: l.InstanceId}
}

func releaseRequest(l *cirrusv1.Lease, last *int64) *cirrusv1.ReleaseRequest {
	return &cirrusv1.ReleaseRequest{Pool: l.Pool, NodeId: l.NodeId, Epoch: l.Epoch,
		InstanceId: l.InstanceId, LastTimestampMs: last}
}

// steadyClock is a bubble's steady clock.
type steadyClock struct{ start time.Time }

func (c steadyClock) Now() time.Duration { return time.Since(c.start) }

// wallClock is a bubble's wall clock, which a test can set.
type wallClock struct {
	clockwork.Clock
	lead atomic.Int64
}

func (c *wallClock) Now() time.Time { return c.Clock.Now().Add(time.Duration(c.lead.Load())) }

// syncBuffer is a buffer that a logger may write to while a test reads it.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// pipeListener listens in memory.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-l.done:
		return nil, errors.New("nobody listens")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }
