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

// The exit codes of cirrus. `cirrus run` passes its child's on.
const (
	OK         = 0
	Failed     = 1
	WrongUsage = 2 // the command was called in a wrong way

	// afterReader is the exit code that shells show for a process that SIGPIPE ended.
	afterReader = 128 + 13
)

// LastWords is how long a process that ends waits for the reader of its stderr, and
// an interrupted command for the reader of its stdout.
const LastWords = time.Second

// usageError is a mistake in how the command was called.
type usageError struct{ error }

// Unwrap returns the mistake.
func (e usageError) Unwrap() error { return e.error }

// Usage marks an error as a mistake in how the command was called.
func Usage(err error) error { return usageError{err} }

// Usagef formats a mistake in how the command was called.
func Usagef(format string, args ...any) error { return Usage(fmt.Errorf(format, args...)) }

// Code is an error that ends the process with this exit code and without a message.
type Code int

// Error implements error.
func (e Code) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// readerGone is the error of writing to a stdout whose reader has ended, as in
// `cirrus ids | head -1`.
type readerGone struct{ error }

// Unwrap returns the system's error.
func (e readerGone) Unwrap() error { return e.error }

// WriteError marks an error of writing to stdout, so that the process ends without
// a message if stdout's reader has ended.
func WriteError(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		return readerGone{err}
	}
	return err
}

// Report prints an error, unless its exit code says enough, and returns the exit
// code.
func Report(err error, stderr io.Writer) int {
	var usage usageError
	var code Code
	var gone readerGone
	switch {
	case err == nil:
		return OK
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &gone): // a reader that has ended needs no message
		return afterReader
	case errors.As(err, &usage) || strings.HasPrefix(err.Error(), "unknown command"):
		fmt.Fprintf(stderr, "cirrus: %v\n", err) //nolint:errcheck // stderr is where errors go
		return WrongUsage
	}
	fmt.Fprintf(stderr, "cirrus: %v\n", err) //nolint:errcheck // stderr is where errors go
	return Failed
}

// FlushLog waits until what was written to stderr has been read, or for LastWords.
// The process may end after it.
func FlushLog(cmd *cobra.Command) {
	if w, ok := cmd.ErrOrStderr().(*logwriter.Writer); ok {
		w.Flush(LastWords)
	}
}
