package sim

import (
	"testing"

	"github.com/anishathalye/porcupine"
)

// TestModel: the model takes histories that can be, and refuses others.
func TestModel(t *testing.T) {
	good := func(epoch uint64) output { return output{good: true, epoch: epoch} }
	lost := output{lost: true}
	type op struct {
		in         input
		out        output
		call, done int64
	}
	for _, tt := range []struct {
		name string
		want bool
		ops  []op
	}{
		{"a grant, heartbeats, and the next grant", true, []op{
			{input{callAcquire, 0}, good(1), 1, 2}, {input{callHeartbeat, 1}, good(1), 3, 4},
			{input{callAcquire, 0}, good(2), 5, 6}, {input{callHeartbeat, 1}, lost, 7, 8}}},
		{"a heartbeat that is good after the next grant", false, []op{
			{input{callAcquire, 0}, good(1), 1, 2}, {input{callAcquire, 0}, good(2), 3, 4}, {input{callHeartbeat, 1}, good(1), 5, 6}}},
		{"the same, but the calls overlap", true, []op{
			{input{callAcquire, 0}, good(1), 1, 2}, {input{callAcquire, 0}, good(2), 3, 6}, {input{callHeartbeat, 1}, good(1), 4, 5}}},
		{"a heartbeat that is good after the release", false, []op{
			{input{callAcquire, 0}, good(1), 1, 2}, {input{callRelease, 1}, output{good: true}, 3, 4}, {input{callHeartbeat, 1}, good(1), 5, 6}}},
		{"a release whose outcome nobody knows", true, []op{
			{input{callAcquire, 0}, good(1), 1, 2}, {input{callRelease, 1}, output{unknown: true}, 3, 99}, {input{callHeartbeat, 1}, good(1), 5, 6}}},
		{"a heartbeat that is good after the revocation", false, []op{
			{input{callAcquire, 0}, good(1), 1, 2}, {input{callRevoke, 1}, output{good: true}, 3, 4}, {input{callHeartbeat, 1}, good(1), 5, 6}}},
		{"an epoch that goes back", false, []op{
			{input{callAcquire, 0}, good(2), 1, 2}, {input{callAcquire, 0}, good(1), 3, 4}}},
	} {
		var ops []porcupine.Operation
		for _, o := range tt.ops {
			ops = append(ops, porcupine.Operation{Input: o.in, Output: o.out, Call: o.call, Return: o.done})
		}
		if got := porcupine.CheckOperations(model.ToModel(), ops); got != tt.want {
			t.Errorf("%s: linearizable is %v, want %v", tt.name, got, tt.want)
		}
	}
}
