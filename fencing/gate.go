package fencing

import (
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/cirrus-id/cirrus/snowflake"
)

// Gate is what a resource uses to turn old holders away (P3): it remembers the
// highest epoch seen per node ID of one pool, and admits no lower one. It asks
// neither clock nor network, so it is right however long a holder was stalled.
//
// Keep it with the data that it guards: a gate that forgets lets an old holder
// in until the new one has come by. All and Seed store and restore it.
//
// The zero value is an empty gate. Not safe for concurrent use: Admit must be
// one step with the write that it lets through, under the lock or in the
// transaction that guards the data.
type Gate struct {
	highest map[snowflake.NodeID]Epoch
}

// StaleEpoch is Admit's no: node ID Node was already used under a higher epoch
// than the one that came.
type StaleEpoch struct {
	Node snowflake.NodeID
	// Epoch is the one that was turned away. 0, which is no epoch, always is.
	Epoch Epoch
	// Highest is the highest epoch seen; 0: none.
	Highest Epoch
}

// Error says what came, what was seen and what to do.
func (e *StaleEpoch) Error() string {
	if e.Epoch == 0 {
		return fmt.Sprintf("epoch 0 for node ID %d is no epoch: pass the lease's", e.Node)
	}
	return fmt.Sprintf("epoch %d of node ID %d is over, epoch %d has been seen: stop, and acquire a new lease", e.Epoch, e.Node, e.Highest)
}

// Admit lets an epoch at or above the highest one of its node ID pass, and
// remembers it. Errors: *StaleEpoch; then nothing has changed.
func (g *Gate) Admit(node snowflake.NodeID, epoch Epoch) error {
	highest := g.highest[node]
	if epoch == 0 || epoch < highest {
		return &StaleEpoch{Node: node, Epoch: epoch, Highest: highest}
	}
	g.Seed(node, epoch)
	return nil
}

// Seed makes the gate remember that an epoch has been seen. A lower one than it
// knows changes nothing, so several exports can be seeded one over the other.
func (g *Gate) Seed(node snowflake.NodeID, epoch Epoch) {
	if epoch <= g.highest[node] {
		return
	}
	if g.highest == nil {
		g.highest = make(map[snowflake.NodeID]Epoch)
	}
	g.highest[node] = epoch
}

// Highest returns the highest epoch seen of a node ID; 0: none.
func (g *Gate) Highest(node snowflake.NodeID) Epoch { return g.highest[node] }

// All gives every node ID seen with its highest epoch, by node ID.
func (g *Gate) All() iter.Seq2[snowflake.NodeID, Epoch] {
	return func(yield func(snowflake.NodeID, Epoch) bool) {
		for _, node := range slices.Sorted(maps.Keys(g.highest)) {
			if !yield(node, g.highest[node]) {
				return
			}
		}
	}
}
