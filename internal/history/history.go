// Package history says which calls about one node ID can have happened one
// after the other. The simulator and the tests of the real binary judge by it
// what they saw. It knows of no time: whether a lease ran out too early is for
// others to judge. Nor does it know of instances: LEASE_LOST can always be the
// answer to one that never had the lease.
package history

import (
	"time"

	"github.com/anishathalye/porcupine"
)

// Call is what was asked for.
type Call string

// The calls about one node ID.
const (
	Acquire   Call = "Acquire"
	Heartbeat Call = "Heartbeat"
	Release   Call = "Release"
	Revoke    Call = "Revoke"
)

// Input is a call, with the epoch that it names.
type Input struct {
	Call  Call
	Epoch uint64
}

// Output is the answer: Good, with the epoch that it tells; or a refusal, which
// is the zero Output; or Unknown, where nobody heard one.
type Output struct {
	Unknown, Good bool
	Epoch         uint64
}

// state is a node ID's: its last lease, and what has become of it.
type state struct {
	epoch             uint64
	released, revoked bool
}

var model = porcupine.NondeterministicModel{
	Init: func() []any { return []any{state{}} },
	Step: func(s, in, out any) []any { return step(s.(state), in.(Input), out.(Output)) },
}

// step returns what the node ID may be after the call: nothing, if it could not
// be answered so.
func step(s state, in Input, out Output) []any {
	stays := []any{s}
	is := in.Epoch == s.epoch
	switch in.Call {
	case Acquire:
		switch {
		case !out.Good:
			return stays
		case out.Epoch == s.epoch && !s.released && !s.revoked:
			return stays
		case out.Epoch > s.epoch:
			return []any{state{epoch: out.Epoch}}
		}
	case Heartbeat:
		if !out.Good || is && !s.released && !s.revoked {
			return stays
		}
	case Release:
		done := s
		done.released = true
		return change(s, done, is, out)
	case Revoke:
		done := s
		done.revoked = true
		return change(s, done, is, out)
	}
	return nil
}

// change is what follows a call that ends the lease it names.
func change(s, done state, is bool, out Output) []any {
	switch {
	case is && out.Unknown:
		return []any{s, done}
	case is && out.Good:
		return []any{done}
	}
	return []any{s}
}

// Possible says whether all calls about one node ID, each with an Input and an
// Output, can have happened one after the other. Unknown: it can't be told
// within the time. A limit of 0 is none.
func Possible(calls []porcupine.Operation, limit time.Duration) porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(model.ToModel(), calls, limit)
}
