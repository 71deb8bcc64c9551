package pebble

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store"
)

// Receive makes a store in the directory that the move brings here, like Create
// with all that a store can hold. Nobody serves it before Finish. The directory
// must be missing or empty, but for what an unfinished migration of the same
// store left behind; that is replaced.
func Receive(dir string, m store.Move, b fencing.Batch, opts Options) error {
	c := contents{b, m.Arriving()}
	return c.create(dir, opts)
}

// Finish makes what Receive wrote for the move a store like any other. It errs
// with store.ErrExists if it is one already, or if another one is here, and with
// store.ErrNoStore if nothing is.
func Finish(dir string, m store.Move, opts Options) error {
	s, n, err := openAny(dir, opts, toServe)
	if err != nil {
		return err
	}
	switch here, arriving := n.Arriving(); {
	case n == "":
		err = errExists(dir)
	case !arriving || here.ID != m.ID:
		err = refusal(n, dir)
	default:
		err = s.write(context.Background(), fencing.Batch{}, deleteNote)
	}
	return errors.Join(err, s.Close())
}

// noteChange is what a commit does to the note.
type noteChange func(*pebble.Batch) error

func keepNote(*pebble.Batch) error { return nil }

func deleteNote(b *pebble.Batch) error { return b.Delete(store.NoteKey(), nil) }

// putNote writes the note, unless it is none.
func putNote(n store.Note) noteChange {
	if n == "" {
		return keepNote
	}
	return func(b *pebble.Batch) error { return b.Set(store.NoteKey(), []byte(n), nil) }
}

// Retire leaves word that the move takes the store to another place: once it is
// closed, it can be opened no more.
func (s *Store) Retire(ctx context.Context, m store.Move) error {
	return s.write(ctx, fencing.Batch{}, putNote(m.Moved()))
}

// TakeBack commits the batch that recovers a store which OpenMoved has opened.
// In the same write it deletes the word that the store has moved, so a crash
// leaves it moved or recovered.
func (s *Store) TakeBack(ctx context.Context, b fencing.Batch) error {
	return s.write(ctx, b, deleteNote)
}

// note reads the note; "" if there is none.
func (s *Store) note() (store.Note, error) {
	value, closer, err := s.db.Get(store.NoteKey())
	if errors.Is(err, pebble.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	n := store.Note(value)
	if n == "" {
		n = "?" // it is there all the same
	}
	return n, closer.Close()
}

// room refuses a directory that is in use. To a store that arrives it may hold
// what an unfinished migration of the same store left behind.
func (c *contents) room(dir string, opts Options) error {
	err := vacant(opts.FS, dir)
	m, arrives := c.note.Arriving()
	if !arrives || !errors.Is(err, store.ErrExists) {
		return err
	}
	s, n, openErr := openAny(dir, opts, toServe)
	if openErr != nil {
		return openErr
	}
	if left, arriving := n.Arriving(); arriving && m.Continues(left) {
		err = nil
	} else if n != "" {
		err = refusal(n, dir)
	}
	return errors.Join(err, s.Close())
}

// clear moves what room found out of the way: a crash leaves it as it is, or no
// database.
func (c *contents) clear(dir, temp string, opts Options) error {
	inner := opts.FS.PathJoin(dir, database)
	if _, err := opts.FS.Stat(inner); c.note == "" || err != nil {
		return nil // there is none
	}
	if err := opts.FS.Rename(inner, temp); err != nil {
		return err
	}
	return opts.FS.RemoveAll(temp)
}

// refusal says why a store with this note can't be opened.
func refusal(n store.Note, dir string) error {
	return n.Refusal(dir, "remove that directory")
}
