package etcd

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cirrus-id/cirrus/store"
)

// What can be wrong with a prefix. The errors that wrap these say in a sentence
// what is wrong and what to do.
var (
	// ErrNotEmpty: there are keys under the prefix that are no store.
	ErrNotEmpty = errors.New("keys that are no Cirrus store")
	// ErrLed: a replica leads, or waits to.
	ErrLed = errors.New("in use by a replica")
	// ErrUnfinished: a recover or a migration was begun and not finished.
	ErrUnfinished = errors.New("not finished")
)

// errDeposed ends a term. Terms never come back.
var errDeposed = fmt.Errorf("%w: another replica leads, or a command such as \"cirrus recover\" took the store", store.ErrDeposed)

// errUnanswered ends a term whose transaction brought neither an answer nor an
// error.
var errUnanswered = errors.New("it is unknown whether a write was done: the program failed while it was under way")

// Work is what is done to a whole store while nobody serves it.
type Work string

// The works that take more than one transaction, or leave a mark.
const (
	// Recovery is `cirrus recover`.
	Recovery Work = "recover"
	// Migration is `cirrus migrate` to this store.
	Migration Work = "migrate"
	// moved is what became of a store that was migrated from here.
	moved Work = "moved"
)

// unfinished is the value of the unfinished record: the work, a blank, and who
// did it or, for moved, where to.
type unfinished string

func (u unfinished) work() Work {
	work, _, _ := strings.Cut(string(u), " ")
	return Work(work)
}

// refusal says why the store can't be loaded.
func (u unfinished) refusal(k keys) error {
	_, rest, _ := strings.Cut(string(u), " ")
	switch u.work() {
	case Recovery:
		return fmt.Errorf("under %s in etcd a recover is %w: run \"cirrus recover\" again", k.prefix, ErrUnfinished)
	case Migration:
		return fmt.Errorf("under %s in etcd a migration is %w: run the same \"cirrus migrate\" again", k.prefix, ErrUnfinished)
	case moved:
		return fmt.Errorf("the store under %s in etcd was moved to %s: serve that one; to put another here, delete this one with \"etcdctl del --prefix %s\"", k.prefix, rest, k.prefix)
	}
	return fmt.Errorf("under %s in etcd a work that this version of Cirrus doesn't know (%q) is %w: finish it with the version that began it", k.prefix, string(u), ErrUnfinished)
}
