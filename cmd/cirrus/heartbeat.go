package main

import (
	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/dial"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

func newHeartbeat() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "heartbeat --node-id N --epoch E --instance-id ID",
		Short: "Keep a lease for another TTL",
		Long: `Heartbeat keeps a lease: its deadline and its ceiling move to one TTL from now.
If the lease is lost, the command fails, and no ID may be minted under the lease
any more.

The instance ID is a secret. Give it in the variable CIRRUS_INSTANCE_ID:
--instance-id is shown in the list of processes.`,
		Example: `  export CIRRUS_INSTANCE_ID=2f1c9a7b3e5d8460a1b2c3d4e5f60718
  cirrus heartbeat --node-id 7 --epoch 1835000000000001`,
	}
	name := addLeaseName(cmd)
	format := output.AddFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := name.read(cmd); err != nil {
			return err
		}
		return heartbeat(cmd, *name, *format)
	}
	return cmd
}

func heartbeat(cmd *cobra.Command, n leaseName, o output.Format) error {
	leases, err := dial.Leases(cmd)
	if err != nil {
		return err
	}
	resp, err := dial.Ask(cmd, leases, cirrusv1connect.LeaseServiceClient.Heartbeat,
		&cirrusv1.HeartbeatRequest{
			Pool: n.pool, NodeId: n.node, Epoch: n.epoch, InstanceId: n.instance,
		})
	if err == nil {
		err = checkLease(resp.GetLease(), n.instance, leases)
	}
	if err != nil {
		return err
	}
	return printLease(cmd, o, resp.GetLease())
}
