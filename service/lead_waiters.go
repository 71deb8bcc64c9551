package service

import (
	"slices"

	"github.com/cirrus-id/cirrus/fencing"
)

// waiter is a request in a queue for a free node ID.
type waiter struct {
	instance fencing.InstanceHash
	ticket   fencing.Ticket // the instance's: several of its requests may have it
	wake     chan struct{}  // holds one: a second wake-up adds nothing
}

func (w *waiter) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// waiters are the waiters of a term, indexed by whatever may wake them: a write must
// not cost its number of records times the number of waiters. Each waiter has one
// entry in byTicket and one in byInstance, and is counted in all.
type waiters struct {
	byTicket   map[fencing.Ticket][]*waiter
	byInstance map[fencing.InstanceHash][]*waiter
	all        int
}

func newWaiters() waiters {
	return waiters{byTicket: map[fencing.Ticket][]*waiter{},
		byInstance: map[fencing.InstanceHash][]*waiter{}}
}

func (ws *waiters) len() int { return ws.all }

func (ws *waiters) add(w *waiter) {
	ws.byTicket[w.ticket] = append(ws.byTicket[w.ticket], w)
	ws.byInstance[w.instance] = append(ws.byInstance[w.instance], w)
	ws.all++
}

// drop forgets a waiter that was added.
func (ws *waiters) drop(w *waiter) {
	dropFrom(ws.byTicket, w.ticket, w)
	dropFrom(ws.byInstance, w.instance, w)
	ws.all--
}

func dropFrom[K comparable](m map[K][]*waiter, key K, w *waiter) {
	if m[key] = slices.DeleteFunc(m[key],
		func(other *waiter) bool { return other == w }); len(m[key]) == 0 {
		delete(m, key)
	}
}

// signalAll wakes all waiters.
func (ws *waiters) signalAll() {
	for _, same := range ws.byTicket {
		signalEach(same)
	}
}

func signalEach(some []*waiter) {
	for _, w := range some {
		w.signal()
	}
}

// wakeAfter wakes those in the queues whom a write concerns.
func (t *term) wakeAfter(w *fencing.Write) {
	if t.waiting.len() == 0 {
		return
	}
	turns, instances := t.core.Concerned(w)
	for _, ticket := range turns {
		signalEach(t.waiting.byTicket[ticket])
	}
	for _, instance := range instances {
		signalEach(t.waiting.byInstance[instance])
	}
}

// wakeTurn wakes the requests of the instance whose turn it is in a pool.
func (t *term) wakeTurn(pool fencing.PoolName) {
	signalEach(t.waiting.byTicket[t.core.Turn(pool)])
}
