package fencing

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cirrus-id/cirrus/snowflake"
)

// recordKey is the key of a record in a store.
type recordKey struct {
	pool PoolName
	node snowflake.NodeID
}

// memStore is a store in memory: it holds what was committed, and nothing else.
// A copy of the value's maps is a copy of the store.
type memStore struct {
	meta    Meta
	pools   map[PoolName]Pool
	records map[recordKey]Record
}

func newMemStore(b Batch) *memStore {
	m := &memStore{pools: map[PoolName]Pool{}, records: map[recordKey]Record{}}
	m.commit(b)
	return m
}

// commit makes a batch durable. It panics if the batch breaks the store's contract.
func (m *memStore) commit(b Batch) {
	pools, records := map[PoolName]bool{}, map[recordKey]bool{}
	for _, p := range b.Pools {
		if pools[p.Name] {
			panic(fmt.Sprintf("pool %q is in one batch twice", p.Name))
		}
		pools[p.Name] = true
		m.pools[p.Name] = p
	}
	for _, rec := range b.Records {
		key := recordKey{rec.Pool, rec.Node}
		if records[key] {
			panic(fmt.Sprintf("the record of %v is in one batch twice", key))
		}
		records[key] = true
		m.records[key] = rec
	}
	if b.Meta != nil {
		m.meta = *b.Meta
	}
}

// load returns everything, ordered by key.
func (m *memStore) load() Snapshot {
	return Snapshot{
		Meta: m.meta,
		Pools: slices.SortedFunc(maps.Values(m.pools), func(a, b Pool) int {
			return cmp.Compare(a.Name, b.Name)
		}),
		Records: slices.SortedFunc(maps.Values(m.records), func(a, b Record) int {
			return cmp.Or(cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Node, b.Node))
		}),
	}
}

func (m *memStore) copied() *memStore {
	return &memStore{meta: m.meta, pools: maps.Clone(m.pools), records: maps.Clone(m.records)}
}

// errTest is the failure of a test's store.
var errTest = errors.New("disk full")
