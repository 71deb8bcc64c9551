package interleave

import (
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../../.."

// TestGenerator searches all orders of the generator's steps.
func TestGenerator(t *testing.T) {
	if err := run(t); err != nil {
		t.Fatal(err)
	}
}

// TestItNotices plants bugs that show in some orders only.
func TestItNotices(t *testing.T) {
	for _, bug := range []struct {
		name  string
		edit  Edit
		wants string
	}{
		{"Next stores where it must compare and swap", Edit{"generator.go",
			"if s.next.CompareAndSwap(next, first+1) {\n\t\t\t\treturn a.id(first), nil\n\t\t\t}",
			"s.next.Store(first + 1)\n\t\t\treturn a.id(first), nil"}, "was minted"},
		{"Stop seals with a load and a store", Edit{"session.go",
			"next := s.next.Or(sealed) &^ sealed",
			"next := s.next.Load() &^ sealed\n\ts.next.Store(next | sealed)"}, "was minted"},
		{"Extend takes no mutex", Edit{"session.go",
			"\ts.extend.Lock()\n\tdefer s.extend.Unlock()\n", ""}, "minting ended at"},
	} {
		t.Run(bug.name, func(t *testing.T) {
			err := run(t, bug.edit)
			var broken *Broken
			if !errors.As(err, &broken) || !strings.Contains(broken.Error(), bug.wants) {
				t.Fatalf("got %v, want it broken, with %q", err, bug.wants)
			}
		})
	}
}

// TestOldTextMustMatch expects an error for an edit whose old text is not there.
func TestOldTextMustMatch(t *testing.T) {
	err := run(t, Edit{"session.go", "no such text", ""})
	if err == nil || !strings.Contains(err.Error(), "0 times") {
		t.Errorf("got %v, want an error that says how often it occurs", err)
	}
}

func run(t *testing.T, edits ...Edit) error {
	t.Helper()
	dir, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	return Run(t.Context(), dir, lines{t}, edits...)
}

// lines logs what is written to it.
type lines struct{ t *testing.T }

func (l lines) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimRight(string(b), "\n"))
	return len(b), nil
}

var _ io.Writer = lines{}
