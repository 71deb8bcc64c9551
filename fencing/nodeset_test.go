package fencing

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cirrus-id/cirrus/snowflake"
)

// The set answers as a sorted list would, and its clone goes its own way.
func TestNodeSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		node := rapid.Custom(func(t *rapid.T) snowflake.NodeID {
			page := rapid.SampledFrom([]snowflake.NodeID{0, 1, 5, 1<<22/pageNodes - 1}).Draw(t,
				"page")
			return page*pageNodes + snowflake.NodeID(rapid.IntRange(0, pageNodes-1).Draw(t,
				"in it"))
		})
		var set nodeSet
		var list []snowflake.NodeID
		for _, n := range rapid.SliceOfDistinct(node, rapid.ID[snowflake.NodeID]).Draw(t, "nodes") {
			run := n + snowflake.NodeID(rapid.IntRange(0, 200).Draw(t, "and so many after it"))
			for ; n <= run; n++ {
				if !slices.Contains(list, n) {
					set.add(n)
					list = append(list, n)
				}
			}
		}
		slices.Sort(list)
		copied := set.clone()
		if set.len != len(list) || !slices.Equal(slices.Collect(set.all()), list) {
			t.Fatalf("the set has %d node IDs, %v, want %v", set.len, slices.Collect(set.all()),
				list)
		}
		from := node.Draw(t, "from")
		at, _ := slices.BinarySearch(list, from)
		got, ok := set.next(from)
		if ok != (at < len(list)) || ok && got != list[at] {
			t.Fatalf("after %d comes %d (%v), of %v", from, got, ok, list)
		}
		out := from
		for slices.Contains(list, out) {
			out++
		}
		if got := set.nextOut(from); got != out {
			t.Fatalf("the first from %d that is not there is %d, want %d", from, got, out)
		}
		set.add(out)
		if copied.nextOut(from) != out || copied.len != len(list) {
			t.Fatal("what was added to the set is in its clone")
		}
	})
}
