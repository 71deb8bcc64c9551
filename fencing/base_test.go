package fencing

import (
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// S2: epochs also rise above those stored, although a base is above all that a server
// can have granted before.
func TestEpochsRiseAboveTheStored(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(9))
	key := recordKey{DefaultPool, g.lease("kept").Node}
	rec := g.store.records[key]
	rec.Epoch += 1 << 40
	g.store.records[key] = rec
	g.restart(10 * time.Second)
	if l := g.lease("next"); l.Epoch <= rec.Epoch {
		t.Errorf("the next epoch is %d, want it above the stored one, %d", l.Epoch, rec.Epoch)
	}
}

// S2: no start repeats an epoch, even if the store has lost every grant of the one
// before.
func TestNoStartRepeatsAnEpoch(t *testing.T) {
	for _, test := range []struct {
		name string
		// then is what happens between the loss and the next grant.
		then func(g *rig, before *memStore)
	}{
		{"a start at the same instant", func(g *rig, _ *memStore) { g.restart(10 * time.Second) }},
		{"two starts at the same instant", func(g *rig, _ *memStore) { g.restart(10 * time.Second); g.restart(10 * time.Second) }},
		{"a start within the second", func(g *rig, _ *memStore) { g.set(20 * time.Millisecond); g.restart(10 * time.Second) }},
		{"the wall clock is set back", func(g *rig, _ *memStore) { g.now.Wall -= 3_600_000; g.restart(10 * time.Second) }},
		{"the next day", func(g *rig, _ *memStore) { g.set(24 * time.Hour); g.restart(10 * time.Second) }},
		{"a new store", func(g *rig, _ *memStore) {
			g.set(20 * time.Millisecond)
			b, err := NewStore(g.now.Wall, 10*time.Second, true, smallPool(9))
			if err != nil {
				t.Fatal(err)
			}
			g.store = newMemStore(b)
			g.restart(10 * time.Second)
		}},
		{"recovered from a copy, twice", func(g *rig, before *memStore) {
			for range 2 {
				g.set(20 * time.Millisecond)
				g.store = before.copied()
				b, err := Recover(g.store.load(), g.now.Wall, 10*time.Second, 0)
				if err != nil {
					t.Fatal(err)
				}
				g.store.commit(b)
				g.restart(10 * time.Second)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newRig(t, 10*time.Second, smallPool(9))
			g.lease("kept")
			before := g.store.copied()
			highest := g.lease("lost").Epoch
			for node := range snowflake.NodeID(10) {
				if key := (recordKey{DefaultPool, node}); g.store.records[key].Epoch == highest {
					delete(g.store.records, key)
				}
			}
			test.then(g, before)
			for g.s.pools[DefaultPool].Opened == false {
				g.pass(time.Second)
			}
			if l := g.lease("next"); l.Epoch <= highest {
				t.Errorf("the next epoch is %d, want it above %d", l.Epoch, highest)
			}
		})
	}
}

// S2: the base is durable before anything is granted above it.
func TestBaseIsDurableBeforeAGrant(t *testing.T) {
	g := newRig(t, 10*time.Second, smallPool(9))
	last := g.store.meta.FirstEpoch
	s, err := NewServer(g.store.load(), 10*time.Second, g.now)
	if err != nil {
		t.Fatal(err)
	}
	g.s = s
	if d, r := g.s.Acquire(g.now, ask("a")); r != nil || d.Wait != WaitMark {
		t.Fatalf("Acquire before the first mark: %+v, %v, want WaitMark", d, r)
	}
	g.tick()
	if want := last + epochsPerSecond; g.store.meta.FirstEpoch != want {
		t.Errorf("the store's base is %d, want %d", g.store.meta.FirstEpoch, want)
	}
	if l := g.lease("a"); l.Epoch != g.store.meta.FirstEpoch {
		t.Errorf("the first epoch is %d, want the base, %d", l.Epoch, g.store.meta.FirstEpoch)
	}
}
