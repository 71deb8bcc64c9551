package explore

import (
	"github.com/cirrus-id/cirrus/fencing"
)

// disk is what the store holds. A record with Status 0 is not there.
type disk struct {
	meta    fencing.Meta
	pool    fencing.Pool
	records [MaxNodes]fencing.Record
}

// with returns the disk after a commit.
func (d disk) with(b *fencing.Batch) disk {
	if b.Meta != nil {
		d.meta = *b.Meta
	}
	for _, p := range b.Pools {
		d.pool = p
	}
	for _, rec := range b.Records {
		d.records[rec.Node] = rec
	}
	return d
}

// load returns what a server loads at its start.
func (d *disk) load() fencing.Snapshot {
	snap := fencing.Snapshot{Meta: d.meta, Pools: []fencing.Pool{d.pool}}
	for _, rec := range d.records {
		if rec.Status != 0 {
			snap.Records = append(snap.Records, rec)
		}
	}
	return snap
}

// store returns the number of a disk.
func (w *world) store(d disk) uint32 {
	return w.disks.number(d, func() *disk { return &d })
}

// commitOp is a commit of a batch that one of the world's servers has sent.
type commitOp struct {
	disk  uint32
	batch *fencing.Batch
}

// commit makes a batch durable.
func (w *world) commit(s *state, b *fencing.Batch) {
	op := commitOp{s.disk, b}
	after, ok := w.stored[op]
	if !ok {
		after = w.store((*w.disks.at(s.disk)).with(b))
		w.stored[op] = after
	}
	s.disk = after
	for i := range b.Records {
		if rec := &b.Records[i]; rec.Status != fencing.Live {
			w.ended(s, rec)
		}
	}
}
