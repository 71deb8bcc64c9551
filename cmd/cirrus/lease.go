package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/dial"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/flags"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/snowflake"
)

// leaseName names a lease, and proves that the caller holds it.
type leaseName struct {
	pool     string
	node     uint32
	epoch    uint64
	instance string
}

// addLeaseName adds the flags by which a holder names its lease.
func addLeaseName(cmd *cobra.Command) *leaseName {
	var n leaseName
	f := cmd.Flags()
	f.Uint32Var(&n.node, "node-id", 0, "the lease's node ID")
	f.Uint64Var(&n.epoch, "epoch", 0, "the lease's epoch")
	f.StringVar(&n.instance, "instance-id", "",
		"the lease's instance ID; better given in CIRRUS_INSTANCE_ID")
	dial.AddFlag(cmd)
	flags.AddPool(cmd)
	return &n
}

// read reads the pool, and checks that no flag is missing.
func (n *leaseName) read(cmd *cobra.Command) (err error) {
	n.pool, err = cmd.Flags().GetString("pool")
	return errors.Join(err, flags.Required(cmd, "node-id", "epoch", "instance-id"))
}

// namedLease is a lease that an operator names.
type namedLease struct {
	pool  string
	node  uint32
	epoch uint64
}

// addNamedLease makes a command take a node ID as its only argument, and an epoch and
// a pool as flags. The function that it returns reads them.
func addNamedLease(cmd *cobra.Command) func(args []string) (namedLease, error) {
	cmd.Args = cobra.ExactArgs(1)
	epoch := cmd.Flags().Uint64("epoch", 0, "the lease's epoch; on the command line only")
	flags.MustBeExplicit(cmd, "epoch")
	flags.AddPool(cmd)
	return func(args []string) (namedLease, error) {
		node, err := strconv.ParseUint(args[0], 10, 32)
		if err != nil {
			return namedLease{}, exit.Usagef("%q is no node ID: give a number, such as 7", args[0])
		}
		if err := flags.Required(cmd, "epoch"); err != nil {
			return namedLease{}, err
		}
		pool, err := cmd.Flags().GetString("pool")
		return namedLease{pool, uint32(node), *epoch}, err
	}
}

// checkLease refuses an answer that can't be Cirrus's answer to this request: a
// proxy or another program gave it (C5, C7). Without the check, an empty answer
// would be a lease of node ID 0.
func checkLease(l *cirrusv1.Lease, instance string, from *dial.LeaseService) error {
	const notOurs = "the answer from %s is not Cirrus's: %s; is --addr right, and what lies between?"
	layout := layoutOf(l)
	switch {
	case l == nil:
		return fmt.Errorf(notOurs, from.Addrs.Use(), "it carries no lease")
	case l.GetInstanceId() != instance:
		return fmt.Errorf(notOurs, from.Addrs.Use(), "it is to another instance's request")
	case l.GetEpoch() == 0:
		return fmt.Errorf(notOurs, from.Addrs.Use(), "its lease has no epoch")
	case layout.Validate() != nil:
		return fmt.Errorf(notOurs, from.Addrs.Use(), "its "+layout.Validate().Error())
	case snowflake.NodeID(l.GetNodeId()) > layout.MaxNode():
		return fmt.Errorf(notOurs, from.Addrs.Use(),
			fmt.Sprintf("its node ID %d does not fit its layout",
				l.GetNodeId()))
	}
	return nil
}

func printLease(cmd *cobra.Command, o output.Format, l *cirrusv1.Lease) error {
	return output.PrintOne(cmd.OutOrStdout(), o, l, []output.Field{
		{"pool", l.GetPool()},
		{"node_id", output.Decimal(l.GetNodeId())},
		{"epoch", output.Decimal(l.GetEpoch())},
		{"app_id", l.GetAppId()},
		{"instance_id", l.GetInstanceId()},
		{"ttl", output.ShortDuration(l.GetTtl())},
		{"heartbeat_every", output.ShortDuration(l.GetHeartbeatEvery())},
		{"server_time_ms", output.Decimal(l.GetServerTimeMs())},
		{"floor_ms", output.Decimal(l.GetFloorMs())},
		{"ceiling_ms", output.Decimal(l.GetCeilingMs())},
		{"layout", output.LayoutBits(l.GetLayout())},
		{"origin_ms", output.Decimal(l.GetLayout().GetOriginMs())},
	})
}
