package supervise

import "time"

// maxWait is the longest time between two readings of the steady clock. Timers
// stand still while a machine is suspended and the clock does not, so maxWait is
// how late a child is ended after the machine wakes up.
const maxWait = 100 * time.Millisecond

// guard decides when a child has to end. It is told the steady time and how long
// the lease is good for, and answers what to do; it does nothing itself.
type guard struct {
	// grace is how long before the deadline the child is asked to end; from 0 up.
	grace time.Duration

	// deadline is at most the lease's, as of the last time that the lease was good.
	deadline time.Duration
	// killAt is when a child that was asked to end is killed.
	killAt time.Duration
	// asked: SIGTERM was ordered. killed: SIGKILL was ordered, and is ordered again
	// until the child has ended.
	asked, killed bool
}

// order is what is to be done to the child.
type order uint8

const (
	orderNone order = iota
	orderAsk        // SIGTERM: the lease won't last
	orderKill       // SIGKILL: the lease has ended
)

// decide returns what to do at the steady time at. remaining is how long the lease
// is good for, 0 if it is not. It was read after at, so at + remaining is never
// above the lease's deadline.
//
// A child that was asked to end is killed at killAt, even if a heartbeat is
// answered in between.
//
// A child that ran past the deadline, because nothing called decide in time, is
// killed, even if the lease has been revived since.
//
// A kill is ordered by each call after the first one, too: a kill can be refused,
// or reach only a part of the group.
func (g *guard) decide(at, remaining time.Duration) order {
	ranPast := g.deadline > 0 && at >= g.deadline
	if remaining > 0 {
		g.deadline = max(g.deadline, at+remaining)
	}
	switch {
	case g.killed:
		return orderKill
	case ranPast || at >= g.deadline || g.asked && at >= g.killAt: // C4
		g.asked, g.killed = true, true
		return orderKill
	case !g.asked && (remaining == 0 || remaining <= g.grace): // C5; about to be C4
		g.asked = true
		g.killAt = min(at+g.grace, g.deadline)
		return orderAsk
	}
	return orderNone
}

// wait returns how long, from the steady time at, decide will answer the same
// unless the lease is lost; at most maxWait.
func (g *guard) wait(at time.Duration) time.Duration {
	switch {
	case g.killed:
		return maxWait
	case g.asked:
		return min(g.killAt-at, maxWait)
	}
	return min(g.deadline-g.grace-at, maxWait)
}
