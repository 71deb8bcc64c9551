package main

import "time"

// maxLook is the longest that nobody looks at the steady clock. Timers stand
// still while a machine is suspended and the clock does not, so this is how
// late a child is ended after waking up.
const maxLook = 100 * time.Millisecond

// guard decides when a child has to go. It is told what steady time it is and
// how long the lease is good for, and answers what to do; it never acts itself.
type guard struct {
	// grace is how long before the deadline the child is asked to end; from 0 up.
	grace time.Duration

	// deadline ≤ the lease's, as of the last look that found it valid.
	deadline time.Duration
	// killAt is when the child that was asked to end will be killed.
	killAt time.Duration
	// asked: SIGTERM was ordered; killed: SIGKILL was, and is until the child has
	// ended.
	asked, killed bool
}

// order is what is to be done to the child.
type order uint8

const (
	orderNone order = iota
	orderAsk        // SIGTERM: the lease won't last
	orderKill       // SIGKILL: it doesn't
)

// look answers what to do at steady time at. remaining is how long the lease is
// good for, 0 if it is not; it was read after at, so that their sum is never
// above the lease's deadline.
//
// The child that was asked to end is not kept by a heartbeat that is answered
// after all, nor does that delay its end.
//
// Nor is the child kept that ran past the deadline while nobody looked, though
// the lease may have been revived since.
//
// A kill is ordered at each look from the first on: one may not be permitted, or
// reach a part of the group only.
func (g *guard) look(at, remaining time.Duration) order {
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

// wait is how long, from steady time at, look has nothing new to say unless news
// comes first; at most maxLook.
func (g *guard) wait(at time.Duration) time.Duration {
	switch {
	case g.killed:
		return maxLook
	case g.asked:
		return min(g.killAt-at, maxLook)
	}
	return min(g.deadline-g.grace-at, maxLook)
}
