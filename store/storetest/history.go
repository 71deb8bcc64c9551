package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

// History returns the batches that a service commits after its store was created with Meta
// and the default Pool: grants, releases, revokes, marks with leases noted as ended, pools
// created, updated and opened, and sometimes a recovery of the whole store. No key gets the
// same value twice.
func History(seed uint64, batches int) []fencing.Batch {
	h := &history{
		rng:     rand.New(rand.NewPCG(seed, 0)),
		meta:    Meta(),
		pools:   []fencing.Pool{Pool(fencing.DefaultPool)},
		records: map[string]fencing.Record{},
	}
	h.epoch = h.meta.FirstEpoch
	out := make([]fencing.Batch, batches)
	for i := range out {
		out[i] = h.next()
	}
	return out
}

type history struct {
	rng     *rand.Rand
	meta    fencing.Meta
	epoch   fencing.Epoch
	pools   []fencing.Pool
	records map[string]fencing.Record
}

func (h *history) next() fencing.Batch {
	h.meta.Mark += snowflake.Millis(1 + h.rng.IntN(5000))
	switch n := h.rng.IntN(100); {
	case n < 45:
		return h.grant()
	case n < 60:
		return h.end(fencing.Ended)
	case n < 67:
		return h.end(fencing.Revoked)
	case n < 87:
		return h.mark()
	case n < 92:
		return h.createPool()
	case n < 98:
		return h.updatePool()
	}
	return h.recover()
}

func (h *history) grant() fencing.Batch {
	h.epoch++
	p := h.pools[h.rng.IntN(len(h.pools))]
	r := Record(p.Name, snowflake.NodeID(h.rng.IntN(40)), h.epoch)
	r.App = fencing.AppID(fmt.Sprintf("app-%d", h.rng.IntN(50)))
	r.Floor = h.meta.Mark
	r.Ceiling = r.Floor.Add(r.TTL)
	return fencing.Batch{Records: []fencing.Record{h.set(r)}}
}

func (h *history) end(as fencing.Status) fencing.Batch {
	live := h.live()
	if len(live) == 0 {
		return h.grant()
	}
	r := live[h.rng.IntN(len(live))]
	r.Status = as
	return fencing.Batch{Records: []fencing.Record{h.set(r)}}
}

// mark also notes some leases as ended (S5).
func (h *history) mark() fencing.Batch {
	meta := h.meta
	b := fencing.Batch{Meta: &meta}
	live := h.live()
	for _, r := range live[:min(len(live), h.rng.IntN(6))] {
		r.Status = fencing.Ended
		r.Ceiling++
		b.Records = append(b.Records, h.set(r))
	}
	return b
}

func (h *history) createPool() fencing.Batch {
	p := Pool(fencing.PoolName(fmt.Sprintf("pool-%d", len(h.pools))))
	p.Opened = false
	h.pools = append(h.pools, p)
	return fencing.Batch{Pools: []fencing.Pool{p}}
}

func (h *history) updatePool() fencing.Batch {
	p := &h.pools[h.rng.IntN(len(h.pools))]
	p.Opened = true
	p.Quarantine += time.Millisecond
	return fencing.Batch{Pools: []fencing.Pool{*p}}
}

// recover writes every key of the store in one batch (S7).
func (h *history) recover() fencing.Batch {
	h.epoch += 1 << 20
	h.meta.FirstEpoch = h.epoch
	meta := h.meta
	b := fencing.Batch{Meta: &meta}
	for i := range h.pools {
		h.pools[i].Opened = false
		h.pools[i].Quarantine += time.Millisecond // a value of its own
	}
	b.Pools = slices.Clone(h.pools)
	for _, r := range h.all() {
		r.Status = fencing.Ended
		r.Epoch = h.epoch
		r.Ceiling = h.meta.Mark.Add(fencing.DefaultTTL)
		b.Records = append(b.Records, h.set(r))
	}
	return b
}

func (h *history) set(r fencing.Record) fencing.Record {
	h.records[fmt.Sprintf("%s/%04d", r.Pool, r.Node)] = r
	return r
}

// all returns the records in a fixed order, so that a seed always gives the same history.
func (h *history) all() []fencing.Record {
	var out []fencing.Record
	for _, key := range sortedKeys(h.records) {
		out = append(out, h.records[key])
	}
	return out
}

func (h *history) live() []fencing.Record {
	return slices.DeleteFunc(h.all(),
		func(r fencing.Record) bool { return r.Status != fencing.Live })
}

func sortedKeys(m map[string]fencing.Record) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
