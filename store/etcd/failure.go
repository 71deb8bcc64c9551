package etcd

import (
	"errors"
	"fmt"

	"github.com/cirrus-id/cirrus/store"
)

// What can be wrong with a prefix. The errors that wrap these say in a sentence
// what is wrong and what to do.
var (
	// ErrNotEmpty: there are keys under the prefix that are no store.
	ErrNotEmpty = store.ErrNotEmpty
	// ErrLed: a replica leads, or waits to.
	ErrLed = errors.New("in use by a replica")
)

// errDeposed ends a term. Terms never come back.
var errDeposed = fmt.Errorf("%w: another replica leads, or a command such as \"cirrus recover\" took the store", store.ErrDeposed)

// errUnanswered ends a term whose transaction brought neither an answer nor an
// error.
var errUnanswered = errors.New("it is unknown whether a write was done: the program failed while it was under way")

// Work is what is done to a whole store while nobody serves it.
type Work string

// The works that take more than one transaction, or leave a note.
const (
	// Recovery is `cirrus recover`.
	Recovery Work = "recover"
	// TakingBack is a recover of a store that was moved away.
	TakingBack Work = "take back"
	// Migration is `cirrus migrate`, to this store or from it.
	Migration Work = "migrate"
)

// refusal says why a store with this note can't be loaded.
func refusal(n store.Note, k keys) error {
	return n.Refusal(k.prefix+" in etcd", fmt.Sprintf("delete this one with \"etcdctl del --prefix %s\"", k.prefix))
}
