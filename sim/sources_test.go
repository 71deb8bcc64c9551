package sim

import "github.com/cirrus-id/cirrus/sim/kernel"

// Bytes are choices that a fuzzer makes: one string of bytes feeds all
// streams, in the order in which they ask. When it is used up, all further
// choices are the tamest.
type Bytes []byte

// Choices returns the choices of the bytes, from the start.
func (b Bytes) Choices() kernel.Choices { return &byteChoices{rest: b} }

type byteChoices struct{ rest []byte }

// Stream implements Choices.
func (b *byteChoices) Stream(string, int) kernel.Stream { return b }

// Below implements Stream.
func (b *byteChoices) Below(n uint64) uint64 {
	v := uint64(0)
	for most := n - 1; most > 0 && len(b.rest) > 0; most >>= 8 {
		v = v<<8 | uint64(b.rest[0])
		b.rest = b.rest[1:]
	}
	return v % n
}

// Mixed are choices of which one source makes some, and another the rest.
type Mixed struct {
	// Chosen says of a purpose whether First makes its choices.
	Chosen      func(purpose string) bool
	First, Rest kernel.Choices
}

// Stream implements Choices.
func (m Mixed) Stream(purpose string, entity int) kernel.Stream {
	if m.Chosen(purpose) {
		return m.First.Stream(purpose, entity)
	}
	return m.Rest.Stream(purpose, entity)
}

// Enumerator makes all choices, one run after the other, in scopes that are
// small enough for that: the first Depth choices, out of at most Width values
// each that are spread evenly from the tamest to the wildest. Beyond, it makes
// the tamest ones.
//
//	for e := (&Enumerator{Depth: 8, Width: 3}); e.More(); {
//		Run(Config{Choices: e.Choices()})
//	}
type Enumerator struct {
	Depth, Width int

	path    []int // the choices of this run
	sizes   []int // out of how many each was made
	used    int
	started bool
}

// More goes on to the next run, and reports whether there is one.
func (e *Enumerator) More() bool {
	if !e.started {
		e.started = true
		return true
	}
	e.path, e.sizes = e.path[:e.used], e.sizes[:e.used]
	for i := len(e.path) - 1; i >= 0; i-- {
		if e.path[i]++; e.path[i] < e.sizes[i] {
			e.path, e.sizes = e.path[:i+1], e.sizes[:i+1]
			return true
		}
	}
	return false
}

// Choices returns the choices of this run, from the start.
func (e *Enumerator) Choices() kernel.Choices {
	e.used = 0
	return enumerated{e}
}

type enumerated struct{ *Enumerator }

// Stream implements Choices.
func (e enumerated) Stream(string, int) kernel.Stream { return e }

// Below implements Stream.
func (e enumerated) Below(n uint64) uint64 {
	size := int(min(n, uint64(max(e.Width, 1))))
	if size < 2 || e.used >= e.Depth {
		return 0
	}
	if e.used == len(e.path) {
		e.path, e.sizes = append(e.path, 0), append(e.sizes, size)
	}
	choice := min(e.path[e.used], size-1)
	e.used++
	return uint64(choice) * (n - 1) / uint64(size-1)
}
