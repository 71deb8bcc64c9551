package fencing

import "time"

const (
	// MaxAddresses is the most addresses of the service that a holder counts.
	MaxAddresses = 64
	// minTry is the shortest timeout of a try, however many addresses a round has.
	minTry = 100 * time.Millisecond
)

// round counts the addresses of the service that a holder has tried in turn. Which
// addresses they are is known to the shell alone.
//
// If there are several, the holder goes on to the next one as soon as one fails,
// and backs off only after all of them have failed (C3). An address that is cut
// off does not answer at all, so the timeouts of a round add up to no more than
// the timeout for a single address. They get longer with each round that fails, up
// to that timeout each, because a service may be slow at all its addresses.
type round struct {
	// addresses is how many there are; 0 counts as 1.
	addresses uint16
	// tried is how many of them failed in this round: below addresses.
	tried uint16
	// works: there are several addresses, and the one in use has answered since the
	// holder went on to it.
	works bool
	// after is the longest wait that an address of this round has asked for.
	after time.Duration
}

// Addresses sets at how many addresses the service can be reached: 1 until it is
// called, and at most MaxAddresses. A call in flight is not touched. The shell goes
// on to the next address after each answer that says Elsewhere, and after each Tick
// that asks for ActCancel.
func (h *Holder) Addresses(n int) {
	r := &h.round
	r.addresses = uint16(min(max(n, 1), MaxAddresses))
	r.tried = min(r.tried, r.addresses-1)
	r.works = r.works && r.several()
}

func (r *round) several() bool { return r.addresses > 1 }

// answered starts a new round, because the address in use works.
func (r *round) answered() { r.tried, r.after, r.works = 0, 0, r.several() }

// failed counts a try that failed. It reports whether the round has ended, and the
// longest wait that its addresses have asked for. If it has not ended, the next
// address is to be tried at once.
func (r *round) failed(elsewhere bool, after time.Duration) (atLeast time.Duration, ended bool) {
	r.after = max(r.after, after)
	if elsewhere {
		r.works = false
		r.tried++
		if r.tried < r.addresses {
			return 0, false
		}
	}
	after = r.after
	r.tried, r.after = 0, 0
	return after, true
}

// tryTimeout returns the timeout of one try: most with a single address, else its
// share of that.
func (h *Holder) tryTimeout(most time.Duration) time.Duration {
	if !h.round.several() {
		return most
	}
	return min(most, max(minTry, most/time.Duration(h.round.addresses)<<h.failures))
}

// wait returns how long an Acquire may queue at the address in use. A server that
// queues the request and one that is cut off are both silent, so with several
// addresses the holder queues only at one that has answered before.
func (h *Holder) wait() time.Duration {
	if h.round.several() && !h.round.works {
		return 0
	}
	return h.cfg.Wait
}
