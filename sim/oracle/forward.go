package oracle

import (
	"time"

	"github.com/cirrus-id/cirrus/sim/event"
)

// S10 forward: a replica that doesn't lead answers with the leader's words.

// answerKey is an answer of the leader's, as it reaches a replica that follows.
type answerKey struct {
	pool            string
	node            int
	epoch           uint64
	server, ceiling int64
	lost            bool
}

func keyOf(pool string, a *event.Reply) answerKey {
	return answerKey{pool, a.Node, a.Epoch, a.Server, a.Ceiling, a.Lost}
}

// hears takes an answer that the leader gives to a replica that forwards.
func (o *Oracle) hears(p *process, call *event.Call, a *event.Reply) {
	if o.fromLeader[p] == nil {
		o.fromLeader[p] = map[answerKey]time.Duration{}
	}
	for i, item := range a.Items {
		o.fromLeader[p][keyOf(call.Items[i].Pool, item)] = o.now()
	}
	if a.Lease || a.Lost {
		o.fromLeader[p][keyOf(call.Pool, a)] = o.now()
	}
}

// forwarded: an answer that a replica forwards is one that the leader has given
// since the request arrived.
func (o *Oracle) forwarded(op *operation, a *event.Reply) {
	if a.Lease || a.Lost {
		at, ok := o.fromLeader[op.proc][keyOf(op.call.Pool, a)]
		if !ok || at < op.arrivedAt {
			o.violate(PromiseForward, "%s answers %s #%d with what no leader has told it since",
				op.proc.Machine, op.call.Procedure, op.call.Number)
		}
	}
	if a.Good {
		o.saw("a replica passed a request on")
		o.waitedForLeader(op, a)
	}
}

// forwardsNothing: a replica that neither leads nor asked the leader gives no answer
// that only a leader can.
func (o *Oracle) forwardsNothing(op *operation, a *event.Reply) {
	if a.Good || a.Lost || a.Code == "resource_exhausted" {
		o.violate(PromiseForward, "%s answers %s #%d, and it neither leads nor has asked who does",
			op.proc.Machine, op.call.Procedure, op.call.Number)
	}
}

// waitedForLeader counts requests that came when another term was the last, or
// none, and were answered well by this one.
func (o *Oracle) waitedForLeader(op *operation, a *event.Reply) {
	if t := o.leader; a.Good && t != nil && t.since > op.arrivedAt {
		o.saw("a request waited for a leader")
	}
}
