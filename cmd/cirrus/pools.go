package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/dial"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/flags"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
	"github.com/cirrus-id/cirrus/snowflake"
)

func newPools() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pools",
		Short: "Create, change and show pools",
		Long: `A pool is a set of node IDs with one layout and one pair of timings. IDs of two
pools differ only if the pools share layout and origin and their ranges of node
IDs are disjoint. Pools are never deleted.`,
		Example: `  cirrus pools create billing --node-ids 0-511
  cirrus pools ls`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPoolsCreate(), newPoolsUpdate(), newPoolsGet(), newPoolsLs())
	return cmd
}

func newPoolsCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a pool",
		Long: `Create creates a pool. Doing so again with the same settings succeeds and changes
nothing.`,
		Example: `  cirrus pools create billing
  cirrus pools create eu --node-ids 0-511 --ttl 20s --quarantine 40s
  cirrus pools create long --layout 42/12/9 --origin 1577836800000`,
		Args: cobra.ExactArgs(1),
	}
	flags.AddNewPool(cmd)
	dial.AddFlag(cmd)
	format := output.AddFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		create := func(admin *dial.AdminService, p *cirrusv1.Pool, c fencing.Confirmed) (poolReply,
			error) {
			req := &cirrusv1.CreatePoolRequest{
				Pool: p, ConfirmLongTimes: c.LongTimes, ConfirmEarlyOrigin: c.EarlyOrigin,
			}
			return dial.Ask(cmd, admin, cirrusv1connect.AdminServiceClient.CreatePool, req)
		}
		return changePool(cmd, args[0], *format, create)
	}
	return cmd
}

func newPoolsUpdate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "update NAME",
		Short: "Change the settings of a pool",
		Long: `Update changes those settings of a pool that are given, by flag, environment or
file, and leaves the others. Layout and origin are fixed, and the range of node
IDs only grows. Leases that were granted before keep their TTL.`,
		Example: `  cirrus pools update billing --quarantine 1m
  cirrus pools update eu --node-ids 0-767 --unsafe=false`,
		Args: cobra.ExactArgs(1),
	}
	flags.AddPoolSettings(cmd)
	dial.AddFlag(cmd)
	format := output.AddFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		update := func(admin *dial.AdminService, p *cirrusv1.Pool, c fencing.Confirmed) (poolReply,
			error) {
			req := &cirrusv1.UpdatePoolRequest{Pool: p, ConfirmLongTimes: c.LongTimes}
			return dial.Ask(cmd, admin, cirrusv1connect.AdminServiceClient.UpdatePool, req)
		}
		return changePool(cmd, args[0], *format, update)
	}
	return cmd
}

// poolReply is a reply that carries a pool.
type poolReply interface{ GetPool() *cirrusv1.Pool }

// changePool creates or updates a pool as the flags describe it.
func changePool(cmd *cobra.Command, name string, o output.Format,
	do func(*dial.AdminService, *cirrusv1.Pool, fencing.Confirmed) (poolReply, error)) error {
	change, err := flags.PoolChange(cmd.Flags())
	if err != nil {
		return err
	}
	admin, err := dial.Admin(cmd)
	if err != nil {
		return err
	}
	resp, err := do(admin, poolMessage(name, change), change.Confirmed)
	if err != nil {
		return err
	}
	return output.PrintOne(cmd.OutOrStdout(), o, resp.GetPool(), poolFields(resp.GetPool()))
}

// poolMessage returns a message with the settings of a pool that were given.
func poolMessage(name string, c fencing.PoolChange) *cirrusv1.Pool {
	p := &cirrusv1.Pool{Name: name, Unsafe: c.Unsafe}
	if l := c.Layout; l != nil {
		p.Layout = &cirrusv1.Layout{
			OriginMs:      int64(l.Origin),
			TimestampBits: uint32(l.TimestampBits),
			NodeBits:      uint32(l.NodeBits),
			SequenceBits:  uint32(l.SequenceBits),
		}
	}
	if c.First != nil && c.Last != nil {
		p.NodeIds = &cirrusv1.NodeRange{First: uint32(*c.First), Last: uint32(*c.Last)}
	}
	p.Ttl, p.MaxTtl, p.Quarantine = wireDuration(c.TTL), wireDuration(c.MaxTTL),
		wireDuration(c.Quarantine)
	return p
}

func wireDuration(d *time.Duration) *durationpb.Duration {
	if d == nil {
		return nil
	}
	return durationpb.New(*d)
}

func newPoolsGet() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "get NAME",
		Short: "Show a pool",
		Example: `  cirrus pools get default
  cirrus pools get billing -o json`,
		Args: cobra.ExactArgs(1),
	}
	dial.AddFlag(cmd)
	format := output.AddFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, err := getPool(cmd, args[0])
		if err != nil {
			return err
		}
		return output.PrintOne(cmd.OutOrStdout(), *format, p, poolFields(p))
	}
	return cmd
}

func getPool(cmd *cobra.Command, name string) (*cirrusv1.Pool, error) {
	admin, err := dial.Admin(cmd)
	if err != nil {
		return nil, err
	}
	resp, err := dial.Ask(cmd, admin, cirrusv1connect.AdminServiceClient.GetPool,
		&cirrusv1.GetPoolRequest{Name: name})
	if err != nil {
		return nil, err
	}
	return resp.GetPool(), nil
}

func newPoolsLs() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List all pools",
		Example: `  cirrus pools ls
  cirrus pools ls -o json | jq -r '.[].name'`,
	}
	dial.AddFlag(cmd)
	format := output.AddFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return listPools(cmd, *format) }
	return cmd
}

func listPools(cmd *cobra.Command, o output.Format) error {
	admin, err := dial.Admin(cmd)
	if err != nil {
		return err
	}
	l := output.NewList(cmd.OutOrStdout(), o, poolFields(nil))
	for req := (&cirrusv1.ListPoolsRequest{PageSize: pageSize}); ; {
		resp, err := dial.Ask(cmd, admin, cirrusv1connect.AdminServiceClient.ListPools, req)
		if err != nil {
			return err
		}
		for _, p := range resp.GetPools() {
			if err := l.Add(p, poolFields(p)); err != nil {
				return err
			}
		}
		if err := l.Page(); err != nil {
			return err
		}
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			return l.End()
		}
	}
}

// poolFields returns the fields of a pool for a table, and of nil those of its
// heading.
func poolFields(p *cirrusv1.Pool) []output.Field {
	return []output.Field{
		{"name", p.GetName()},
		{"layout", output.LayoutBits(p.GetLayout())},
		{"origin_ms", output.Decimal(p.GetLayout().GetOriginMs())},
		{"layout_ends", snowflake.Millis(p.GetLayoutEndsAtMs()).Time().Format(output.MillisLayout)},
		{"node_ids", fmt.Sprintf("%d-%d", p.GetNodeIds().GetFirst(), p.GetNodeIds().GetLast())},
		{"ttl", output.ShortDuration(p.GetTtl())},
		{"max_ttl", output.ShortDuration(p.GetMaxTtl())},
		{"quarantine", output.ShortDuration(p.GetQuarantine())},
		{"unsafe", strconv.FormatBool(p.GetUnsafe())},
		{"opened", openedOrWhen(p)},
	}
}

// openedOrWhen returns whether a pool is opened, or when it opens.
func openedOrWhen(p *cirrusv1.Pool) string {
	if p.GetOpened() {
		return "true"
	}
	return "at " + snowflake.Millis(p.GetOpensAtMs()).Time().Format(output.MillisLayout)
}
