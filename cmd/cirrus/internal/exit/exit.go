package exit

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/internal/logwriter"
)

// Exit codes. A child's own is passed on by `cirrus run`.
const (
	OK         = 0
	Failed     = 1
	WrongUsage = 2
	// afterReader is what shells know a process by that SIGPIPE ended.
	afterReader = 128 + 13
)

// LastWords is how long a process that ends waits for whoever reads its stderr,
// and a command that was interrupted for whoever reads its stdout.
const LastWords = time.Second

// usageError is a mistake in how the command was called.
type usageError struct{ error }

// Unwrap gives the mistake.
func (e usageError) Unwrap() error { return e.error }

// Usage makes an error a mistake in how the command was called.
func Usage(err error) error { return usageError{err} }

// Usagef says what was wrong with the call.
func Usagef(format string, args ...any) error { return Usage(fmt.Errorf(format, args...)) }

// Code ends the process with a code of somebody else's choice.
type Code int

// Error names the code.
func (e Code) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// readerGone is the error of writing to a stdout whose reader has ended, as in
// `cirrus ids | head -1`.
type readerGone struct{ error }

// Unwrap gives what the system said.
func (e readerGone) Unwrap() error { return e.error }

// WriteError is the error of writing to stdout: a readerGone, if its reader has
// ended.
func WriteError(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		return readerGone{err}
	}
	return err
}

// Report prints an error, if there is something to say, and returns the exit code
// for it.
func Report(err error, stderr io.Writer) int {
	var usage usageError
	var code Code
	var gone readerGone
	switch {
	case err == nil:
		return OK
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &gone): // who has read enough needs no message
		return afterReader
	case errors.As(err, &usage) || strings.HasPrefix(err.Error(), "unknown command"):
		fmt.Fprintf(stderr, "cirrus: %v\n", err) //nolint:errcheck // there is nowhere left to complain
		return WrongUsage
	}
	fmt.Fprintf(stderr, "cirrus: %v\n", err) //nolint:errcheck // there is nowhere left to complain
	return Failed
}

// FlushLog waits a moment until what was said on stderr is written. After it the
// process may end.
func FlushLog(cmd *cobra.Command) {
	if w, ok := cmd.ErrOrStderr().(*logwriter.Writer); ok {
		w.Flush(LastWords)
	}
}
