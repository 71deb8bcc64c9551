package fencing

import (
	"maps"
	"testing"

	"pgregory.net/rapid"

	"github.com/cirrus-id/cirrus/snowflake"
)

// An index answers as a map does, however its hashes collide, and its clone goes
// its own way.
func TestNodeIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Ten keys share a hash, and hashes lie close together, up to the table's end.
		hash := func(key int) uint32 { return ^uint32(key / 10) }
		var x, copied nodeIndex
		want, keys := map[int]snowflake.NodeID{}, map[snowflake.NodeID]int{}
		var old map[int]snowflake.NodeID
		is := func(key int) func(snowflake.NodeID) bool {
			return func(n snowflake.NodeID) bool { return keys[n] == key }
		}
		x.reserve(rapid.IntRange(0, 20).Draw(t, "reserved"))
		next := snowflake.NodeID(0)
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				key := rapid.IntRange(1, 200).Draw(t, "key")
				keys[next] = key
				x.set(hash(key), next, is(key))
				want[key] = next
				next++
			},
			"remove": func(t *rapid.T) {
				key := rapid.IntRange(1, 200).Draw(t, "key")
				node, ok := want[key]
				if !ok {
					node = next
				}
				x.remove(hash(key), node)
				delete(want, key)
			},
			"clone": func(*rapid.T) { copied, old = x.clone(), maps.Clone(want) },
			"": func(t *rapid.T) {
				for _, of := range []struct {
					x    *nodeIndex
					want map[int]snowflake.NodeID
				}{{&x, want}, {&copied, old}} {
					listed := 0
					for range of.x.all() {
						listed++
					}
					if listed != len(of.want) || of.x.len != listed {
						t.Fatalf("%d entries are listed, of %d, want %d", listed, of.x.len,
							len(of.want))
					}
					for key := range 201 {
						node, ok := of.want[key]
						if got, found := of.x.find(hash(key), is(key)); found != ok || got != node {
							t.Fatalf("key %d leads to %d (%v), want %d (%v)", key, got, found, node,
								ok)
						}
						if ok && !of.x.has(hash(key), node) {
							t.Fatalf("key %d does not lead to %d", key, node)
						}
					}
				}
			},
		})
	})
}
