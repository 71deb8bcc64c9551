package fencing

import (
	"fmt"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// tester is a *testing.T or a *rapid.T.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Fatal(args ...any)
}

// rig is one server on a store in memory, with clocks that a test sets.
type rig struct {
	t     tester
	store *memStore
	s     *Server
	now   Now
}

// newRig returns a running server on a new store that an operator vouches for.
func newRig(t tester, stride time.Duration, p Pool) *rig {
	t.Helper()
	b, err := NewStore(startOfWorld, stride, true, p)
	if err != nil {
		t.Fatal(err)
	}
	g := &rig{t: t, store: newMemStore(b), now: Now{Wall: startOfWorld}}
	g.restart(stride)
	return g
}

// smallPool returns the default pool with few node IDs and short timings.
func smallPool(last snowflake.NodeID) Pool {
	p := NewPool(DefaultPool)
	p.Last, p.TTL, p.MaxTTL, p.Quarantine = last, 30*time.Second, 60*time.Second, 20*time.Second
	return p
}

// restart starts a server on what the store holds and writes its first mark.
func (g *rig) restart(stride time.Duration) {
	g.t.Helper()
	s, err := NewServer(g.store.load(), stride, g.now)
	if err != nil {
		g.t.Fatal(err)
	}
	g.s = s
	g.tick()
}

// do makes a write durable and acknowledges it.
func (g *rig) do(w *Write) {
	if w != nil {
		g.store.commit(w.Batch)
		g.s.Written(g.now, w)
	}
}

func (g *rig) tick() {
	w, _ := g.s.Tick(g.now)
	g.do(w)
}

// set moves both clocks, and does nothing else.
func (g *rig) set(d time.Duration) {
	g.now.Steady += d
	g.now.Wall = g.now.Wall.Add(d)
}

// pass lets time go by, with a tick every second.
func (g *rig) pass(d time.Duration) {
	for ; d > 0; d -= time.Second {
		g.set(min(d, time.Second))
		g.tick()
	}
}

func hashOf(
	name string) InstanceHash {
	return InstanceID(fmt.Sprintf("instance-of-%s", name)).Hash()
}

// ask returns an Acquire for app, with the instance of the same name.
func ask(app string) AcquireRequest {
	return AcquireRequest{Pool: DefaultPool, App: AppID(app), Instance: hashOf(app)}
}

// acquire asks until the request is answered, and writes what has to be written.
func (g *rig) acquire(req AcquireRequest) (Lease, *Refusal) {
	g.t.Helper()
	d, r := g.s.Acquire(g.now, req)
	if r == nil && d.Write != nil {
		g.do(d.Write)
		d, r = g.s.Acquire(g.now, req)
	}
	if r == nil && d.Wait != WaitNone {
		g.t.Fatalf("Acquire returns %+v, want a Lease or a refusal", d)
	}
	return d.Lease, r
}

// lease acquires a lease for an app. A refusal fails the test.
func (g *rig) lease(app string) Lease {
	g.t.Helper()
	l, r := g.acquire(ask(app))
	if r != nil {
		g.t.Fatalf("Acquire for %s: %v", app, r)
	}
	return l
}

// refOf returns the reference that the lease's holder would send. The instance is
// named after the app or, as in TestChoice, after the epoch.
func (g *rig) refOf(l Lease) LeaseRef {
	ref := LeaseRef{Pool: l.Pool, Node: l.Node, Epoch: l.Epoch, Instance: hashOf(string(l.App))}
	if rec := g.store.records[recordKey{l.Pool,
		l.Node}]; rec.Instance == hashOf(fmt.Sprint(l.Epoch)) {
		ref.Instance = rec.Instance
	}
	return ref
}

// beat sends heartbeats until one is answered, and writes what has to be written.
func (g *rig) beat(l Lease) (Lease, *Refusal) {
	g.t.Helper()
	d, r := g.s.Heartbeat(g.now, g.refOf(l))
	if r == nil && d.Write != nil {
		g.do(d.Write)
		d, r = g.s.Heartbeat(g.now, g.refOf(l))
	}
	if r == nil && d.Wait != WaitNone {
		g.t.Fatalf("Heartbeat returns %+v, want a Lease or a refusal", d)
	}
	return d.Lease, r
}

// release releases a lease and returns the refusal, if any.
func (g *rig) release(l Lease, last *snowflake.Millis) *Refusal {
	d, r := g.s.Release(g.now, g.refOf(l), last)
	g.do(d.Write)
	return r
}

// released releases a lease. A refusal fails the test.
func (g *rig) released(l Lease, last *snowflake.Millis) {
	g.t.Helper()
	if r := g.release(l, last); r != nil {
		g.t.Fatal(r)
	}
}

func (g *rig) state(node snowflake.NodeID) State {
	g.t.Helper()
	v, ok := g.s.Lease(g.now, DefaultPool, node)
	if !ok {
		g.t.Fatalf("node ID %d was never granted", node)
	}
	return v.State
}

// wantReason checks that a refusal has a reason; "" means none.
func wantReason(t tester, what string, r *Refusal, want Reason) {
	t.Helper()
	var got Reason
	if r != nil {
		got = r.Reason
	}
	if got != want {
		t.Errorf("%s: reason %q, want %q (%v)", what, got, want, r)
	}
}

func ptr[T any](v T) *T { return &v }
