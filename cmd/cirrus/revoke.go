package main

import (
	"strconv"

	"github.com/spf13/cobra"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

func newRevoke() *cobra.Command {
	var epoch uint64
	cmd := &cobra.Command{
		Use:   "revoke NODE_ID --epoch E",
		Short: "Take a lease away from its holder",
		Long: `Revoke takes a lease away: it gets no more heartbeats. The node ID is free after
the deadline that its holder has, plus the quarantine; it can't be sooner, since
the holder may not know yet. cirrus ls shows the epoch; that it has to be given
keeps you from revoking the lease that came after the one you meant.`,
		Example: `  cirrus revoke 7 --epoch 1835000000000001
  cirrus revoke 7 --epoch 1835000000000001 --pool billing`,
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().Uint64Var(&epoch, "epoch", 0, "the lease's epoch; on the command line only")
	mustBeExplicit(cmd, "epoch")
	addAddr(cmd)
	addPool(cmd)
	output := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		node, err := strconv.ParseUint(args[0], 10, 32)
		if err != nil {
			return usagef("%q is no node ID: give a number, such as 7", args[0])
		}
		if err := required(cmd, "epoch"); err != nil {
			return err
		}
		return revoke(cmd, &cirrusv1.RevokeRequest{NodeId: uint32(node), Epoch: epoch}, *output)
	}
	return cmd
}

func revoke(cmd *cobra.Command, req *cirrusv1.RevokeRequest, o outputFlag) error {
	var err error
	if req.Pool, err = cmd.Flags().GetString("pool"); err != nil {
		return err
	}
	admin, err := dialAdmin(cmd)
	if err != nil {
		return err
	}
	resp, err := ask(cmd, admin, cirrusv1connect.AdminServiceClient.Revoke, req)
	if err != nil {
		return err
	}
	return printOne(cmd.OutOrStdout(), o, resp.GetLease(), statusFields(resp.GetLease()))
}
