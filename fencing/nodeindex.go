package fencing

import (
	"crypto/sha256"
	"encoding/binary"
	"iter"
	"slices"

	"github.com/cirrus-id/cirrus/snowflake"
)

// nodeIndex finds a node ID by a key. It is a hash table that stores 32 bits of
// each key's hash; the keys are stored elsewhere, such as in the node ID's lease. A
// map with the keys takes four times as much memory: for a million leases, more
// than the leases themselves. The zero value is an empty index.
//
// It uses open addressing with linear probing: an entry is in the first empty slot
// from the one that its hash names. If an entry is removed, those behind it move up.
type nodeIndex struct {
	slots []indexSlot // none, or a power of 2
	len   int
}

type indexSlot struct {
	hash uint32
	node uint32 // plus 1; 0: empty
}

// hashOfApp and hashOfInstance return parts of a SHA-256, which nobody can choose:
// a client that chooses keys must not be able to make them collide.
func hashOfApp(app AppID) uint32 {
	sum := sha256.Sum256([]byte(app))
	return binary.BigEndian.Uint32(sum[:])
}

func hashOfInstance(instance *InstanceHash) uint32 { return binary.BigEndian.Uint32(instance[:]) }

// reserve makes room for so many entries in all.
func (x *nodeIndex) reserve(entries int) {
	size := 8
	for size*3 < entries*4 {
		size *= 2
	}
	if size > len(x.slots) {
		x.resize(size)
	}
}

func (x *nodeIndex) resize(size int) {
	old := x.slots
	x.slots = make([]indexSlot, size)
	for _, s := range old {
		if s.node != 0 {
			x.slots[x.empty(s.hash)] = s
		}
	}
}

// empty returns the first empty slot for a hash.
func (x *nodeIndex) empty(hash uint32) uint32 {
	mask := uint32(len(x.slots) - 1)
	at := hash & mask
	for x.slots[at].node != 0 {
		at = (at + 1) & mask
	}
	return at
}

// slot returns the slot of the entry with this hash for whose node ID is is true.
func (x *nodeIndex) slot(hash uint32, is func(snowflake.NodeID) bool) (at uint32, ok bool) {
	if x.len == 0 {
		return 0, false
	}
	mask := uint32(len(x.slots) - 1)
	for at = hash & mask; x.slots[at].node != 0; at = (at + 1) & mask {
		if s := x.slots[at]; s.hash == hash && is(snowflake.NodeID(s.node-1)) {
			return at, true
		}
	}
	return 0, false
}

// find returns the node ID with this hash of its key for which is is true.
func (x *nodeIndex) find(hash uint32, is func(snowflake.NodeID) bool) (snowflake.NodeID, bool) {
	at, ok := x.slot(hash, is)
	if !ok {
		return 0, false
	}
	return snowflake.NodeID(x.slots[at].node - 1), true
}

// set makes node the node ID of a key with this hash. It replaces the one for which
// is is true, if there is one.
func (x *nodeIndex) set(hash uint32, node snowflake.NodeID, is func(snowflake.NodeID) bool) {
	if at, ok := x.slot(hash, is); ok {
		x.slots[at].node = uint32(node) + 1
		return
	}
	x.reserve(x.len + 1)
	x.slots[x.empty(hash)] = indexSlot{hash, uint32(node) + 1}
	x.len++
}

// has reports whether a key with this hash leads to the node ID.
func (x *nodeIndex) has(hash uint32, node snowflake.NodeID) bool {
	_, ok := x.slot(hash, func(n snowflake.NodeID) bool { return n == node })
	return ok
}

// remove removes the entry that leads from a key with this hash to the node ID, if
// there is one.
func (x *nodeIndex) remove(hash uint32, node snowflake.NodeID) {
	hole, ok := x.slot(hash, func(n snowflake.NodeID) bool { return n == node })
	if !ok {
		return
	}
	x.len--
	mask := uint32(len(x.slots) - 1)
	for at := (hole + 1) & mask; x.slots[at].node != 0; at = (at + 1) & mask {
		// An entry may be anywhere from the slot that its hash names on: is the hole?
		if (at-x.slots[at].hash)&mask >= (at-hole)&mask {
			x.slots[hole] = x.slots[at]
			hole = at
		}
	}
	x.slots[hole] = indexSlot{}
}

// all yields the hashes and node IDs of all entries, in no order.
func (x *nodeIndex) all() iter.Seq2[uint32, snowflake.NodeID] {
	return func(yield func(uint32, snowflake.NodeID) bool) {
		for _, s := range x.slots {
			if s.node != 0 && !yield(s.hash, snowflake.NodeID(s.node-1)) {
				return
			}
		}
	}
}

func (x *nodeIndex) clone() nodeIndex { return nodeIndex{slices.Clone(x.slots), x.len} }
