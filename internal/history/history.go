// Package history decides whether the calls about one node ID, with their answers,
// can have happened one after the other. The simulator and the tests of the real
// binary check with it what they have recorded. It does not know time: whether a
// lease ended too early is checked elsewhere. Nor does it know instances: LEASE_LOST
// is always a possible answer, because the caller may never have had the lease.
package history

import (
	"time"

	"github.com/anishathalye/porcupine"
)

// Call is the kind of a call.
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

// Output is the answer to a call. If it is Good, Epoch is the epoch in the answer. It
// is Unknown if no answer arrived. The zero Output is a refusal.
type Output struct {
	Unknown, Good bool
	Epoch         uint64
}

// state is the last lease of a node ID, and how it ended if it did.
type state struct {
	epoch             uint64
	released, revoked bool
}

var model = porcupine.NondeterministicModel{
	Init: func() []any { return []any{state{}} },
	Step: func(s, in, out any) []any { return step(s.(state), in.(Input), out.(Output)) },
}

// step returns the states that are possible after a call; none, if the answer is
// impossible in state s.
func step(s state, in Input, out Output) []any {
	stays := []any{s}
	current := in.Epoch == s.epoch
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
		if !out.Good || current && !s.released && !s.revoked {
			return stays
		}
	case Release:
		ended := s
		ended.released = true
		return ends(s, ended, current, out)
	case Revoke:
		ended := s
		ended.revoked = true
		return ends(s, ended, current, out)
	}
	return nil
}

// ends returns the states that are possible after a call that ends a lease. current
// says that the call names the last one.
func ends(s, ended state, current bool, out Output) []any {
	switch {
	case current && out.Unknown:
		return []any{s, ended}
	case current && out.Good:
		return []any{ended}
	}
	return []any{s}
}

// Possible reports whether all calls about one node ID, each with an Input and an
// Output, can have happened one after the other. It returns Unknown if it cannot
// decide that within the limit. A limit of 0 means no limit.
func Possible(calls []porcupine.Operation, limit time.Duration) porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(model.ToModel(), calls, limit)
}
