package fencing

import "time"

const (
	// MaxAddresses is how many addresses of the service a holder goes by; more
	// count as so many.
	MaxAddresses = 64
	// minTry bounds a try from below where a round has many addresses to reach.
	minTry = 100 * time.Millisecond
)

// round is how far a holder is on its way round the addresses of the service.
// It counts them; which they are is for its shell to know.
//
// Where there are several, an address that fails is left for the next one at
// once, and only after all of them have failed does the holder pause (C3). One
// that is cut off says nothing at all, so the tries of a round are short enough
// for all of them together to take no longer than one try of a lone address
// may. With each round that fails they get longer, up to that: a service may be
// slow everywhere.
type round struct {
	// addresses is how many there are; 0 counts as 1.
	addresses uint16
	// tried is how many of them failed in this round: below addresses.
	tried uint16
	// works: of several addresses the one in use has answered since it was gone
	// over to.
	works bool
	// after is the longest that any address in this round told us to wait.
	after time.Duration
}

// Addresses tells the holder at how many addresses it can reach the service: 1
// until it is told, and at most MaxAddresses. A call under way is not touched.
// Its shell goes on to the next one after each answer that says Elsewhere, and
// after each Tick that asks for ActCancel.
func (h *Holder) Addresses(n int) {
	r := &h.round
	r.addresses = uint16(min(max(n, 1), MaxAddresses))
	r.tried = min(r.tried, r.addresses-1)
	r.works = r.works && r.several()
}

func (r *round) several() bool { return r.addresses > 1 }

// answered begins a new round: the address in use works.
func (r *round) answered() { r.tried, r.after, r.works = 0, 0, r.several() }

// failed counts a try that failed. It answers whether the round is over, and if
// so how long its addresses told us to wait at least; else the next one is to be
// tried at once.
func (r *round) failed(elsewhere bool, after time.Duration) (atLeast time.Duration, over bool) {
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

// patience is how long a try may take of which a lone address would get most.
func (h *Holder) patience(most time.Duration) time.Duration {
	if !h.round.several() {
		return most
	}
	return min(most, max(minTry, most/time.Duration(h.round.addresses)<<h.failures))
}

// wait is how long an Acquire may queue at the address in use. One that lets us
// queue and one that is cut off sound alike, so of several addresses none is
// queued at before it has answered.
func (h *Holder) wait() time.Duration {
	if h.round.several() && !h.round.works {
		return 0
	}
	return h.cfg.Wait
}
