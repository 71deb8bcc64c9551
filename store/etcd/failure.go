package etcd

import (
	"errors"
	"fmt"

	"github.com/cirrus-id/cirrus/store"
)

// What can be wrong with a prefix. An error that wraps one of these says what is
// wrong and what to do.
var (
	// ErrNotEmpty: there are keys under the prefix that are not a store's.
	ErrNotEmpty = store.ErrNotEmpty
	// ErrLed: a replica leads, or campaigns.
	ErrLed = errors.New("in use by a replica")
)

// errDeposed is why a term has ended: another one has begun. A term that has ended
// never lasts again.
var errDeposed = fmt.Errorf("%w: another replica leads, or a recover or a migration took the store",
	store.ErrDeposed)

// errUnanswered is why a term has ended whose transaction returned neither a result
// nor an error.
var errUnanswered = errors.New(
	"it is unknown whether a write was done: the program failed during the write")

// refusal returns why a store with this note can't be loaded.
func refusal(n store.Note, k keys) error {
	err := n.Refusal(k.prefix+" in etcd", fmt.Sprintf("delete the keys under %s in etcd", k.prefix))
	if n.Recovering() {
		return err // it is to be finished, not deleted
	}
	return store.WithHint(err, store.HintDeleteKeys, k.prefix)
}
