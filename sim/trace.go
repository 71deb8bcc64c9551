package sim

import (
	"github.com/cirrus-id/cirrus/sim/event"
	"github.com/cirrus-id/cirrus/sim/kernel"
)

// recorder hashes what happens, and keeps it where a trace is wanted.
type recorder struct {
	hash  uint64
	keep  bool
	trace []event.Record
}

// add mixes numbers into the hash.
func (r *recorder) add(n uint64) { r.hash = kernel.Mix(r.hash ^ n) }

func (r *recorder) addString(s string) {
	h := uint64(len(s))
	for i := range len(s) {
		h = h*0x100000001b3 ^ uint64(s[i])
	}
	r.add(h)
}

// note takes a record.
func (r *recorder) note(rec event.Record) {
	r.addString(string(rec.Kind))
	r.addString(rec.Machine)
	r.addString(rec.Call)
	r.addString(rec.Text)
	r.add(uint64(rec.At))
	r.add(uint64(rec.Message)<<32 ^ uint64(rec.Node) ^ uint64(rec.Count)<<16)
	r.add(rec.Epoch)
	r.add(uint64(rec.Floor))
	r.add(uint64(rec.Ceiling))
	if r.keep {
		r.trace = append(r.trace, rec)
	}
}
