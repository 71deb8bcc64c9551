package fencing

import (
	"bytes"
	"reflect"
	"testing"
	"time"
)

// TestClone: a clone goes on as the original would have, and neither is changed
// by what the other is told.
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

	before := a.s.AppendFingerprint(nil)
	c := a.s.Clone()
	if got := c.AppendFingerprint(nil); !bytes.Equal(got, before) {
		t.Fatal("a clone's fingerprint is another")
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
		if !bytes.Equal(a.s.AppendFingerprint(nil), before) {
			t.Fatalf("step %d of the clone changed the original", i)
		}
	}
	a.now = now
	for _, step := range steps {
		step(a.s)
	}
	if !bytes.Equal(a.s.AppendFingerprint(nil), c.AppendFingerprint(nil)) {
		t.Error("told the same, the original and its clone came to differ")
	}
	if bytes.Equal(a.s.AppendFingerprint(nil), before) {
		t.Error("all that was told left the fingerprint as it was")
	}
}

// TestFingerprintsAreComplete: whoever adds a field has to decide whether
// clones and fingerprints need it.
func TestFingerprintsAreComplete(t *testing.T) {
	for _, c := range []struct {
		of     any
		fields int
	}{
		{Server{}, 13}, {serverTime{}, 4}, {markLease{}, 7}, {pool{}, 12}, {index{}, 15}, {alarms{}, 3}, {slot{}, 20}, {pendingWrite{}, 5},
		{Meta{}, 7}, {Pool{}, 11}, {Record{}, 10}, {Silence{}, 3}, {Write{}, 3}, {Batch{}, 3},
		{Holder{}, 15}, {HolderConfig{}, 5}, {round{}, 4}, {Call{}, 10}, {Answer{}, 5}, {Lease{}, 9},
	} {
		if got := reflect.TypeOf(c.of).NumField(); got != c.fields {
			t.Errorf("%T has %d fields, not %d: look at Clone and AppendFingerprint, then change this number", c.of, got, c.fields)
		}
	}
}

// TestHolderFingerprint: what has passed or lies between two points of the
// grid makes no difference, all else does.
func TestHolderFingerprint(t *testing.T) {
	const grid = 10 * time.Second
	h := NewHolder(HolderConfig{App: "app"})
	h.Acquire(0, "instance-of-app-")
	call := h.call
	lease := Lease{
		Pool: DefaultPool, Node: 1, Epoch: 7, TTL: 30 * time.Second, Floor: startOfWorld, Ceiling: startOfWorld + 30_000,
		ServerTime: startOfWorld, Layout: NewPool(DefaultPool).Layout,
	}
	h.Answered(0, Answer{Call: call, Verdict: AnswerGood, Lease: lease}, 0)
	print := func(h Holder, at time.Duration) string { return string(h.AppendFingerprint(nil, at, grid)) }

	same, other := h, h
	same.failures, same.due = 3, h.due+time.Millisecond
	other.deadline += time.Millisecond
	if print(h, 0) != print(same, 0) {
		t.Error("a count of failures and a ms between two points make a difference")
	}
	if print(h, 0) == print(other, 0) {
		t.Error("the deadline makes none")
	}
	if at := 2 * time.Minute; print(h, at) != print(other, at) {
		t.Error("a deadline that has passed makes a difference")
	}
	if string(h.AppendFingerprint(nil, 0, 1)) == string(same.AppendFingerprint(nil, 0, 1)) {
		t.Error("on a grid of 1 ns they make none")
	}
}
