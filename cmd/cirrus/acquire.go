package main

import (
	"crypto/rand"
	"encoding/hex"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/dial"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/flags"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

func newAcquire() *cobra.Command {
	var app, instance string
	var ttl, wait time.Duration
	cmd := &cobra.Command{
		Use:   "acquire --app NAME",
		Short: "Lease a node ID and print the lease",
		Long: `Acquire leases a node ID and prints the lease. Keep the lease with cirrus
heartbeat, or give it back with cirrus release. It ends one TTL after the last
heartbeat.

The instance ID is a secret: heartbeat and release must repeat it. If you give one
of your own, you can repeat the command after an interruption. Give it in the
variable CIRRUS_INSTANCE_ID: --instance-id is shown in the list of processes.`,
		Example: `  cirrus acquire --app billing
  cirrus acquire --app billing --ttl 1m --wait 10s -o json`,
	}
	f := cmd.Flags()
	f.StringVar(&app, "app", "",
		"the app ID: 1 to 253 bytes, a hint for getting the same node ID again")
	f.StringVar(&instance, "instance-id", "",
		"16 to 64 printable ASCII characters, random and new; better given in CIRRUS_INSTANCE_ID "+
			"(default: a new one)")
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

// newInstance makes an instance ID. With it the same request can be repeated at
// another address, and gets the lease whose answer was lost.
func newInstance() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails, as documented
	return hex.EncodeToString(id[:])
}
