package exit

import (
	"context"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// DrainTime is how long requests in flight may take after SIGTERM. It is short
// enough for the process to end within 5 s.
const DrainTime = 3 * time.Second

// closeTime bounds the closing of the store, after the requests have ended. With
// drainTime it is less than the 5 s in which a signal ends the process.
const closeTime = time.Second

// LimitShutdown ends the process if its shutdown takes longer than drainTime and
// closeTime: the store's disk may not answer any more, while the store is created,
// opened, written or closed (S9). The shutdown starts with a signal or with a call of
// started, and ends with a call of ended. advice is printed if the process ends before.
func LimitShutdown(cmd *cobra.Command, advice string) (started, ended func()) {
	ctx, started := context.WithCancel(cmd.Context())
	done := make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
		case <-done:
			return
		}
		select {
		case <-time.After(DrainTime + closeTime):
			exitUnanswered(cmd, advice)
		case <-done:
		}
	}()
	return started, func() {
		started()
		close(done)
	}
}

// LimitInterrupt is limitShutdown for a command that works on a store while nobody
// serves it, and that can be run again after any interruption.
func LimitInterrupt(cmd *cobra.Command) (ended func()) {
	_, ended = LimitShutdown(cmd,
		"look at its disk, or at etcd, then run the same command again, since what it has done is unknown")
	return ended
}

// exitUnanswered ends a process whose store doesn't answer any more. Writes in flight may
// become durable or not, as at any other exit.
func exitUnanswered(cmd *cobra.Command, advice string) {
	cmd.PrintErrf("cirrus: the store has not answered in time, so the process ends without its "+
		"answer: %s\n", advice)
	FlushLog(cmd)
	os.Exit(Failed)
}
