package storetest

import (
	"fmt"
	"slices"
	"sync"

	"github.com/cirrus-id/cirrus/fencing"
)

// Journal records which batches a store was to commit and which it acknowledged, and checks
// what it holds after a crash: nothing acknowledged is lost, nothing is there that was not
// committed, and each batch is there whole or not at all. No key may get the same value
// from two batches, or Check could not tell them apart.
type Journal struct {
	mu      sync.Mutex
	batches []map[string]any // by key: fencing.Meta, Pool or Record
	acked   []bool
}

// Moment is the state of a journal at some time.
type Moment struct {
	started int
	acked   []bool
}

// NewJournal returns a journal in which the store was created with the meta and the pools.
func NewJournal(meta fencing.Meta, pools ...fencing.Pool) *Journal {
	j := &Journal{}
	j.Acknowledge(j.Begin(fencing.Batch{Meta: &meta, Pools: pools}))
	return j
}

// Begin records that the batch is about to be committed, and returns its number.
func (j *Journal) Begin(b fencing.Batch) int {
	values := valuesOf(b.Meta, b.Pools, b.Records)
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, earlier := range j.batches {
		for key, v := range values {
			if earlier[key] == v {
				panic(fmt.Sprintf("%s gets the value %+v twice", key, v))
			}
		}
	}
	j.batches = append(j.batches, values)
	j.acked = append(j.acked, false)
	return len(j.batches) - 1
}

// Acknowledge records that the commit of that number returned nil.
func (j *Journal) Acknowledge(n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.acked[n] = true
}

// Now returns the present state.
func (j *Journal) Now() Moment {
	j.mu.Lock()
	defer j.mu.Unlock()
	return Moment{started: len(j.batches), acked: slices.Clone(j.acked)}
}

// Check returns what is wrong with a snapshot of a store that crashed after the first moment
// and before the second.
func (j *Journal) Check(snap fencing.Snapshot, after, before Moment) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	written, err := j.origins(valuesOf(&snap.Meta, snap.Pools, snap.Records), before)
	if err != nil {
		return err
	}
	for n, batch := range j.batches[:before.started] {
		acked := n < after.started && after.acked[n]
		kept := 0
		for key := range batch {
			if w, ok := written[key]; ok && w >= n {
				kept++
			} else if acked {
				return fmt.Errorf("batch %d was acknowledged, but its %s is lost", n, key)
			}
		}
		if kept != 0 && kept != len(batch) {
			return fmt.Errorf("batch %d is there in part: %d of %d values", n, kept, len(batch))
		}
	}
	return nil
}

// origins returns for each key the number of the batch that wrote its value. All earlier
// batches wrote the key before that, since a key has one write in flight at most (S1).
func (j *Journal) origins(values map[string]any, before Moment) (map[string]int, error) {
	written := make(map[string]int, len(values))
	for key, v := range values {
		n := slices.IndexFunc(j.batches[:before.started],
			func(b map[string]any) bool { return b[key] == v })
		if n < 0 {
			return nil, fmt.Errorf("%s is %+v, which no batch wrote", key, v)
		}
		written[key] = n
	}
	return written, nil
}

func valuesOf(meta *fencing.Meta, pools []fencing.Pool, records []fencing.Record) map[string]any {
	values := make(map[string]any, 1+len(pools)+len(records))
	if meta != nil {
		values["meta"] = *meta
	}
	for _, p := range pools {
		values["pool "+string(p.Name)] = p
	}
	for _, r := range records {
		values[fmt.Sprintf("record %s/%d", r.Pool, r.Node)] = r
	}
	return values
}
