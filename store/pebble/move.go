package pebble

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store"
)

// Receive makes the store that the move brings, as Create does. Nobody can serve it
// before Finish. The directory must be missing or empty, but for what an unfinished
// migration of the same store has written; that is replaced.
func Receive(dir string, m store.Move, b fencing.Batch, opts Options) error {
	c := contents{b, m.Arriving()}
	return c.create(dir, opts)
}

// Finish deletes the note of this move, so that the store can be served. It errs with
// store.ErrExists if there is a store without a note, and with store.ErrNoStore if
// there is none.
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

// putNote writes the note, unless it is "".
func putNote(n store.Note) noteChange {
	if n == "" {
		return keepNote
	}
	return func(b *pebble.Batch) error { return b.Set(store.NoteKey(), []byte(n), nil) }
}

// Retire implements store.Offline. Once the store is closed, only OpenMoved opens it.
func (s *Store) Retire(ctx context.Context, m store.Move) error {
	return s.write(ctx, fencing.Batch{}, putNote(m.Moved()))
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
		n = "?" // an empty value is a note, too
	}
	return n, closer.Close()
}

// vacant errs if the directory is in use. For a store that a move brings, it may hold
// what an unfinished migration of the same store has written.
func (c *contents) vacant(dir string, opts Options) error {
	err := vacant(opts.FS, dir)
	m, arriving := c.note.Arriving()
	if !arriving || !errors.Is(err, store.ErrExists) {
		return err
	}
	s, n, openErr := openAny(dir, opts, toServe)
	if openErr != nil {
		return openErr
	}
	if earlier, arriving := n.Arriving(); arriving && m.Continues(earlier) {
		err = nil
	} else if n != "" {
		err = refusal(n, dir)
	}
	return errors.Join(err, s.Close())
}

// clearLeftover deletes what an unfinished migration has written. A crash leaves that
// as it is, or no database.
func (c *contents) clearLeftover(dir, temp string, opts Options) error {
	inner := opts.FS.PathJoin(dir, database)
	if _, err := opts.FS.Stat(inner); c.note == "" || err != nil {
		return nil // there is none
	}
	if err := opts.FS.Rename(inner, temp); err != nil {
		return err
	}
	return opts.FS.RemoveAll(temp)
}

// refusal returns why a store with this note can't be opened.
func refusal(n store.Note, dir string) error {
	return n.Refusal(dir, "remove that directory")
}
