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
	// high is nil while the store is being made.
	high  *highWater
	space *space
	// moved: the store has a note that it was moved away, as OpenMoved wants it.
	moved bool

	// mu keeps Close from pulling the database from under the others, who
	// hold it for reading: it is no queue, and commits overlap.
	mu     sync.RWMutex
	closed bool
}

// Commit implements store.Store. It can't be cancelled once it has begun (S9).
// If the write fails, the process ends: see Options.Fatal.
func (s *Store) Commit(ctx context.Context, b fencing.Batch) error {
	return s.write(ctx, b, keepNote)
}

// write commits a batch, and what becomes of the note with it.
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

// Confirm implements store.Store: whoever holds the directory's lock may
// answer.
func (s *Store) Confirm(context.Context) error {
	if err := s.enter(); err != nil {
		return err
	}
	s.mu.RUnlock()
	return nil
}

// Close waits for what is under way and closes the store; a second Close does
// nothing. Of a store that failed it gives back what it can, and says why it
// failed.
func (s *Store) Close() error {
	if err := s.failure.err(); err != nil {
		s.giveBack()
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
		return fmt.Errorf("closing the store in %s failed, nothing that was acknowledged is lost: %w", s.failure.dir, err)
	}
	return nil
}

// giveBack ends a store that failed for a process that goes on without it.
// Where somebody stands still in it, it is left as it is, for the process to
// end: they never let go of mu, or of Pebble's locks.
func (s *Store) giveBack() {
	if s.failure.inside.Load() > 0 || !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	// What is durable is on the disk, and how the rest ends is nobody's concern.
	defer func() { _ = recover() }()
	_ = s.db.Close()
	_ = s.lock.Close()
}

// enter holds mu for reading if the store can be used.
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

// commit writes a batch, and what becomes of the note with it.
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
		return err // Pebble may still hold the batch: it is not to be reused
	}
	return batch.Close()
}

// apply returns when the batch is durable (S1), and not at all when it may not
// be: that ends the process (S9).
func (s *Store) apply(batch *pebble.Batch) error {
	defer s.panicked()
	if err := s.db.Apply(batch, pebble.Sync); err != nil {
		return err
	}
	return s.failure.err()
}

// panicked makes a panic of Pebble's the end of the process, whatever the
// caller does with panics: the database may be locked or half-written (S9).
func (s *Store) panicked() {
	v := recover()
	if v == nil {
		return
	}
	if s.failure.err() != nil { // it comes from Options.Fatal
		panic(v)
	}
	err, ok := v.(error)
	if !ok {
		err = fmt.Errorf("pebble panicked: %v", v)
	}
	s.failure.now(err)
}

// sizeOf is about how many bytes the batch takes, so that one with a million
// records is not copied twenty times while it grows.
func sizeOf(b fencing.Batch) int {
	n := 64 + 160*len(b.Pools)
	for i := range b.Records {
		n += 100 + len(b.Records[i].Pool) + len(b.Records[i].App)
	}
	return n
}
