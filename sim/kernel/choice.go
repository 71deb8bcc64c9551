package kernel

import (
	"math/bits"
	"time"
)

// Choices is where everything that is left to chance comes from. Each purpose
// and entity has a stream of its own, so that a fault that is switched off
// shifts none of the others' choices.
type Choices interface {
	// Stream returns the stream of a purpose ("net.loss") and an entity (the
	// third machine). Asking again goes on with the same stream.
	Stream(purpose string, entity int) Stream
}

// Stream is a sequence of choices. Not safe for concurrent use.
type Stream interface {
	// Below returns one of 0 … n−1; n is at least 1. 0 should be the tamest
	// choice: what shrinks, shrinks towards it.
	Below(n uint64) uint64
}

// Seed is the usual source: all streams come from one number, by arithmetic of
// our own, so that a seed means the same with every release of Go.
type Seed uint64

// seeded keeps the streams of a seed.
type seeded struct {
	seed    uint64
	streams map[streamKey]*seedStream
}

type streamKey struct {
	purpose string
	entity  int
}

// Choices returns the choices of a seed, from the start.
func (s Seed) Choices() Choices {
	return &seeded{seed: uint64(s), streams: map[streamKey]*seedStream{}}
}

// Stream implements Choices.
func (s *seeded) Stream(purpose string, entity int) Stream {
	key := streamKey{purpose, entity}
	stream := s.streams[key]
	if stream == nil {
		state := Mix(s.seed + Mix(uint64(entity)+1))
		for _, c := range []byte(purpose) {
			state = Mix(state ^ uint64(c))
		}
		stream = &seedStream{state}
		s.streams[key] = stream
	}
	return stream
}

type seedStream struct{ state uint64 }

// Below implements Stream: the high word of a 64 × 64 bit product.
func (s *seedStream) Below(n uint64) uint64 {
	s.state += 0x9e3779b97f4a7c15
	high, _ := bits.Mul64(Mix(s.state), n)
	return high
}

// Mix is the finalizer of SplitMix64: every bit of x changes half of the
// result's.
func Mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Dice draws from a stream.
type Dice struct{ Stream }

// NewDice returns dice that are thrown by a stream.
func NewDice(s Stream) Dice { return Dice{s} }

// Duration returns one of lo … hi, in whole µs.
func (d Dice) Duration(lo, hi time.Duration) time.Duration {
	if hi <= lo {
		return lo
	}
	return lo + time.Duration(d.Below(uint64((hi-lo)/time.Microsecond)+1))*time.Microsecond
}

// Chance reports true in n of a thousand cases. It always draws, so that another n
// shifts nothing.
func (d Dice) Chance(n uint64) bool { return d.Below(1000) >= 1000-n }

// Tail returns a duration around typical, with a heavy tail that ends at most.
func (d Dice) Tail(typical, most time.Duration) time.Duration {
	t := d.Duration(typical/4, typical)
	for t < most && d.Below(3) == 2 {
		t *= 3
	}
	return min(t, most)
}
