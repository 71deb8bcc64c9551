package snowflake

import "time"

// position is a place in the order in which one lease mints:
// (timestamp − origin) << SequenceBits | sequence. It has at most 62 bits, as
// 63 hold the node ID, too.
type position = uint64

// sealed is set in the next position of a lease that was stopped. It puts the
// position above every end, and leaves the rest of it readable.
const sealed position = 1 << 63

// instant is ns since the layout's origin: the unit of the generator's time.
// Up to 292 years come from the server, as many again from the steady clock.
type instant = uint64

const nsPerMs = uint64(time.Millisecond)

// allowance says what a lease allows, and what time it is, as of the last reply.
// It never changes; a reply brings a new one. Within a lease, deadline and
// ceiling only rise (C7), so an older allowance only allows less.
type allowance struct {
	// Fixed for the lease.
	node     uint64 // node ID, in its place in an ID
	seqBits  uint8
	nodeBits uint8
	lead     uint64 // ms: max lead
	layoutMs uint64 // last timestamp of the layout, ms since the origin

	// Moved by replies.
	deadline  time.Duration // steady: nothing is minted from here on
	ceilingMs uint64        // ms since the origin, inclusive
	lastMs    uint64        // min(ceilingMs, layoutMs)

	// The generator's time is max(time + d/2, target + d), d after since.
	// time ≥ target, and equal unless time was above the upper bound.
	since  time.Duration // steady
	time   instant
	target instant
}

// timeAt is the generator's time at steady now (G1): from time on at half
// speed, until target, which goes on at full speed, has caught up. Both rise,
// so it never goes back.
func (a *allowance) timeAt(now time.Duration) instant {
	// A reading older than the allowance counts as one taken with it.
	d := uint64(max(now-a.since, 0))
	return max(a.time+d/2, a.target+d)
}

// sampled returns the allowance with its time corrected by a reply (G1), which
// showed true server time to be in [lo, hi] at steady now.
func (a allowance) sampled(now time.Duration, lo, hi instant) allowance {
	a.time = max(a.timeAt(now), lo) // jump up, never back
	a.target = min(a.time, hi)      // above hi: half speed until hi has caught up
	a.since = now
	return a
}

// room is where the next ID goes (G2, G3): first, if first < end, and up to
// end one after the other. Otherwise there is none, and refusal says why.
func (a *allowance) room(now time.Duration, next position) (first, end position) {
	if now >= a.deadline {
		return 0, 0 // C4, G2
	}
	// G2: at or above the generator's time. Beyond lastMs it does not matter
	// by how much, and what is cut off here can't overflow below.
	ms := min(a.timeAt(now)/nsPerMs, a.lastMs+1)
	first = max(next, ms<<(a.seqBits&63))
	// G2: no higher than ceiling and layout; G3: nor than max lead ahead.
	end = (min(ms+a.lead, a.lastMs) + 1) << (a.seqBits & 63)
	return first, end
}

// refusal says why room has none: an error (G2), or how long to wait (G3), at
// most a second at a time. Where there is room, neither.
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

// id is the ID at a position.
func (a *allowance) id(p position) ID {
	seq := p & (1<<(a.seqBits&63) - 1)
	return ID((p-seq)<<(a.nodeBits&63) | a.node | seq)
}
