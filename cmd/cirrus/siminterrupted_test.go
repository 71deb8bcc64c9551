package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
)

// TestSimInterrupted: a long command that is interrupted ends soon, reports how far it
// came, and fails.
func TestSimInterrupted(t *testing.T) {
	for args, want := range map[string]string{
		"sim --seeds 100000": "interrupted after ",
		"sim --for 1h":       "interrupted after ",
		"sim --seed 4 --profile calm --canary 4 --minimize":        "interrupted, minimized so far in ",
		"sim explore --larger":                                     "interrupted: 0 of ",
		"sim zoo --only grant-not-synced,mark-lowered --starts 50": "interrupted: 0 bugs and 0 controls",
	} {
		t.Run(args, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			root := newRoot()
			root.SetArgs(strings.Fields(args))
			var out bytes.Buffer
			root.SetOut(&out)
			root.SetErr(&out)
			began := time.Now()
			code := exit.Report(root.ExecuteContext(ctx), &out)
			if took := time.Since(began); code != exit.Failed || took > 10*time.Second ||
				!strings.Contains(out.String(), want) {
				t.Errorf("exit code %d after %v, want %q in:\n%s", code, took, want, out.String())
			}
		})
	}
}
