package explore

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

// holder is the state of a fencing.Holder, the little that matters of its
// generator, and the messages from and to it. A holder in the table never changes.
type holder struct {
	rules fencing.Holder
	// window is what the generator may put into IDs while it mints. It may use
	// any part of the window at any time until it is stopped, however late,
	// because it may have been paused after it had checked its deadline.
	window  window
	minting bool
	// lag is how far the holder's steady clock is behind the service's.
	lag uint8
	// requests and replies are those in flight: numbers in the world's tables, in
	// rising order.
	requests, replies []uint32

	// broken is the error of Holder.Check.
	broken error
	// node is the node ID of its lease, if it has one.
	node snowflake.NodeID
}

// live reports whether the holder is live by its own clock (P1).
func (h *holder) live(s *state) bool { return h.rules.Live(span(Units(s.clock - h.lag))) }

// holderOp is an operation on a holder.
type holderOp struct {
	holder uint32
	kind   holderOpKind
	// clock is the holder's steady clock, in units.
	clock uint8
	// arg is the number of a message, how much of the window was used, a lag, or
	// the holder's place.
	arg uint32
	// fresh is the instance that the holder gets if it asks for one. 0: none.
	fresh uint8
	// lose is the place of the message that is lost if there is one too many.
	lose uint8
	// keep leaves the message in flight, so that it arrives again.
	keep bool
}

type holderOpKind uint8

const (
	hopBegin holderOpKind = iota
	hopClock
	hopTick
	hopReply
	hopPost  // a reply to the holder is put into flight
	hopTaken // a request of the holder has arrived
	hopRelease
	hopRestart
	hopLag // the holder's clock stands still
)

// How much of its window a holder has used when it releases its lease.
const (
	usedNone = iota
	usedFloor
	usedAll
	usedChoices
)

// effect is what an operation does to a holder.
type effect struct {
	holder uint32
	// closed is the part of its window that may be used when its generator is
	// stopped.
	closed window
	// asked says that the holder took the fresh instance.
	asked bool
	// full says that there was a message too many, and one was lost.
	full bool
	acts []fencing.Action
}

func nameOf(i int) string { return string(rune('A' + i)) }

// instance returns the instance ID with a number.
func instance(n uint8) fencing.InstanceID {
	return fencing.InstanceID(fmt.Sprintf("instance-%07d", n))
}

func (w *world) newHolder(i int) fencing.Holder {
	app := fencing.AppID(fmt.Sprintf("app-%d", i%w.scope.Apps+1))
	return fencing.NewHolder(fencing.HolderConfig{App: app})
}

// holder puts a holder into the table and returns its number. The holder must not
// be changed afterwards.
func (w *world) holder(h *holder, at time.Duration) uint32 {
	state := h.rules.State()
	b := appendHolder(w.key[:0], &state, at, Unit)
	if h.minting {
		v := h.window
		for _, n := range []int64{int64(v.node), int64(v.epoch), int64(v.floor), int64(v.ceiling)} {
			b = binary.AppendVarint(b, n)
		}
	}
	b = append(b, '|', h.lag, byte(len(h.requests)))
	for _, n := range h.requests {
		b = binary.AppendUvarint(b, uint64(n))
	}
	for _, n := range h.replies {
		b = binary.AppendUvarint(b, uint64(n))
	}
	w.key = b
	if n, ok := w.holders.numbers[string(b)]; ok {
		return n
	}
	h.broken = h.rules.Check()
	h.node = h.rules.Lease().Node
	return w.holders.add(string(b), h)
}

// step does an operation on a holder, or remembers what it did the last time.
func (w *world) step(op holderOp) effect {
	if e, ok := w.stepped[op]; ok {
		return e
	}
	h := *w.holders.at(op.holder) // the messages are shared until they change
	var e effect
	h.do(w, op, &e)
	h.ignore(w, span(Units(op.clock)))
	e.holder = w.holder(&h, span(Units(op.clock)))
	w.stepped[op] = e
	return e
}

// do does an operation on the holder itself.
func (h *holder) do(w *world, op holderOp, e *effect) {
	at := span(Units(op.clock))
	switch op.kind {
	case hopBegin:
		h.act(w, h.rules.Acquire(at, instance(op.fresh)), at, op, e)
		e.asked = true
	case hopClock:
		h.lag = uint8(op.arg)
		h.giveUp(at)
		h.age(w, at)
		if !w.scope.Lazy {
			h.act(w, h.rules.Tick(at, 0), at, op, e)
		}
	case hopLag:
		h.lag = uint8(op.arg)
	case hopTick:
		h.act(w, h.rules.Tick(at, 0), at, op, e)
	case hopReply:
		if !op.keep {
			h.replies = without(h.replies, op.arg)
		}
		h.act(w, h.rules.Answered(at, *w.answers.at(op.arg), 0), at, op, e)
	case hopPost:
		h.replies, e.full = put(h.replies, op.arg, w.scope.Replies, op.lose)
	case hopTaken:
		h.requests = without(h.requests, op.arg)
	case hopRelease:
		h.release(w, at, op, e)
	case hopRestart:
		h.stop(usedAll, e)
		h.rules, h.lag = w.newHolder(int(op.arg)), 0
		h.act(w, h.rules.Acquire(at, instance(op.fresh)), at, op, e)
		e.asked = true
	}
}

// giveUp cancels the calls that the holder gives up before a time. What else is
// due before then waits for the next tick, as in a holder that was paused.
func (h *holder) giveUp(at time.Duration) {
	for {
		next, ok := h.rules.Next()
		if !ok || next >= at {
			return
		}
		after := h.rules
		acts := after.Tick(next, 0)
		if len(acts) != 1 || acts[0].Kind != fencing.ActCancel {
			return
		}
		h.rules = after
	}
}

// age sets the time to 0 at which a message was sent, if a lease that is counted
// from then has expired. So messages that differ only in that time become equal.
func (h *holder) age(w *world, at time.Duration) {
	old := func(c *fencing.Call) bool {
		stale := c.SentAt > 0 && c.SentAt+span(w.scope.TTL) <= at
		if stale {
			c.SentAt = 0
		}
		return stale
	}
	for _, n := range h.requests {
		if c := w.calls.at(n); old(&c) {
			h.requests, _ = put(without(h.requests, n),
				w.calls.number(c, func() fencing.Call { return c }),
				w.scope.Requests, 0)
		}
	}
	for _, n := range h.replies {
		if a := *w.answers.at(n); old(&a.Call) {
			h.replies, _ = put(without(h.replies, n),
				w.answers.number(a, func() *fencing.Answer { return &a }), w.scope.Replies, 0)
		}
	}
}

// ignore drops the replies that make no difference to a holder that has ended.
func (h *holder) ignore(w *world, at time.Duration) {
	if h.rules.Phase() != fencing.HolderEnded {
		return
	}
	for _, n := range h.replies {
		after := h.rules
		if acts := after.Answered(at, *w.answers.at(n), 0); len(acts) == 0 && after == h.rules {
			h.replies = without(h.replies, n)
		}
	}
}

// act carries out what the rules ask for.
func (h *holder) act(w *world, acts []fencing.Action, at time.Duration, op holderOp, e *effect) {
	e.acts = append(e.acts, acts...)
	for _, a := range acts {
		switch a.Kind {
		case fencing.ActSend:
			n := w.calls.number(a.Call, func() fencing.Call { return a.Call })
			h.requests, e.full = put(h.requests, n, w.scope.Requests, op.lose)
		case fencing.ActAsk:
			if op.fresh != 0 && !e.asked {
				e.asked = true
				h.act(w, h.rules.Acquire(at, instance(op.fresh)), at, op, e)
			}
		case fencing.ActBegin:
			h.stop(usedAll, e)
			l := a.Lease
			h.window, h.minting = window{l.Node, l.Epoch, l.Floor, l.Ceiling}, true
		case fencing.ActExtend:
			if h.minting {
				h.window.ceiling = max(h.window.ceiling, a.Lease.Ceiling)
			}
		case fencing.ActStop:
			used := uint32(usedAll) // nobody knows, so it may be all
			if op.kind == hopRelease {
				used = op.arg
			}
			h.stop(used, e)
		}
	}
}

// stop ends minting. used is how much of the window was used.
func (h *holder) stop(used uint32, e *effect) {
	if !h.minting {
		return
	}
	e.closed = h.window
	e.closed.ceiling = h.window.last(used)
	h.window, h.minting = window{}, false
}

// last returns the last timestamp that was used of a window.
func (v window) last(used uint32) snowflake.Millis {
	switch used {
	case usedNone:
		return v.floor - 1
	case usedFloor:
		return v.floor
	}
	return v.ceiling
}

// release releases the lease, and says the last timestamp used (C6).
func (h *holder) release(w *world, at time.Duration, op holderOp, e *effect) {
	used, last := h.minting && op.arg != usedNone, h.window.last(op.arg)
	h.act(w, h.rules.Release(at), at, op, e)
	if h.rules.Phase() == fencing.HolderStopping {
		h.act(w, h.rules.Stopped(at, last, used), at, op, e)
	}
}

// put adds a message to those in flight. If there is one too many, it removes the
// one at the place lose.
func put(list []uint32, n uint32, most int, lose uint8) (after []uint32, full bool) {
	at, ok := slices.BinarySearch(list, n)
	if ok {
		return list, false // an equal one is in flight already
	}
	after = slices.Insert(slices.Clone(list), at, n)
	if len(after) > most {
		i := int(lose) % len(after)
		return slices.Delete(after, i, i+1), true
	}
	return after, false
}

// without returns the list without a number.
func without(list []uint32, n uint32) []uint32 {
	at, ok := slices.BinarySearch(list, n)
	if !ok {
		return list
	}
	return slices.Delete(slices.Clone(list), at, at+1)
}
