package sim

import (
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/internal/history"
)

// operation is a call about a node ID, from its arrival at the server to its
// answer.
type operation struct {
	call        *call
	proc        *process
	begun, done time.Duration
	first, last int // the numbers of the events, which order what is at one time
	// storyBegun and storyDone are the checker's story at its arrival and answer.
	storyBegun, storyDone int
	// inLine is the number of the event since which its instance may have its place
	// in line: it has asked there without a break, and had no lease.
	inLine  int
	unknown bool // its process died: it happened, or it did not
	astray  bool // it was answered by a process that had lost its volume: for a stride it may not know the latest (S10)
	node    nodeKey
	reply   *reply
	// steady is when it arrived, by the server's clock.
	steady time.Duration
	// items are those of a batch; of them, batch is set.
	items []*operation
	batch bool
	// logged: its task has waited for whoever reads the log, so that what it
	// answers was decided on earlier.
	logged bool
	// granted is the last node ID that was granted for it, and under which epoch.
	granted      *nodeKey
	grantedEpoch fencing.Epoch
}

func (c *checker) begin(by *call, p *process) *operation {
	op := &operation{call: by, proc: p, begun: c.w.now(), first: c.tick(), steady: p.machine.steady(), storyBegun: c.story}
	op.node = nodeKey{by.request.pool, by.request.node}
	c.history = append(c.history, op)
	op.inLine = op.first
	if by.procedure == callAcquire {
		for _, o := range c.asking {
			if o.proc == p && by.request.instance != "" && o.call.request.pool == by.request.pool && o.call.request.instance == by.request.instance {
				op.inLine = min(op.inLine, o.inLine)
			}
		}
		c.asking = append(c.asking, op)
	}
	for _, item := range by.request.items {
		it := c.begin(&call{number: by.number, procedure: callHeartbeat, from: by.from, request: item, peer: by.peer}, p)
		it.batch = true
		op.items = append(op.items, it)
	}
	return op
}

func (c *checker) end(op *operation, r *reply) {
	c.askedNoMore(func(o *operation) bool { return o == op })
	op.done, op.last, op.storyDone, op.reply = max(c.w.now(), 1), c.tick(), c.story, r
	if r.lease {
		op.node.node = r.node
	}
}

// leaseEnded tells that an instance's lease has ended, at that tick. It had no place
// in line until now: it would have got its lease again.
func (c *checker) leaseEnded(r *fencing.Record, at int) {
	for _, op := range c.asking {
		if op.call.request.pool == string(r.Pool) && fencing.InstanceID(op.call.request.instance).Hash() == r.Instance {
			op.inLine = at
		}
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

// linearizable looks at the whole history, one node ID and one story after the
// other.
func (c *checker) linearizable() {
	if c.w.plan.profile == Vows {
		return
	}
	type part struct {
		nodeKey
		story int
	}
	parts := map[part][]porcupine.Operation{}
	for _, op := range c.history {
		in := history.Input{Call: history.Call(op.call.procedure), Epoch: op.call.request.epoch}
		out := history.Output{Unknown: true}
		end := int64(1 << 62)
		if op.reply != nil {
			out = history.Output{Good: op.reply.good, Epoch: op.reply.epoch}
			end = int64(op.last)
		}
		if op.node.node < 0 || op.astray || op.reply == nil && (op.call.procedure == callAcquire || op.call.procedure == callHeartbeat) ||
			op.reply != nil && !op.reply.good {
			continue // it says nothing about a node ID; a refusal fits any order, and many at once take long to order
		}
		if op.reply != nil && op.storyDone != op.storyBegun {
			continue
		}
		p := part{op.node, op.storyBegun}
		parts[p] = append(parts[p], porcupine.Operation{Input: in, Call: int64(op.first), Output: out, Return: end})
	}
	for _, key := range c.order {
		for story := range c.story + 1 {
			if ops := parts[part{key, story}]; len(ops) > 0 && history.Possible(ops, 0) != porcupine.Ok {
				c.w.violate(PromiseHistory, "the %d calls about node ID %d of pool %q can't have happened one after the other", len(ops), key.node, key.pool)
			}
		}
	}
}
