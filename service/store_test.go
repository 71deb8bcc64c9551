package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

// errDisk is why a test's store fails.
var errDisk = errors.New("no space left on device")

// testStore is a store in memory whose commits a test can hold, fail and see.
// It notes what no caller may do: two writes of one key at once (S1), a mark
// that falls, a context that can end (S9).
type testStore struct {
	mu       sync.Mutex
	meta     fencing.Meta
	pools    map[fencing.PoolName]fencing.Pool
	records  map[nodeKey]fencing.Record
	underway map[string]bool
	faults   []string
	commits  int

	hold func(fencing.Batch) bool
	held []*heldCommit // not taken yet
	all  []*heldCommit
	fail error
}

type nodeKey struct {
	pool fencing.PoolName
	node snowflake.NodeID
}

// heldCommit is a commit that waits for the test's word.
type heldCommit struct {
	batch  fencing.Batch
	answer chan error
}

// let answers the commit, the first time that it is called: nil makes it
// durable.
func (h *heldCommit) let(err error) {
	select {
	case h.answer <- err:
	default:
	}
}

func newTestStore(b fencing.Batch) *testStore {
	s := &testStore{
		pools:    map[fencing.PoolName]fencing.Pool{},
		records:  map[nodeKey]fencing.Record{},
		underway: map[string]bool{},
	}
	s.apply(b)
	return s
}

func (s *testStore) Load(context.Context) (fencing.Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fencing.Snapshot{
		Meta: s.meta,
		Pools: slices.SortedFunc(maps.Values(s.pools),
			func(a, b fencing.Pool) int { return cmp.Compare(a.Name, b.Name) }),
		Records: slices.SortedFunc(maps.Values(s.records), func(a, b fencing.Record) int {
			return cmp.Or(cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.Node, b.Node))
		}),
	}, nil
}

func (s *testStore) Confirm(context.Context) error { return nil }

func (s *testStore) Commit(ctx context.Context, b fencing.Batch) error {
	held, err := s.begin(ctx, b)
	if held != nil {
		err = <-held.answer
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keysOf(b) {
		delete(s.underway, key)
	}
	if errors.Is(err, errPanic) {
		panic(err)
	}
	if err == nil {
		s.commits++
		s.apply(b)
	}
	return err
}

func (s *testStore) begin(ctx context.Context, b fencing.Batch) (*heldCommit, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Done() != nil {
		s.faults = append(s.faults, "S9: a commit's context can end")
	}
	for _, key := range keysOf(b) {
		if s.underway[key] {
			s.faults = append(s.faults, "S1: two writes under way of "+key)
		}
		s.underway[key] = true
	}
	if b.Meta != nil && b.Meta.Mark < s.meta.Mark {
		s.faults = append(s.faults, "S1: the mark falls")
	}
	if s.fail != nil {
		return nil, s.fail
	}
	if s.hold == nil || !s.hold(b) {
		return nil, nil
	}
	h := &heldCommit{batch: b, answer: make(chan error, 1)}
	s.held, s.all = append(s.held, h), append(s.all, h)
	return h, nil
}

func (s *testStore) apply(b fencing.Batch) {
	if b.Meta != nil {
		s.meta = *b.Meta
	}
	for _, p := range b.Pools {
		s.pools[p.Name] = p
	}
	for _, rec := range b.Records {
		s.records[nodeKey{rec.Pool, rec.Node}] = rec
	}
}

func keysOf(b fencing.Batch) (keys []string) {
	if b.Meta != nil {
		keys = append(keys, "meta")
	}
	for _, p := range b.Pools {
		keys = append(keys, "pool "+string(p.Name))
	}
	for _, rec := range b.Records {
		keys = append(keys, fmt.Sprintf("record %s/%d", rec.Pool, rec.Node))
	}
	return keys
}

// holdIf holds the commits that the condition is true of, from now on; nil
// holds none. What is held already stays so.
func (s *testStore) holdIf(condition func(fencing.Batch) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold = condition
}

// errPanic makes a commit panic.
var errPanic = errors.New("the store is broken")

// failWith makes commits fail from now on.
func (s *testStore) failWith(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// letAll holds nothing any more.
func (s *testStore) letAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold = nil
	for _, h := range s.all {
		h.let(nil)
	}
}

// takeHeld hands over what is held.
func (s *testStore) takeHeld() []*heldCommit {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := s.held
	s.held = nil
	return held
}

func (s *testStore) commitsSoFar() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commits
}

func (s *testStore) record(pool fencing.PoolName, node snowflake.NodeID) (fencing.Record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rec, ok := s.records[nodeKey{pool, node}]
	return rec, ok
}

// Conditions for holdIf.

func anyRecord(b fencing.Batch) bool { return len(b.Records) > 0 && b.Meta == nil }

func anyMark(b fencing.Batch) bool { return b.Meta != nil }

func anyPool(b fencing.Batch) bool { return len(b.Pools) > 0 && b.Meta == nil }

func (s *testStore) mark() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(s.meta.Mark)
}
