package service

import (
	"testing"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

// observed is what an Observer was told.
type observed struct {
	terms []*ObservedTerm
	lost  []int
}

func (o *observed) observer() Observer {
	return Observer{
		Term:       func(t *ObservedTerm) { o.terms = append(o.terms, t) },
		LostWrites: func(total int) { o.lost = append(o.lost, total) },
	}
}

// TestObserverOfAStore wants the only term to be told of before New returns, and
// lost writes as they are counted.
func TestObserverOfAStore(t *testing.T) {
	told := &observed{}
	inBubble(t, bubbleOptions{observer: told.observer()}, func(b *bubble) {
		if len(told.terms) != 1 || told.terms[0] == nil {
			t.Fatalf("after New the observer was told of the terms %v, want one", told.terms)
		}
		lease := b.acquired("app")
		if st, known := told.terms[0].Rules().Stats(b.s.now(), "default"); !known || st.Held != 1 {
			t.Errorf("the observed rules count %d node IDs as held (the pool is known: %v), want 1",
				st.Held, known)
		}
		if told.terms[0].Locked() {
			t.Error("the lock is reported as held while no request is in progress")
		}
		b.term().mu.Lock()
		if !told.terms[0].Locked() {
			t.Error("the lock is reported as free while it is held")
		}
		b.term().mu.Unlock()
		c := b.batch(beyond(lease, 1), beyond(lease, 2))
		b.settle()
		c.done(t, "a batch of two heartbeats from beyond what the store knows")
		if len(told.lost) != 1 || told.lost[0] != 2 {
			t.Errorf("the observer was told of %v lost writes, want [2]", told.lost)
		}
		b.heartbeatDone(&cirrusv1.Lease{NodeId: lease.NodeId, Epoch: lease.Epoch,
			InstanceId: lease.InstanceId})
	})
	if len(told.terms) != 1 {
		t.Errorf("the observer was told of %d terms, want 1", len(told.terms))
	}
}

// TestObserverOfAReplica wants each term to be told of when the replica starts to
// answer by it, and nil when it no longer does.
func TestObserverOfAReplica(t *testing.T) {
	inFleet(t, []string{"b"}, func(f *fleet) {
		told := &observed{}
		a, b := f.start("a", func(c *Config) { c.Observer = told.observer() }), f.at("http://b")
		for _, leader := range []*replica{a, b, a} {
			f.makeLead(leader)
		}
		if len(told.terms) != 3 || told.terms[0] == nil || told.terms[1] != nil ||
			told.terms[2] == nil {
			t.Fatalf("the observer was told of the terms %v, want one, nil, and another one",
				told.terms)
		}
		if told.terms[0].Rules() == told.terms[2].Rules() {
			t.Error("two terms have the same rules, want those that each has loaded")
		}
	})
}
