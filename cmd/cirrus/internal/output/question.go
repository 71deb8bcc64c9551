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

// Question is asked before a command does what can't be undone.
type Question struct {
	Text   string
	Answer string // the text that has to be typed
	Vouch  string // says what --yes stands for, where there is no terminal
}

// Confirm asks, unless --yes was given. Without a terminal only --yes confirms: what
// a script pipes into the command is no answer to a question.
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

// Ask returns nil if the answer is typed. A signal is taken for a no.
func (q Question) Ask(ctx context.Context, in io.Reader, out io.Writer) error {
	_, _ = fmt.Fprintf(out, "%s: ", q.Text)
	typed := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(in).ReadString('\n') // a line that is cut off is compared, too
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

// IsTerminal reports whether a reader or writer is a terminal.
func IsTerminal(rw any) bool {
	f, ok := rw.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
