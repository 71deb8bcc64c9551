package pebble

import (
	"context"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store"
)

var _ store.Store = (*Store)(nil)

// Store is an open store. Its methods may be called from many goroutines.
type Store struct {
	db      *pebble.DB
	lock    *pebble.Lock
	failure *failure
	disk    *failStopFS
	// high is nil while the store is being created.
	high  *highWater
	space *space
	// moved: OpenMoved has opened the store, which has a note that it was moved.
	moved bool

	// mu keeps Close from closing the database while it is used. All others hold it
	// for reading, so commits overlap.
	mu     sync.RWMutex
	closed bool
}

// Commit implements store.Store. It can't be cancelled once it has begun (S9).
// If the write fails, the process ends: see Options.Fatal. In a store that
// OpenMoved has opened, the same write deletes the note that it was moved, so a
// crash leaves it moved or recovered.
func (s *Store) Commit(ctx context.Context, b fencing.Batch) error {
	if s.moved {
		return s.write(ctx, b, deleteNote)
	}
	return s.write(ctx, b, keepNote)
}

// write is commit for an open store, and updates the high-water file.
func (s *Store) write(ctx context.Context, b fencing.Batch, note noteChange) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("nothing was written: %w", err)
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.mu.RUnlock()
	if err := s.commit(b, note); err != nil || b.Meta == nil {
		return err
	}
	return s.high.raise(waterOf(b.Meta)) // S13: it is durable in the database by now
}

// Confirm implements store.Store: the process that holds the directory's lock may
// answer.
func (s *Store) Confirm(context.Context) error {
	if err := s.enter(); err != nil {
		return err
	}
	s.mu.RUnlock()
	return nil
}

// Close waits for the calls in progress and closes the store; a second Close does
// nothing. If the store has failed, Close releases what it can, and returns why the
// store failed.
func (s *Store) Close() error {
	if err := s.failure.err(); err != nil {
		s.release()
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.high.close()
	err := s.db.Close()
	if lockErr := s.lock.Close(); err == nil {
		err = lockErr
	}
	if err != nil {
		return fmt.Errorf(
			"closing the store in %s failed, nothing that was acknowledged is lost: %w",
			s.failure.dir, err)
	}
	return nil
}

// release closes a store that failed, for a process that goes on without it. If a
// goroutine is blocked in it, release does nothing: that goroutine holds mu or Pebble's
// locks until the process ends.
func (s *Store) release() {
	if s.failure.inside.Load() > 0 || !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	// What is durable is on the disk. How the rest ends doesn't matter.
	defer func() { _ = recover() }()
	_ = s.db.Close()
	_ = s.lock.Close()
}

// enter locks mu for reading. It errs, without the lock, if the store has failed or is
// closed.
func (s *Store) enter() error {
	s.mu.RLock()
	err := s.failure.err()
	if err == nil && s.closed {
		err = fmt.Errorf("%w: open it again", store.ErrClosed)
	}
	if err != nil {
		s.mu.RUnlock()
	}
	return err
}

// commit writes a batch, and changes the note in the same write.
func (s *Store) commit(b fencing.Batch, note noteChange) error {
	batch := s.db.NewBatchWithSize(sizeOf(b))
	err := store.Encode(b, func(key, value []byte) error { return batch.Set(key, value, nil) })
	if err == nil {
		err = note(batch)
	}
	if err == nil && !batch.Empty() {
		err = s.apply(batch)
	}
	if err != nil {
		return err // Pebble may still use the batch, so it must not be reused
	}
	return batch.Close()
}

// apply returns when the batch is durable (S1). If it may not be, apply ends the process
// and never returns (S9).
func (s *Store) apply(batch *pebble.Batch) error {
	defer s.panicked()
	if err := s.db.Apply(batch, pebble.Sync); err != nil {
		return err
	}
	return s.failure.err()
}

// panicked, deferred, ends the process after a panic of Pebble's, even if the caller
// would recover: the database may be locked or half-written (S9).
func (s *Store) panicked() {
	v := recover()
	if v == nil {
		return
	}
	if s.failure.err() != nil { // Options.Fatal has panicked
		panic(v)
	}
	err, ok := v.(error)
	if !ok {
		err = fmt.Errorf("pebble panicked: %v", v)
	}
	s.failure.now(err)
}

// sizeOf estimates the batch's size in bytes, so that a batch of a million records is
// not copied twenty times while it grows.
func sizeOf(b fencing.Batch) int {
	n := 64 + 160*len(b.Pools)
	for i := range b.Records {
		n += 100 + len(b.Records[i].Pool) + len(b.Records[i].App)
	}
	return n
}
