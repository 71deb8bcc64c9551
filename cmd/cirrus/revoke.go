package main

import (
	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/dial"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

func newRevoke() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke NODE_ID --epoch E",
		Short: "Take a lease away from its holder",
		Long: `Revoke takes a lease away: it gets no more heartbeats. The node ID is free after
the deadline that its holder has, plus the quarantine; it can't be sooner, since
the holder may not know yet. cirrus ls shows the epoch; that it has to be given
keeps you from revoking the lease that came after the one you meant.`,
		Example: `  cirrus revoke 7 --epoch 1835000000000001
  cirrus revoke 7 --epoch 1835000000000001 --pool billing`,
	}
	named := addNamedLease(cmd)
	dial.AddFlag(cmd)
	format := output.AddFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		lease, err := named(args)
		if err != nil {
			return err
		}
		return revoke(cmd, &cirrusv1.RevokeRequest{Pool: lease.pool, NodeId: lease.node,
			Epoch: lease.epoch}, *format)
	}
	return cmd
}

func revoke(cmd *cobra.Command, req *cirrusv1.RevokeRequest, o output.Format) error {
	admin, err := dial.Admin(cmd)
	if err != nil {
		return err
	}
	resp, err := dial.Ask(cmd, admin, cirrusv1connect.AdminServiceClient.Revoke, req)
	if err != nil {
		return err
	}
	return output.PrintOne(cmd.OutOrStdout(), o, resp.GetLease(),
		output.StatusFields(resp.GetLease()))
}
