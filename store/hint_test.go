package store_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/cirrus-id/cirrus/store"
)

// TestHints: hints are found wherever they are wrapped, once, and change neither
// the text nor what the error is.
func TestHints(t *testing.T) {
	recovered := store.WithHint(fmt.Errorf("%w: recover it", store.ErrDamaged), store.HintRecover,
		"")
	made := store.WithHint(errors.New("make one"), store.HintCreate, "d")
	err := fmt.Errorf("both: %w", errors.Join(recovered, fmt.Errorf("and: %w", made), recovered))
	want := []store.Hint{{Kind: store.HintRecover}, {Kind: store.HintCreate, Arg: "d"}}
	if got := store.HintsOf(err); !slices.Equal(got, want) {
		t.Errorf("HintsOf: got %v, want %v", got, want)
	}
	if !errors.Is(err, store.ErrDamaged) {
		t.Error("an error with a hint is no longer what it was")
	}
	if got := made.Error(); got != "make one" {
		t.Errorf("the text of an error with a hint: got %q, want %q", got, "make one")
	}
	if store.WithHint(nil, store.HintRecover, "") != nil || store.HintsOf(nil) != nil {
		t.Error("no error has a hint")
	}
}
