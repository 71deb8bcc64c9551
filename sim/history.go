package sim

import (
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// operation is a call about a node ID, from its arrival at the server to its
// answer.
type operation struct {
	call        *call
	proc        *process
	begun, done time.Duration
	first, last int  // the numbers of the events, which order what is at one time
	unknown     bool // its process died: it happened, or it did not
	astray      bool // it was answered by a process that had lost its volume: for a stride it may not know the latest (S10)
	node        nodeKey
	reply       *reply
}

func (c *checker) begin(call *call, p *process) *operation {
	op := &operation{call: call, proc: p, begun: c.w.now(), first: c.tick()}
	op.node = nodeKey{call.request.pool, call.request.node}
	c.history = append(c.history, op)
	if call.procedure == callAcquire {
		c.asking = append(c.asking, op)
	}
	return op
}

func (c *checker) end(op *operation, r *reply) {
	c.askedNoMore(func(o *operation) bool { return o == op })
	op.done, op.last, op.reply = max(c.w.now(), 1), c.tick(), r
	if r.lease {
		op.node.node = r.node
	}
}

// askedNoMore drops those that wait for a lease no more.
func (c *checker) askedNoMore(gone func(*operation) bool) {
	c.asking = slices.DeleteFunc(c.asking, gone)
}

// tick numbers the beginnings and ends of operations.
func (c *checker) tick() int {
	c.ticks++
	return c.ticks
}

// What porcupine sees of a call and its answer.
type (
	input struct {
		procedure string
		epoch     uint64 // asked for
	}
	output struct {
		unknown, good, lost bool
		epoch               uint64 // answered
	}
	// nodeModel is a node ID's state: its last lease, and what has become of it.
	nodeModel struct {
		epoch                   uint64
		released, revoked, over bool
	}
)

// model is the node ID that the calls should look as if they had met, one
// after the other. That a lease may run out at any time is not for it to
// judge: the checks of time do that.
var model = porcupine.NondeterministicModel{
	Init: func() []any { return []any{nodeModel{}} },
	Step: func(state, in, out any) []any {
		return step(state.(nodeModel), in.(input), out.(output))
	},
}

func step(s nodeModel, in input, out output) []any {
	stays := []any{s}
	switch in.procedure {
	case callAcquire:
		switch {
		case !out.good:
			return stays
		case out.epoch == s.epoch && !s.released && !s.revoked:
			return stays
		case out.epoch > s.epoch:
			return []any{nodeModel{epoch: out.epoch}}
		}
	case callHeartbeat:
		is := in.epoch == s.epoch && !s.released && !s.revoked
		if out.unknown || out.good && is || !out.good && !out.lost || out.lost && (!is || s.over) {
			return stays
		}
		if out.lost && is {
			// It had run out, and was noted as ended or granted to one who
			// never heard of it.
			return []any{nodeModel{epoch: s.epoch, over: true}}
		}
	case callRelease:
		is := in.epoch == s.epoch
		done := s
		done.released = true
		switch {
		case out.unknown && is:
			return []any{s, done}
		case out.good && is:
			return []any{done}
		case !out.good:
			return stays
		}
		return stays
	case callRevoke:
		is := in.epoch == s.epoch
		done := s
		done.revoked = true
		switch {
		case out.unknown && is:
			return []any{s, done}
		case out.good && is:
			return []any{done}
		}
		return stays
	}
	return nil
}

// linearizable looks at the whole history, one node ID after the other.
func (c *checker) linearizable() {
	if c.w.plan.profile == Vows {
		return
	}
	byNode := map[nodeKey][]porcupine.Operation{}
	m := model.ToModel()
	for _, op := range c.history {
		in := input{op.call.procedure, op.call.request.epoch}
		out := output{unknown: true}
		end := int64(1 << 62)
		if op.reply != nil {
			out = output{good: op.reply.good, lost: op.reply.lost, epoch: op.reply.epoch}
			end = int64(op.last)
		}
		if op.node.node < 0 || op.astray || op.reply == nil && (op.call.procedure == callAcquire || op.call.procedure == callHeartbeat) ||
			op.reply != nil && !op.reply.good && !op.reply.lost {
			continue // it says nothing about a node ID
		}
		byNode[op.node] = append(byNode[op.node], porcupine.Operation{Input: in, Call: int64(op.first), Output: out, Return: end})
	}
	for _, key := range c.order {
		if ops := byNode[key]; len(ops) > 0 && !porcupine.CheckOperations(m, ops) {
			c.w.violate(PromiseHistory, "the %d calls about node ID %d of pool %q can't have happened one after the other", len(ops), key.node, key.pool)
		}
	}
}
