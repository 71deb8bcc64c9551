package exit

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// TakesHangup marks the commands that take SIGHUP themselves: serve looks at its
// settings again, and run passes it on.
const TakesHangup = "takes-hangup"

// OutlivePipes turns a write to a pipe that nobody reads any more into an error,
// where it would end the process: neither a service nor a child that is watched
// over may depend on whoever reads a log (S14). To be notified, unlike to ignore
// it, leaves a child of `cirrus run` with the signal as it usually is.
func OutlivePipes() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// EndAtHangup interrupts a command at SIGHUP, as at SIGINT and SIGTERM, so that
// it gives back what it holds: a terminal that closes sends it. Under nohup it
// is ignored.
func EndAtHangup(cmd *cobra.Command) {
	if cmd.Annotations[TakesHangup] != "" || signal.Ignored(syscall.SIGHUP) {
		return
	}
	ctx, _ := signal.NotifyContext(cmd.Context(), syscall.SIGHUP) // until the process ends
	cmd.SetContext(ctx)
}
