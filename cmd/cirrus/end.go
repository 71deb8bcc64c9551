package main

import (
	"context"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/serving"
)

// closeTime is how long the store may take to end once requests have: with
// drainTime it is less than the 5 s in which a signal ends the process.
const closeTime = time.Second

// boundEnd ends the process where its end takes longer than drainTime and
// closeTime: the store's disk may not answer any more, whether the store is being
// created, opened, written or closed (S9). The end begins with a signal or with a
// call of begun, and over says that it has come. The advice is for whoever reads
// that the store has not answered.
func boundEnd(cmd *cobra.Command, advice string) (begun, over func()) {
	ctx, begun := context.WithCancel(cmd.Context())
	ended := make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
		case <-ended:
			return
		}
		select {
		case <-time.After(serving.DrainTime + closeTime):
			giveUp(cmd, advice)
		case <-ended:
		}
	}()
	return begun, func() {
		begun()
		close(ended)
	}
}

// boundSignal is boundEnd for a command that works on a store while nobody serves
// it, and can be run again wherever it was broken off.
func boundSignal(cmd *cobra.Command) (over func()) {
	_, over = boundEnd(cmd, "look at its disk, or at etcd, then run the same command again, since what it has done is unknown")
	return over
}

// giveUp ends a process whose store doesn't answer any more: what is under way
// may have become durable or not, as at any other end.
func giveUp(cmd *cobra.Command, advice string) {
	cmd.PrintErrf("cirrus: the store has not answered in time, so the process ends without its answer: %s\n", advice)
	exit.FlushLog(cmd)
	os.Exit(exit.Failed)
}
