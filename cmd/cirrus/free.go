package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/dial"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/flags"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// newFree makes the command that ends a lease on an operator's word (S4).
func newFree() *cobra.Command {
	var last int64
	cmd := &cobra.Command{
		Use:   "free NODE_ID --epoch E",
		Short: "End the lease of a holder that is dead",
		Long: `Free ends a lease at once, on your word that its holder is dead: the process has
ended, or its machine is off for good. It is the way out where a long TTL or a
long quarantine keeps a node ID; everywhere else, wait, or use cirrus revoke.

If the holder is alive after all, it goes on handing out IDs until its next
heartbeat, beside the node ID's next holder: two live holders of one node ID.
Without --last-timestamp nothing else rests on your word: the window that was
promised to the holder is waited out, so no ID is minted twice. With it, the node
ID is free once server time is past that timestamp; if the holder has used, or
uses, a later one, the same IDs are minted twice.

A lease is freed once: a --last-timestamp that is given later changes nothing.
cirrus ls shows the epoch; that it has to be given keeps you from ending the lease
that came after the one you meant.`,
		Example: `  cirrus free 7 --epoch 1835000000000001
  cirrus free 7 --epoch 1835000000000001 --pool billing --yes
  cirrus free 7 --epoch 1835000000000001 --last-timestamp 1795364184800`,
	}
	named := addNamedLease(cmd)
	cmd.Flags().Int64Var(&last, "last-timestamp", 0,
		"the last timestamp that the holder used, in Unix `ms` (default: the window promised to it is "+
			"waited out); on the command line only")
	cmd.Flags().Bool("yes", false, "don't ask: the holder is dead")
	flags.MustBeExplicit(cmd, "last-timestamp")
	dial.AddFlag(cmd)
	format := output.AddFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		lease, err := named(args)
		if err != nil {
			return err
		}
		req := &cirrusv1.FreeRequest{Pool: lease.pool, NodeId: lease.node, Epoch: lease.epoch}
		if flags.Given(cmd.Flags(), "last-timestamp") {
			req.LastTimestampMs = &last
		}
		return free(cmd, req, *format)
	}
	return cmd
}

func free(cmd *cobra.Command, req *cirrusv1.FreeRequest, o output.Format) error {
	if err := whetherDead(req).Confirm(cmd); err != nil {
		return err
	}
	admin, err := dial.Admin(cmd)
	if err != nil {
		return err
	}
	resp, err := dial.Ask(cmd, admin, cirrusv1connect.AdminServiceClient.Free, req)
	if err != nil {
		return err
	}
	return output.PrintOne(cmd.OutOrStdout(), o, resp.GetLease(),
		output.StatusFields(resp.GetLease()))
}

// whetherDead asks the operator to type the node ID, and so to confirm that the
// holder is dead.
func whetherDead(req *cirrusv1.FreeRequest) output.Question {
	risk := "two live holders share the node ID"
	if req.LastTimestampMs != nil {
		risk += ", and the same IDs can be minted twice"
	}
	return output.Question{
		Text: fmt.Sprintf(
			"This ends the lease of node ID %d in pool %s, epoch %d. If its holder is "+
				"alive after all, %s. If it is dead, type the node ID to go on",
			req.GetNodeId(), req.GetPool(), req.GetEpoch(), risk),
		Answer: strconv.FormatUint(uint64(req.GetNodeId()), 10),
		Vouch: fmt.Sprintf("if the holder of node ID %d is dead, say so with --yes",
			req.GetNodeId()),
	}
}
