package snowflake

import "time"

// position is a place in the order in which one session mints:
// (timestamp − origin) << SequenceBits | sequence. It has at most 62 bits, since
// the node ID takes at least one of an ID's 63.
type position = uint64

// sealed is a bit of the next position that Stop sets. It makes the position
// higher than every end, and leaves its other bits readable.
const sealed position = 1 << 63

// instant is a point of the generator's time, in ns since the layout's origin. At
// most 292 years of it come from server time and 292 from the steady clock, which
// together fit into 64 bits.
type instant = uint64

const nsPerMs = uint64(time.Millisecond)

// allowance is what a lease allows as of the last reply, and the generator's time.
// It is immutable; each reply makes a new one. Within a lease, deadline and
// ceiling only rise (C7), so an older allowance allows no more than a newer one.
type allowance struct {
	// Fixed for the lease.
	node     uint64 // node ID, shifted to its bits in an ID
	seqBits  uint8
	nodeBits uint8
	lead     uint64 // ms: max lead
	layoutMs uint64 // last timestamp of the layout, ms since the origin

	// Moved by replies.
	deadline  time.Duration // steady: nothing is minted from here on
	ceilingMs uint64        // ms since the origin, inclusive
	lastMs    uint64        // min(ceilingMs, layoutMs)

	// At steady time since + d the generator's time is
	// max(time + d/2, target + d). time ≥ target; they are equal unless time was
	// above the upper bound of true server time.
	since  time.Duration // steady
	time   instant
	target instant
}

// timeAt returns the generator's time at steady time now (G1). It rises from time
// at half speed until target, which rises at full speed, has reached it. Both
// rise, so the generator's time never goes back.
func (a *allowance) timeAt(now time.Duration) instant {
	// A reading from before since counts as one taken at since.
	d := uint64(max(now-a.since, 0))
	return max(a.time+d/2, a.target+d)
}

// sampled returns the allowance with its time corrected by a reply, which showed
// that true server time is in [lo, hi] at steady time now (G1).
func (a allowance) sampled(now time.Duration, lo, hi instant) allowance {
	a.time = max(a.timeAt(now), lo) // jump up, never back
	a.target = min(a.time, hi)      // above hi: half speed until hi has reached time
	a.since = now
	return a
}

// room returns the positions [first, end) that may be minted at steady time now,
// given the next unused position (G2, G3). If first ≥ end there are none, and
// refusal returns why.
func (a *allowance) room(now time.Duration, next position) (first, end position) {
	if now >= a.deadline {
		return 0, 0 // C4, G2
	}
	// G2: at or above the generator's time. Any time above lastMs means that
	// there is no room, so min keeps the shift below from overflowing.
	ms := min(a.timeAt(now)/nsPerMs, a.lastMs+1)
	first = max(next, ms<<(a.seqBits&63))
	// G2: at or below the ceiling and the layout's last timestamp; G3: at most
	// max lead ahead of the generator's time.
	end = (min(ms+a.lead, a.lastMs) + 1) << (a.seqBits & 63)
	return first, end
}

// refusal returns why room has no positions: an error (G2), or how long to wait
// (G3), a second at most. If there is room it returns 0 and nil.
func (a *allowance) refusal(now time.Duration, next position) (wait time.Duration, err error) {
	at := a.timeAt(now)
	ms := max(next>>a.seqBits, at/nsPerMs)
	first, end := a.room(now, next)
	switch {
	case next&sealed != 0:
		return 0, errStopped
	case now >= a.deadline:
		return 0, errDeadline
	case ms > a.layoutMs:
		return 0, ErrLayoutExhausted
	case ms > a.ceilingMs:
		return 0, ErrCeiling
	case first < end:
		return 0, nil
	}
	// G3: until the generator's time is within max lead of the next ID.
	behind := min(ms-a.lead-at/nsPerMs, 1000)
	return time.Duration(behind*nsPerMs - at%nsPerMs), nil
}

// id returns the ID at a position.
func (a *allowance) id(p position) ID {
	seq := p & (1<<(a.seqBits&63) - 1)
	return ID((p-seq)<<(a.nodeBits&63) | a.node | seq)
}
