package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/dial"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/flags"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
	"github.com/cirrus-id/cirrus/snowflake"
)

func newAcquire() *cobra.Command {
	var app, instance string
	var ttl, wait time.Duration
	cmd := &cobra.Command{
		Use:   "acquire --app NAME",
		Short: "Lease a node ID and print the lease",
		Long: `Acquire leases a node ID and prints the lease. From then on it is yours to keep,
with cirrus heartbeat, to give back, with cirrus release, or to lose, one TTL
after the last heartbeat.

An instance ID is a secret: heartbeat and release must repeat it. Give one of
your own to be able to repeat the command if it is interrupted. In the variable
CIRRUS_INSTANCE_ID it is not shown in the list of processes, as --instance-id is.`,
		Example: `  cirrus acquire --app billing
  cirrus acquire --app billing --ttl 1m --wait 10s -o json`,
	}
	f := cmd.Flags()
	f.StringVar(&app, "app", "", "the app ID: 1 to 253 bytes, a hint for getting the same node ID again")
	f.StringVar(&instance, "instance-id", "", "16 to 64 printable ASCII characters, random and new; better given in CIRRUS_INSTANCE_ID (default: a new one)")
	f.DurationVar(&ttl, "ttl", 0, "the lease's TTL (default: the pool's)")
	f.DurationVar(&wait, "wait", 0, "how long to queue for a free node ID, up to 1m")
	dial.AddFlag(cmd)
	flags.AddPool(cmd)
	format := output.AddFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := flags.Required(cmd, "app"); err != nil {
			return err
		}
		if instance == "" {
			instance = newInstance()
		}
		req := &cirrusv1.AcquireRequest{AppId: app, InstanceId: instance}
		if flags.Given(cmd.Flags(), "ttl") {
			req.Ttl = durationpb.New(ttl)
		}
		if wait != 0 {
			req.Wait = durationpb.New(wait)
		}
		return acquire(cmd, req, *format)
	}
	return cmd
}

func acquire(cmd *cobra.Command, req *cirrusv1.AcquireRequest, o output.Format) error {
	var err error
	if req.Pool, err = cmd.Flags().GetString("pool"); err != nil {
		return err
	}
	leases, err := dial.Leases(cmd)
	if err != nil {
		return err
	}
	ctx, cancel := dial.CallContext(cmd, req.GetWait().AsDuration())
	defer cancel()
	resp, err := dial.Acquire(ctx, leases, req)
	if err == nil {
		err = checkLease(resp.GetLease(), req.GetInstanceId(), leases)
	}
	if err != nil {
		return dial.Explain(err)
	}
	return printLease(cmd, o, resp.GetLease())
}

// checkLease refuses an answer that no Cirrus gives to this request: a proxy or
// another program answered in its place (C5, C7). An empty answer would else be
// taken for node ID 0.
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
		return fmt.Errorf(notOurs, from.Addrs.Use(), fmt.Sprintf("its node ID %d does not fit its layout", l.GetNodeId()))
	}
	return nil
}

// newInstance makes an instance ID here, so that the same request can be made at
// another address: there it gets the lease whose answer was lost.
func newInstance() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// leaseName is what names a lease, and proves that it is the caller's.
type leaseName struct {
	pool     string
	node     uint32
	epoch    uint64
	instance string
}

// addLeaseName adds the flags that name a lease.
func addLeaseName(cmd *cobra.Command) *leaseName {
	var n leaseName
	f := cmd.Flags()
	f.Uint32Var(&n.node, "node-id", 0, "the lease's node ID")
	f.Uint64Var(&n.epoch, "epoch", 0, "the lease's epoch")
	f.StringVar(&n.instance, "instance-id", "", "the lease's instance ID; better given in CIRRUS_INSTANCE_ID")
	dial.AddFlag(cmd)
	flags.AddPool(cmd)
	return &n
}

// read checks that the lease was named in full.
func (n *leaseName) read(cmd *cobra.Command) (err error) {
	n.pool, err = cmd.Flags().GetString("pool")
	return errors.Join(err, flags.Required(cmd, "node-id", "epoch", "instance-id"))
}

func newHeartbeat() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "heartbeat --node-id N --epoch E --instance-id ID",
		Short: "Keep a lease for another TTL",
		Long: `Heartbeat keeps a lease: its deadline and its ceiling move to one TTL from now.
If the lease is lost it fails, and no further ID may be minted under it.

The instance ID is a secret. In the variable CIRRUS_INSTANCE_ID it is not shown in
the list of processes, as --instance-id is.`,
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
	resp, err := dial.Ask(cmd, leases, cirrusv1connect.LeaseServiceClient.Heartbeat, &cirrusv1.HeartbeatRequest{
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

func newRelease() *cobra.Command {
	var last int64
	cmd := &cobra.Command{
		Use:   "release --node-id N --epoch E --instance-id ID",
		Short: "Give a node ID back",
		Long: `Release gives a node ID back, without quarantine. Stop minting first; whatever
the answer is, never mint under that lease again. It prints nothing.

With --last-timestamp the node ID is free as soon as that time is past; without,
the lease's whole window is waited out.

The instance ID is a secret. In the variable CIRRUS_INSTANCE_ID it is not shown in
the list of processes, as --instance-id is.`,
		Example: `  export CIRRUS_INSTANCE_ID=2f1c9a7b3e5d8460a1b2c3d4e5f60718
  cirrus release --node-id 7 --epoch 1835000000000001
  cirrus release --node-id 7 --epoch 1835000000000001 --last-timestamp 1795359600123`,
	}
	name := addLeaseName(cmd)
	cmd.Flags().Int64Var(&last, "last-timestamp", 0, "the highest timestamp that went into an ID, in Unix `ms`; floor_ms - 1 if none did (default: not said)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := name.read(cmd); err != nil {
			return err
		}
		req := &cirrusv1.ReleaseRequest{Pool: name.pool, NodeId: name.node, Epoch: name.epoch, InstanceId: name.instance}
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
