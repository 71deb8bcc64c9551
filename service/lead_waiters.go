package service

import (
	"slices"

	"github.com/cirrus-id/cirrus/fencing"
)

// waiter is a request in a queue for a free node ID.
type waiter struct {
	pool     fencing.PoolName
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
// entry in byTicket and one in byInstance, and is counted in inPool and all.
type waiters struct {
	byTicket   map[fencing.Ticket][]*waiter
	byInstance map[fencing.InstanceHash][]*waiter
	inPool     map[fencing.PoolName]int
	all        int
}

func newWaiters() waiters {
	return waiters{byTicket: map[fencing.Ticket][]*waiter{},
		byInstance: map[fencing.InstanceHash][]*waiter{}, inPool: map[fencing.PoolName]int{}}
}

func (ws *waiters) len() int { return ws.all }

func (ws *waiters) add(w *waiter) {
	ws.byTicket[w.ticket] = append(ws.byTicket[w.ticket], w)
	ws.byInstance[w.instance] = append(ws.byInstance[w.instance], w)
	ws.inPool[w.pool]++
	ws.all++
}

// drop forgets a waiter that was added.
func (ws *waiters) drop(w *waiter) {
	dropFrom(ws.byTicket, w.ticket, w)
	dropFrom(ws.byInstance, w.instance, w)
	if ws.inPool[w.pool]--; ws.inPool[w.pool] == 0 {
		delete(ws.inPool, w.pool)
	}
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
		for _, w := range same {
			w.signal()
		}
	}
}

// wakeAfter wakes those in the queues whom a write concerns: whose turn it is in
// a pool that it touched, and whoever asks for the same instance.
func (t *term) wakeAfter(w *fencing.Write) {
	if t.waiting.len() == 0 {
		return
	}
	for i := range w.Batch.Records {
		rec := &w.Batch.Records[i]
		t.wakeTurn(rec.Pool)
		for _, same := range t.waiting.byInstance[rec.Instance] {
			same.signal()
		}
	}
	for _, p := range w.Batch.Pools {
		t.wakeTurn(p.Name)
	}
	if w.Batch.Meta != nil {
		for name := range t.waiting.inPool {
			t.wakeTurn(name)
		}
	}
}

// wakeTurn wakes the requests of the instance whose turn it is in a pool.
func (t *term) wakeTurn(pool fencing.PoolName) {
	for _, w := range t.waiting.byTicket[t.core.Turn(pool)] {
		w.signal()
	}
}
