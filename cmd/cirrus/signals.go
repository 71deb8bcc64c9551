package main

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// takesHangup marks the commands that take SIGHUP themselves: serve looks at its
// settings again, and run passes it on.
const takesHangup = "takes-hangup"

// outlivePipes turns a write to a pipe that nobody reads any more into an error,
// where it would end the process: neither a service nor a child that is watched
// over may depend on whoever reads a log (S14). To be notified, unlike to ignore
// it, leaves a child of `cirrus run` with the signal as it usually is.
func outlivePipes() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// endAtHangup interrupts a command at SIGHUP, as at SIGINT and SIGTERM, so that
// it gives back what it holds: a terminal that closes sends it. Under nohup it
// is ignored.
func endAtHangup(cmd *cobra.Command) {
	if cmd.Annotations[takesHangup] != "" || signal.Ignored(syscall.SIGHUP) {
		return
	}
	ctx, _ := signal.NotifyContext(cmd.Context(), syscall.SIGHUP) // until the process ends
	cmd.SetContext(ctx)
}
