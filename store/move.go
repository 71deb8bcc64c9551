package store

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/cirrus-id/cirrus/fencing"
)

// Move is a store's way from one place to another, where it is kept on.
type Move struct {
	// ID is unique among all moves that ever were begun; it has no blank.
	ID string
	// Store is the ID of the store that moves, by which an unfinished move is
	// taken up again: the places may have other names by then.
	Store fencing.StoreID
	// From and To are the places, in words that tell them from all others.
	From, To string
}

// Continues reports whether the move is of the same store as an earlier one that
// was not finished, so that it may replace what that one left behind.
func (m Move) Continues(earlier Move) bool {
	return m.Store == earlier.Store && m.Store != fencing.StoreID{}
}

// Note is in a store, beside what the store keeps, for as long as nobody may
// serve it: a work on it is not finished, or it was moved away. "" is no note.
type Note string

// The first word of a note; what follows depends on it.
const (
	recovering = "recover" // who recovers
	arriving   = "migrate" // the move's ID, the store's, and where from
	moved      = "moved"   // the move's ID, and where to
)

// NoteKey is the key that a note stands under. It comes after all that a
// Decoder knows, so an earlier version of Cirrus refuses the store, too.
func NoteKey() []byte { return []byte("unfinished") }

// Recovering is the note of a store that is being recovered.
func Recovering(by string) Note { return Note(recovering + " " + by) }

// Arriving is the note of a store that is being written where the move leads.
func (m Move) Arriving() Note {
	return Note(fmt.Sprintf("%s %s %x %s", arriving, m.ID, m.Store, m.From))
}

// Moved is the note of a store where the move has begun.
func (m Move) Moved() Note { return Note(moved + " " + m.ID + " " + m.To) }

// Recovering says whether the note is that of a recover.
func (n Note) Recovering() bool { return n.word() == recovering }

// MovedAway says whether the note is that of a store which was moved elsewhere.
func (n Note) MovedAway() bool { return n.word() == moved }

// Arriving returns the move that brings the store here, without its To, if the
// note is one of those. Those of older versions have no store ID.
func (n Note) Arriving() (Move, bool) {
	_, rest, _ := strings.Cut(string(n), " ")
	id, from, _ := strings.Cut(rest, " ")
	m := Move{ID: id, From: from}
	digits, place, _ := strings.Cut(from, " ")
	if of, err := hex.DecodeString(digits); err == nil && len(of) == len(m.Store) {
		m.Store, m.From = fencing.StoreID(of), place
	}
	return m, n.word() == arriving
}

func (n Note) word() string {
	word, _, _ := strings.Cut(string(n), " ")
	return word
}

// ErrUnfinished says that a recover or a migration was begun and not finished.
var ErrUnfinished = errors.New("not finished")

// MovedError says that the store has gone where Move.To says. Of the move only
// its ID is set besides.
type MovedError struct {
	Move
	place, drop string
}

// Error says where the store is.
func (e *MovedError) Error() string {
	return fmt.Sprintf("the store in %s was moved to %s: serve that one; to put another here, %s", e.place, e.To, e.drop)
}

// NotMoved says that the store in the place can't be taken back, since it was not
// moved away.
func NotMoved(place string) error {
	return fmt.Errorf("the store in %s was not moved away, so it can't be taken back: serve it, or recover it where it is", place)
}

// Refusal says why the store in the place can't be served, or nil where there
// is no note. drop is how its operator deletes what is there.
func (n Note) Refusal(place, drop string) error {
	switch n.word() {
	case "":
		if n == "" {
			return nil
		}
	case recovering:
		return fmt.Errorf("in %s a recover is %w: run \"cirrus recover\" again", place, ErrUnfinished)
	case arriving:
		m, _ := n.Arriving()
		return fmt.Errorf("in %s a migration from %s is %w: run the same \"cirrus migrate\" again; or, if that store was not moved and is to stay, %s", place, m.From, ErrUnfinished, drop)
	case moved:
		_, rest, _ := strings.Cut(string(n), " ")
		id, where, _ := strings.Cut(rest, " ")
		return &MovedError{Move{ID: id, To: where}, place, drop}
	}
	return fmt.Errorf("in %s a work that this version of Cirrus doesn't know (%q) is %w: finish it with the version that began it", place, string(n), ErrUnfinished)
}
