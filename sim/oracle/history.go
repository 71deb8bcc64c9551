package oracle

import (
	"github.com/anishathalye/porcupine"

	"github.com/cirrus-id/cirrus/internal/history"
	"github.com/cirrus-id/cirrus/sim/event"
)

// linearizable history: the answers about a node ID could have been given one after
// the other.

// saysNothing reports whether an operation can be left out of its node ID's history.
// A refusal fits any order, and many at once take long to order.
func (op *operation) saysNothing() bool {
	if op.node.Node < 0 || op.ignored {
		return true
	}
	if op.reply == nil {
		return op.call.Procedure == event.CallAcquire || op.call.Procedure == event.CallHeartbeat
	}
	return !op.reply.Good || op.lastStory != op.firstStory
}

// linearizable judges all calls, one node ID and one story after the other.
func (o *Oracle) linearizable() {
	if !o.config.Judged {
		return
	}
	type part struct {
		event.Key
		story int
	}
	parts := map[part][]porcupine.Operation{}
	for _, op := range o.history {
		if op.saysNothing() {
			continue
		}
		in := history.Input{Call: history.Call(op.call.Procedure), Epoch: op.call.Epoch}
		out := history.Output{Unknown: true}
		end := int64(1 << 62)
		if op.reply != nil {
			out = history.Output{Good: op.reply.Good, Epoch: op.reply.Epoch}
			end = int64(op.last)
		}
		p := part{op.node, op.firstStory}
		parts[p] = append(parts[p], porcupine.Operation{Input: in, Call: int64(op.first),
			Output: out, Return: end})
	}
	for _, key := range o.order {
		for story := range o.story + 1 {
			if ops := parts[part{key, story}]; len(ops) > 0 &&
				history.Possible(ops, 0) != porcupine.Ok {
				o.violate(PromiseHistory,
					"the %d calls about node ID %d of pool %q can't have happened one after the other", len(ops), key.Node, key.Pool)
			}
		}
	}
}
