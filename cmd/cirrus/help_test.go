package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/flags"
)

// TestExamples checks that the help of each command has examples, and that the
// command accepts them.
func TestExamples(t *testing.T) {
	for _, cmd := range flags.Commands(newRoot()) {
		t.Run(cmd.CommandPath(), func(t *testing.T) {
			if cmd.Short == "" || cmd.Example == "" {
				t.Fatal("the help lacks a short description or an example")
			}
			for line := range strings.Lines(cmd.Example) {
				checkExample(t, strings.TrimSpace(line))
			}
		})
	}
}

// checkExample checks a line that begins with cirrus, up to a pipe or redirection.
func checkExample(t *testing.T, line string) {
	line, _, _ = strings.Cut(line, " | ")
	line, _, _ = strings.Cut(line, " > ")
	words := strings.Fields(line)
	if len(words) == 0 || words[0] != "cirrus" {
		return
	}
	cmd, args, err := newRoot().Find(words[1:])
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	if slices.Contains(args, "--instance-id") {
		t.Errorf("%s: this shows a secret in the list of processes: give it in the environment",
			line)
	}
	cmd.InitDefaultHelpFlag()
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
}
