package exit

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// TakesHangup is the annotation of commands that handle SIGHUP themselves: serve
// reads its settings again, and run passes the signal on.
const TakesHangup = "takes-hangup"

// OutlivePipes makes a write to a pipe without a reader fail, instead of ending the
// process: neither a service nor a supervised child may depend on the reader of a
// log (S14). It subscribes to SIGPIPE rather than ignore the signal, because a
// child of `cirrus run` would inherit that.
func OutlivePipes() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// EndAtHangup makes SIGHUP, which a terminal sends when it closes, interrupt a
// command as SIGINT and SIGTERM do, so that the command gives its lease back.
// Under nohup the signal stays ignored.
func EndAtHangup(cmd *cobra.Command) {
	if cmd.Annotations[TakesHangup] != "" || signal.Ignored(syscall.SIGHUP) {
		return
	}
	ctx, _ := signal.NotifyContext(cmd.Context(), syscall.SIGHUP) // until the process ends
	cmd.SetContext(ctx)
}
