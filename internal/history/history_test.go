package history

import (
	"testing"

	"github.com/anishathalye/porcupine"
)

func TestPossible(t *testing.T) {
	good := func(epoch uint64) Output { return Output{Good: true, Epoch: epoch} }
	lost := Output{}
	type op struct {
		in         Input
		out        Output
		call, done int64
	}
	for _, tt := range []struct {
		name string
		want bool
		ops  []op
	}{
		{"a grant, heartbeats, and the next grant", true, []op{
			{Input{Acquire, 0}, good(1), 1, 2}, {Input{Heartbeat, 1}, good(1), 3, 4},
			{Input{Acquire, 0}, good(2), 5, 6}, {Input{Heartbeat, 1}, lost, 7, 8}}},
		{"a heartbeat that is good after the next grant", false, []op{
			{Input{Acquire, 0}, good(1), 1, 2}, {Input{Acquire, 0}, good(2), 3, 4}, {Input{Heartbeat, 1}, good(1), 5, 6}}},
		{"the same, but the calls overlap", true, []op{
			{Input{Acquire, 0}, good(1), 1, 2}, {Input{Acquire, 0}, good(2), 3, 6}, {Input{Heartbeat, 1}, good(1), 4, 5}}},
		{"a heartbeat that is good after the release", false, []op{
			{Input{Acquire, 0}, good(1), 1, 2}, {Input{Release, 1}, Output{Good: true}, 3, 4}, {Input{Heartbeat, 1}, good(1), 5, 6}}},
		{"a release whose answer did not arrive", true, []op{
			{Input{Acquire, 0}, good(1), 1, 2}, {Input{Release, 1}, Output{Unknown: true}, 3, 99}, {Input{Heartbeat, 1}, good(1), 5, 6}}},
		{"a heartbeat that is good after the revocation", false, []op{
			{Input{Acquire, 0}, good(1), 1, 2}, {Input{Revoke, 1}, Output{Good: true}, 3, 4}, {Input{Heartbeat, 1}, good(1), 5, 6}}},
		{"a release that is refused, because the node ID was granted again", true, []op{
			{Input{Acquire, 0}, good(1), 1, 2}, {Input{Acquire, 0}, good(2), 3, 4}, {Input{Release, 1}, lost, 5, 6}, {Input{Heartbeat, 2}, good(2), 7, 8}}},
		{"an epoch that goes back", false, []op{
			{Input{Acquire, 0}, good(2), 1, 2}, {Input{Acquire, 0}, good(1), 3, 4}}},
	} {
		var ops []porcupine.Operation
		for _, o := range tt.ops {
			ops = append(ops, porcupine.Operation{Input: o.in, Output: o.out, Call: o.call,
				Return: o.done})
		}
		if got := Possible(ops, 0) == porcupine.Ok; got != tt.want {
			t.Errorf("%s: Possible is %v, want %v", tt.name, got, tt.want)
		}
	}
}
