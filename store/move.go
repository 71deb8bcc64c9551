package store

import (
	"errors"
	"fmt"
	"strings"
)

// Move is a store's way from one place to another, where it is kept on.
type Move struct {
	// ID is unique among all moves that ever were begun; it has no blank.
	ID string
	// From and To are the places, in words that tell them from all others.
	From, To string
}

// Note is in a store, beside what the store keeps, for as long as nobody may
// serve it: a work on it is not finished, or it was moved away. "" is no note.
type Note string

// The first word of a note; what follows depends on it.
const (
	recovering = "recover" // who recovers
	arriving   = "migrate" // the move's ID, and where from
	moved      = "moved"   // the move's ID, and where to
)

// NoteKey is the key that a note stands under. It comes after all that a
// Decoder knows, so an earlier version of Cirrus refuses the store, too.
func NoteKey() []byte { return []byte("unfinished") }

// Recovering is the note of a store that is being recovered.
func Recovering(by string) Note { return Note(recovering + " " + by) }

// Arriving is the note of a store that is being written where the move leads.
func (m Move) Arriving() Note { return Note(arriving + " " + m.ID + " " + m.From) }

// Moved is the note of a store where the move has begun.
func (m Move) Moved() Note { return Note(moved + " " + m.ID + " " + m.To) }

// Recovering says whether the note is that of a recover.
func (n Note) Recovering() bool { return n.word() == recovering }

// Arriving returns the move that brings the store here, without its To, if the
// note is one of those.
func (n Note) Arriving() (Move, bool) {
	_, rest, _ := strings.Cut(string(n), " ")
	id, from, _ := strings.Cut(rest, " ")
	return Move{ID: id, From: from}, n.word() == arriving
}

func (n Note) word() string {
	word, _, _ := strings.Cut(string(n), " ")
	return word
}

// ErrUnfinished says that a recover or a migration was begun and not finished.
var ErrUnfinished = errors.New("not finished")

// MovedError says that the store has gone where Move.To says. Move.From is
// empty.
type MovedError struct {
	Move
	place, drop string
}

// Error says where the store is.
func (e *MovedError) Error() string {
	return fmt.Sprintf("the store in %s was moved to %s: serve that one; to put another here, %s", e.place, e.To, e.drop)
}

// Refusal says why the store in the place can't be served, or nil where there
// is no note. drop is how its operator deletes what is there.
func (n Note) Refusal(place, drop string) error {
	_, rest, _ := strings.Cut(string(n), " ")
	id, where, _ := strings.Cut(rest, " ")
	switch n.word() {
	case "":
		if n == "" {
			return nil
		}
	case recovering:
		return fmt.Errorf("in %s a recover is %w: run \"cirrus recover\" again", place, ErrUnfinished)
	case arriving:
		return fmt.Errorf("in %s a migration from %s is %w: run the same \"cirrus migrate\" again; or, if that store was not moved and is to stay, %s", place, where, ErrUnfinished, drop)
	case moved:
		return &MovedError{Move{ID: id, To: where}, place, drop}
	}
	return fmt.Errorf("in %s a work that this version of Cirrus doesn't know (%q) is %w: finish it with the version that began it", place, string(n), ErrUnfinished)
}
