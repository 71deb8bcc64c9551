package store

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/cirrus-id/cirrus/fencing"
)

// Move is the move of a store from one location to another.
type Move struct {
	// ID is different for each move, and has no blank in it.
	ID string
	// Store is the ID of the store that moves. It identifies an unfinished move of the
	// same store, since the locations may have other names by then.
	Store fencing.StoreID
	// From and To are the names of the locations (Location.String).
	From, To string
}

// Continues reports whether the move is of the same store as an earlier, unfinished one,
// so that it may replace what that one has written.
func (m Move) Continues(earlier Move) bool {
	return m.Store == earlier.Store && m.Store != fencing.StoreID{}
}

// Note is kept in a store, under a key of its own, while nobody may serve the store: a
// work on it is not finished, or it was moved away. "" is no note.
type Note string

// The first word of a note, and what follows it.
const (
	recovering = "recover" // the process that recovers
	arriving   = "migrate" // the move's ID, the store's ID, and Move.From
	moved      = "moved"   // the move's ID, and Move.To
)

// NoteKey returns the key of the note. It is above all keys that a Decoder knows, so an
// earlier version of Cirrus refuses the store, too.
func NoteKey() []byte { return []byte("unfinished") }

// Recovering returns the note of a store that is being recovered by a process.
func Recovering(by string) Note { return Note(recovering + " " + by) }

// Arriving returns the note of the store that is being written at the new location.
func (m Move) Arriving() Note {
	return Note(fmt.Sprintf("%s %s %x %s", arriving, m.ID, m.Store, m.From))
}

// Moved returns the note of the store that stays at the old location.
func (m Move) Moved() Note { return Note(moved + " " + m.ID + " " + m.To) }

// Recovering reports whether the store is being recovered.
func (n Note) Recovering() bool { return n.word() == recovering }

// MovedAway reports whether the store was moved to another location.
func (n Note) MovedAway() bool { return n.word() == moved }

// Arriving returns the move that brings the store, without its To, and whether the note
// is of such a store. In a note of an older version the move has no store ID.
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

// ErrUnfinished is the error for a store of which a recover or a migration has started
// and has not finished.
var ErrUnfinished = errors.New("not finished")

// MovedError is the error for a store that was moved to Move.To. Of the move, only ID
// and To are set.
type MovedError struct {
	Move
	location, drop string
}

// Error says where the store is and what to do.
func (e *MovedError) Error() string {
	return fmt.Sprintf("the store in %s was moved to %s: serve that one; to put another here, %s",
		e.location, e.To, e.drop)
}

// NotMoved returns the error for a store that can't be taken back, since it was not moved
// away.
func NotMoved(location string) error {
	return fmt.Errorf(
		"the store in %s was not moved away, so it can't be taken back: serve it, or recover it where it is", location)
}

// Refusal returns why the store in the location can't be served, or nil if there is no
// note. drop says how to delete what is there.
func (n Note) Refusal(location, drop string) error {
	switch n.word() {
	case "":
		if n == "" {
			return nil
		}
	case recovering:
		return WithHint(fmt.Errorf("in %s a recover is %w: recover it again", location,
			ErrUnfinished), HintRecover, "")
	case arriving:
		m, _ := n.Arriving()
		err := fmt.Errorf(
			"in %s a migration from %s is %w: migrate once more; or, if that store was not moved and is to stay, %s", location, m.From, ErrUnfinished, drop)
		return WithHint(err, HintMigrate, "")
	case moved:
		_, rest, _ := strings.Cut(string(n), " ")
		id, to, _ := strings.Cut(rest, " ")
		return &MovedError{Move{ID: id, To: to}, location, drop}
	}
	return fmt.Errorf(
		"in %s a work that this version of Cirrus doesn't know (%q) is %w: finish it with the version that started it", location, string(n), ErrUnfinished)
}
