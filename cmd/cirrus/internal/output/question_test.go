package output

import (
	"context"
	"io"
	"strings"
	"testing"
)

// A signal is taken for a no.
func TestQuestionEndsAtSignal(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	in, typing := io.Pipe()
	t.Cleanup(func() { typing.Close() })
	cancel()
	err := Question{Text: "Go on", Answer: "yes"}.Ask(ctx, in, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "nothing was changed") {
		t.Errorf("got %v, want to be told that nothing was changed", err)
	}
}
