package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// question is what a command asks before it does what can't be undone.
type question struct {
	text   string
	answer string // what has to be typed
	vouch  string // what --yes would say, for where nobody can be asked
}

// confirm asks, unless --yes has answered. Where nobody can be asked, only --yes
// does: a script that pipes something in has not been thought about.
func (q question) confirm(cmd *cobra.Command) error {
	yes, err := cmd.Flags().GetBool("yes")
	if err != nil || yes {
		return err
	}
	if !isTerminal(cmd.InOrStdin()) {
		return usagef("--yes is missing, and there is no terminal to ask at: %s", q.vouch)
	}
	return q.ask(cmd.Context(), cmd.InOrStdin(), cmd.ErrOrStderr())
}

// ask wants the answer typed before a signal comes.
func (q question) ask(ctx context.Context, in io.Reader, out io.Writer) error {
	_, _ = fmt.Fprintf(out, "%s: ", q.text)
	typed := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(in).ReadString('\n') // an end without a line is no answer
		typed <- line
	}()
	select {
	case line := <-typed:
		if strings.TrimSpace(line) == q.answer {
			return nil
		}
	case <-ctx.Done():
	}
	return fmt.Errorf("not confirmed, so nothing was changed: type %s, or pass --yes", q.answer)
}
