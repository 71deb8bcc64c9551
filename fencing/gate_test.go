package fencing_test

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

// A resource keeps a gate with its data, under the same lock.
func ExampleGate() {
	var (
		mu   sync.Mutex
		gate fencing.Gate
		rows []string
	)
	write := func(node snowflake.NodeID, epoch fencing.Epoch, row string) error {
		mu.Lock()
		defer mu.Unlock()
		if err := gate.Admit(node, epoch); err != nil {
			return err
		}
		rows = append(rows, row)
		return nil
	}

	fmt.Println(write(7, 41, "from the first holder"))
	fmt.Println(write(7, 42, "from the one after it"))
	fmt.Println(write(7, 41, "from the first, back from a long pause"))
	fmt.Println(len(rows), "rows")
	// Output:
	// <nil>
	// <nil>
	// epoch 41 of node ID 7 is over, epoch 42 has been seen: stop, and acquire a new lease
	// 2 rows
}

func TestGateAdmit(t *testing.T) {
	var g fencing.Gate
	for i, tt := range []struct {
		node    snowflake.NodeID
		epoch   fencing.Epoch
		highest fencing.Epoch // of the refusal
		ok      bool
	}{
		{node: 1, epoch: 0},
		{node: 1, epoch: 5, ok: true},
		{node: 1, epoch: 5, ok: true},
		{node: 1, epoch: 4, highest: 5},
		{node: 1, epoch: 0, highest: 5},
		{node: 2, epoch: 4, ok: true},
		{node: 1, epoch: 9, ok: true},
		{node: 1, epoch: 8, highest: 9},
	} {
		err := g.Admit(tt.node, tt.epoch)
		var stale *fencing.StaleEpoch
		switch {
		case tt.ok && err != nil:
			t.Errorf("%d: node %d epoch %d: %v", i, tt.node, tt.epoch, err)
		case tt.ok:
		case !errors.As(err, &stale) ||
			*stale != fencing.StaleEpoch{Node: tt.node, Epoch: tt.epoch, Highest: tt.highest}:
			t.Errorf("%d: node %d epoch %d: %#v", i, tt.node, tt.epoch, err)
		}
	}
}

// TestGateNeverGoesBack: what is admitted of a node ID never falls, and a gate
// that was exported and seeded is the same gate.
func TestGateNeverGoesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var g fencing.Gate
		admitted := map[snowflake.NodeID]fencing.Epoch{}
		for range 30 {
			node := snowflake.NodeID(rapid.IntRange(0, 3).Draw(t, "node"))
			epoch := fencing.Epoch(rapid.IntRange(0, 20).Draw(t, "epoch"))
			want := epoch > 0 && epoch >= admitted[node]
			if err := g.Admit(node, epoch); (err == nil) != want {
				t.Fatalf("node %d epoch %d after %d: %v", node, epoch, admitted[node], err)
			}
			if want {
				admitted[node] = epoch
			}
			if g.Highest(node) != admitted[node] {
				t.Fatalf("highest of node %d is %d, want %d", node, g.Highest(node), admitted[node])
			}
			if rapid.Bool().Draw(t, "restart") {
				g = restored(&g)
			}
		}
		if got := maps.Collect(g.All()); !maps.Equal(got, admitted) {
			t.Fatalf("exported %v, want %v", got, admitted)
		}
	})
}

// restored is what a restart makes of a gate: exported, and seeded again, older
// exports included.
func restored(g *fencing.Gate) fencing.Gate {
	var again fencing.Gate
	for node, epoch := range g.All() {
		again.Seed(node, epoch)
		again.Seed(node, epoch-1)
	}
	return again
}

func TestGateAllInOrder(t *testing.T) {
	var g fencing.Gate
	for _, node := range []snowflake.NodeID{5, 1, 9, 3} {
		g.Seed(node, 1)
	}
	var got []snowflake.NodeID
	for node := range g.All() {
		if got = append(got, node); len(got) == 3 {
			break
		}
	}
	if fmt.Sprint(got) != "[1 3 5]" {
		t.Errorf("the first three are %v", got)
	}
}
