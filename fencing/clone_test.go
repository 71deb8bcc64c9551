package fencing

import (
	"reflect"
	"testing"
	"time"
)

// TestClone calls a clone and its original in the same way. They must come to the same
// state, and no call on one may change the other.
func TestClone(t *testing.T) {
	a := newRig(t, 10*time.Second, smallPool(3))
	one := a.lease("one")
	two := a.lease("two")
	a.pass(40 * time.Second)
	if _, r := a.beat(two); r != nil {
		t.Fatal(r)
	}
	a.pass(30 * time.Second) // one is free, two is held or resting
	d, r := a.s.Release(a.now, a.refOf(two), nil)
	if r != nil || d.Write == nil {
		t.Fatalf("Release: %+v, %v", d, r)
	}

	before := a.s.State()
	c := a.s.Clone()
	if got := c.State(); !reflect.DeepEqual(got, before) {
		t.Fatalf("the clone's state is\n%+v\nwant the original's:\n%+v", got, before)
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	steps := []func(s *Server){
		func(s *Server) { s.Written(a.now, d.Write) },
		func(s *Server) { _, _ = s.Acquire(a.now, ask("three")) },
		func(s *Server) { _, _ = s.Revoke(a.now, one.Pool, one.Node, one.Epoch) },
		func(s *Server) { _, _ = s.Heartbeat(a.now, a.refOf(two)) },
		func(s *Server) { a.set(20 * time.Second); _, _ = s.Tick(a.now) },
	}
	now := a.now
	for i, step := range steps {
		step(c)
		if !reflect.DeepEqual(a.s.State(), before) {
			t.Fatalf("step %d of the clone changed the original", i)
		}
	}
	a.now = now
	for _, step := range steps {
		step(a.s)
	}
	after := a.s.State()
	if got := c.State(); !reflect.DeepEqual(got, after) {
		t.Errorf("after the same calls, the clone's state is\n%+v\nwant the original's:\n%+v", got,
			after)
	}
	if reflect.DeepEqual(after, before) {
		t.Error("no call changed the state, want a change")
	}
}
