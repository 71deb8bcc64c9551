package service

import "github.com/cirrus-id/cirrus/fencing"

// waiter is a request that stands in a queue for a free node ID.
type waiter struct {
	pool     fencing.PoolName
	instance fencing.InstanceHash
	wake     chan struct{} // holds one: a second wake-up adds nothing
}

func (w *waiter) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// waiters are a term's, found by whatever may wake them: a write must not cost
// its records times those who wait. Each has one entry in byTicket, one in
// byInstance, and is counted in inPool.
type waiters struct {
	byTicket   map[fencing.Ticket]*waiter
	byInstance map[fencing.InstanceHash][]*waiter
	inPool     map[fencing.PoolName]int
}

func newWaiters() waiters {
	return waiters{map[fencing.Ticket]*waiter{}, map[fencing.InstanceHash][]*waiter{}, map[fencing.PoolName]int{}}
}

func (ws *waiters) len() int { return len(ws.byTicket) }

func (ws *waiters) add(ticket fencing.Ticket, w *waiter) {
	ws.byTicket[ticket] = w
	ws.byInstance[w.instance] = append(ws.byInstance[w.instance], w)
	ws.inPool[w.pool]++
}

// drop forgets the waiter with a ticket, if there is one.
func (ws *waiters) drop(ticket fencing.Ticket) {
	w := ws.byTicket[ticket]
	if w == nil {
		return
	}
	delete(ws.byTicket, ticket)
	same := ws.byInstance[w.instance]
	for i, other := range same {
		if other == w {
			same[i] = same[len(same)-1]
			same = same[:len(same)-1]
			break
		}
	}
	if ws.byInstance[w.instance] = same; len(same) == 0 {
		delete(ws.byInstance, w.instance)
	}
	if ws.inPool[w.pool]--; ws.inPool[w.pool] == 0 {
		delete(ws.inPool, w.pool)
	}
}

// signalAll wakes everybody.
func (ws *waiters) signalAll() {
	for _, w := range ws.byTicket {
		w.signal()
	}
}
