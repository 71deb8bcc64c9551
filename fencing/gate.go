package fencing

import (
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/cirrus-id/cirrus/snowflake"
)

// Gate lets a resource refuse old holders (P3): it remembers the highest epoch seen
// of each node ID of one pool, and admits no lower one. It uses neither clock nor
// network, so it is right however long a holder was stalled.
//
// Store the gate with the data that it guards: a gate that forgets admits an old
// holder until the new one has used the resource. All and Seed store and restore
// it.
//
// The zero value is an empty gate. A Gate is not safe for concurrent use: Admit and
// the write that it admits must be one step, under the lock or in the transaction
// that guards the data.
type Gate struct {
	highest map[snowflake.NodeID]Epoch
}

// StaleEpoch is the error of Admit: node ID Node was already used under a higher
// epoch than this one.
type StaleEpoch struct {
	Node snowflake.NodeID
	// Epoch is the refused epoch. 0, which is no epoch, is always refused.
	Epoch Epoch
	// Highest is the highest epoch seen; 0 if none was.
	Highest Epoch
}

// Error says which epoch was refused, which one was seen, and what to do.
func (e *StaleEpoch) Error() string {
	if e.Epoch == 0 {
		return fmt.Sprintf("epoch 0 for node ID %d is no epoch: pass the lease's", e.Node)
	}
	return fmt.Sprintf(
		"epoch %d of node ID %d is over, epoch %d has been seen: stop, and acquire a new lease",
		e.Epoch, e.Node, e.Highest)
}

// Admit admits an epoch at or above the highest one seen of its node ID, and
// remembers it. The error is a *StaleEpoch; then nothing has changed.
func (g *Gate) Admit(node snowflake.NodeID, epoch Epoch) error {
	highest := g.highest[node]
	if epoch == 0 || epoch < highest {
		return &StaleEpoch{Node: node, Epoch: epoch, Highest: highest}
	}
	g.Seed(node, epoch)
	return nil
}

// Seed makes the gate remember that an epoch was seen. An epoch below the highest
// one seen changes nothing, so several exports can be seeded one after the other.
func (g *Gate) Seed(node snowflake.NodeID, epoch Epoch) {
	if epoch <= g.highest[node] {
		return
	}
	if g.highest == nil {
		g.highest = make(map[snowflake.NodeID]Epoch)
	}
	g.highest[node] = epoch
}

// Highest returns the highest epoch seen of a node ID; 0 if none was.
func (g *Gate) Highest(node snowflake.NodeID) Epoch { return g.highest[node] }

// All yields every node ID seen and its highest epoch, ordered by node ID.
func (g *Gate) All() iter.Seq2[snowflake.NodeID, Epoch] {
	return func(yield func(snowflake.NodeID, Epoch) bool) {
		for _, node := range slices.Sorted(maps.Keys(g.highest)) {
			if !yield(node, g.highest[node]) {
				return
			}
		}
	}
}
