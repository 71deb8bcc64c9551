package main

import (
	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/dial"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/flags"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

func newRelease() *cobra.Command {
	var last int64
	cmd := &cobra.Command{
		Use:   "release --node-id N --epoch E --instance-id ID",
		Short: "Give a node ID back",
		Long: `Release gives a node ID back, without quarantine. Stop minting first; whatever
the answer is, never mint under that lease again. It prints nothing.

With --last-timestamp the node ID is free as soon as that time has passed; without
it, only when the lease's whole window has passed.

The instance ID is a secret. Give it in the variable CIRRUS_INSTANCE_ID:
--instance-id is shown in the list of processes.`,
		Example: `  export CIRRUS_INSTANCE_ID=2f1c9a7b3e5d8460a1b2c3d4e5f60718
  cirrus release --node-id 7 --epoch 1835000000000001
  cirrus release --node-id 7 --epoch 1835000000000001 --last-timestamp 1795359600123`,
	}
	name := addLeaseName(cmd)
	cmd.Flags().Int64Var(&last, "last-timestamp", 0,
		"the highest timestamp that went into an ID, in Unix `ms`; floor_ms - 1 if none did (default: "+
			"not said)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := name.read(cmd); err != nil {
			return err
		}
		req := &cirrusv1.ReleaseRequest{Pool: name.pool, NodeId: name.node, Epoch: name.epoch,
			InstanceId: name.instance}
		if flags.Given(cmd.Flags(), "last-timestamp") {
			req.LastTimestampMs = &last
		}
		return release(cmd, req)
	}
	return cmd
}

func release(cmd *cobra.Command, req *cirrusv1.ReleaseRequest) error {
	leases, err := dial.Leases(cmd)
	if err != nil {
		return err
	}
	_, err = dial.Ask(cmd, leases, cirrusv1connect.LeaseServiceClient.Release, req)
	return err
}
