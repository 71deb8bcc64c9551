package output

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
)

// Question is what a command asks before it does what can't be undone.
type Question struct {
	Text   string
	Answer string // what has to be typed
	Vouch  string // what --yes would say, for where nobody can be asked
}

// Confirm asks, unless --yes has answered. Where nobody can be asked, only --yes
// does: a script that pipes something in has not been thought about.
func (q Question) Confirm(cmd *cobra.Command) error {
	yes, err := cmd.Flags().GetBool("yes")
	if err != nil || yes {
		return err
	}
	if !IsTerminal(cmd.InOrStdin()) {
		return exit.Usagef("--yes is missing, and there is no terminal to ask at: %s", q.Vouch)
	}
	return q.Ask(cmd.Context(), cmd.InOrStdin(), cmd.ErrOrStderr())
}

// Ask wants the answer typed before a signal comes.
func (q Question) Ask(ctx context.Context, in io.Reader, out io.Writer) error {
	_, _ = fmt.Fprintf(out, "%s: ", q.Text)
	typed := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(in).ReadString('\n') // an end without a line is no answer
		typed <- line
	}()
	select {
	case line := <-typed:
		if strings.TrimSpace(line) == q.Answer {
			return nil
		}
	case <-ctx.Done():
	}
	return fmt.Errorf("not confirmed, so nothing was changed: type %s, or pass --yes", q.Answer)
}

// IsTerminal says whether a reader or writer is one.
func IsTerminal(rw any) bool {
	f, ok := rw.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
