package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cirrus-id/cirrus/internal/reach"
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
	addAddr(cmd)
	addPool(cmd)
	output := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := required(cmd, "app"); err != nil {
			return err
		}
		if instance == "" {
			instance = newInstance()
		}
		req := &cirrusv1.AcquireRequest{AppId: app, InstanceId: instance}
		if given(cmd.Flags(), "ttl") {
			req.Ttl = durationpb.New(ttl)
		}
		if wait != 0 {
			req.Wait = durationpb.New(wait)
		}
		return acquire(cmd, req, *output)
	}
	return cmd
}

func acquire(cmd *cobra.Command, req *cirrusv1.AcquireRequest, o outputFlag) error {
	var err error
	if req.Pool, err = cmd.Flags().GetString("pool"); err != nil {
		return err
	}
	leases, err := dialLeases(cmd)
	if err != nil {
		return err
	}
	ctx, cancel := callContext(cmd, req.GetWait().AsDuration())
	defer cancel()
	resp, err := acquireAt(ctx, leases, req)
	if err == nil {
		err = checkLease(resp.GetLease(), req.GetInstanceId(), leases)
	}
	if err != nil {
		return explain(err)
	}
	return printLease(cmd, o, resp.GetLease())
}

// checkLease refuses an answer that no Cirrus gives to this request: a proxy or
// another program answered in its place (C5, C7). An empty answer would else be
// taken for node ID 0.
func checkLease(l *cirrusv1.Lease, instance string, from *leaseService) error {
	const notOurs = "the answer from %s is not Cirrus's: %s; is --addr right, and what lies between?"
	layout := layoutOf(l)
	switch {
	case l == nil:
		return fmt.Errorf(notOurs, from.addrs.Use(), "it carries no lease")
	case l.GetInstanceId() != instance:
		return fmt.Errorf(notOurs, from.addrs.Use(), "it is to another instance's request")
	case l.GetEpoch() == 0:
		return fmt.Errorf(notOurs, from.addrs.Use(), "its lease has no epoch")
	case layout.Validate() != nil:
		return fmt.Errorf(notOurs, from.addrs.Use(), "its "+layout.Validate().Error())
	case snowflake.NodeID(l.GetNodeId()) > layout.MaxNode():
		return fmt.Errorf(notOurs, from.addrs.Use(), fmt.Sprintf("its node ID %d does not fit its layout", l.GetNodeId()))
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

// acquireAt acquires at one address after the other. Of several, it queues only
// at one that has just answered: one that lets it queue and one that says
// nothing sound alike.
func acquireAt(ctx context.Context, leases *leaseService, req *cirrusv1.AcquireRequest) (*cirrusv1.AcquireResponse, error) {
	acquire := cirrusv1connect.LeaseServiceClient.Acquire
	wait := req.GetWait()
	if wait == nil || leases.addrs.Len() == 1 {
		return askAll(ctx, leases, acquire, req)
	}
	for left := leases.addrs.Len(); ; left-- {
		req.Wait = nil
		short, cancel := context.WithTimeout(ctx, callTimeout)
		resp, err := askAll(short, leases, acquire, req)
		cancel()
		if connect.CodeOf(err) != connect.CodeResourceExhausted {
			return resp, err
		}
		req.Wait = wait
		deadline, _ := ctx.Deadline()
		resp, err = askOne(ctx, time.Until(deadline), leases, acquire, req)
		if left == 1 || ctx.Err() != nil || !reach.Elsewhere(err) {
			return resp, err
		}
	}
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
	addAddr(cmd)
	addPool(cmd)
	return &n
}

// read checks that the lease was named in full.
func (n *leaseName) read(cmd *cobra.Command) (err error) {
	n.pool, err = cmd.Flags().GetString("pool")
	return errors.Join(err, required(cmd, "node-id", "epoch", "instance-id"))
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
	output := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := name.read(cmd); err != nil {
			return err
		}
		return heartbeat(cmd, *name, *output)
	}
	return cmd
}

func heartbeat(cmd *cobra.Command, n leaseName, o outputFlag) error {
	leases, err := dialLeases(cmd)
	if err != nil {
		return err
	}
	resp, err := ask(cmd, leases, cirrusv1connect.LeaseServiceClient.Heartbeat, &cirrusv1.HeartbeatRequest{
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
		if given(cmd.Flags(), "last-timestamp") {
			req.LastTimestampMs = &last
		}
		return release(cmd, req)
	}
	return cmd
}

func release(cmd *cobra.Command, req *cirrusv1.ReleaseRequest) error {
	leases, err := dialLeases(cmd)
	if err != nil {
		return err
	}
	_, err = ask(cmd, leases, cirrusv1connect.LeaseServiceClient.Release, req)
	return err
}

// required says which flags are missing, from whatever source.
func required(cmd *cobra.Command, flags ...string) error {
	for _, name := range flags {
		if !given(cmd.Flags(), name) {
			return usagef("--%s is missing: see `%s --help`", name, cmd.CommandPath())
		}
	}
	return nil
}

func printLease(cmd *cobra.Command, o outputFlag, l *cirrusv1.Lease) error {
	return printOne(cmd.OutOrStdout(), o, l, []field{
		{"pool", l.GetPool()},
		{"node_id", decimal(l.GetNodeId())},
		{"epoch", decimal(l.GetEpoch())},
		{"app_id", l.GetAppId()},
		{"instance_id", l.GetInstanceId()},
		{"ttl", shortDuration(l.GetTtl())},
		{"heartbeat_every", shortDuration(l.GetHeartbeatEvery())},
		{"server_time_ms", decimal(l.GetServerTimeMs())},
		{"floor_ms", decimal(l.GetFloorMs())},
		{"ceiling_ms", decimal(l.GetCeilingMs())},
		{"layout", bits(l.GetLayout())},
		{"origin_ms", decimal(l.GetLayout().GetOriginMs())},
	})
}

// bits are a layout's, as --layout takes them.
func bits(l *cirrusv1.Layout) string {
	return fmt.Sprintf("%d/%d/%d", l.GetTimestampBits(), l.GetNodeBits(), l.GetSequenceBits())
}

func decimal[T uint32 | uint64 | int64](n T) string {
	if n < 0 {
		return strconv.FormatInt(int64(n), 10)
	}
	return strconv.FormatUint(uint64(n), 10)
}
