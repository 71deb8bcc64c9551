package main

import (
	"encoding/json"
	"strings"

	"github.com/spf13/cobra"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/snowflake"
)

// decoded is what an ID says. 64-bit numbers are strings in JSON, as in the
// API's.
type decoded struct {
	ID          snowflake.ID       `json:"id"`
	TimestampMs snowflake.Millis   `json:"timestampMs,string"`
	Time        string             `json:"time"`
	NodeID      snowflake.NodeID   `json:"nodeId"`
	Sequence    snowflake.Sequence `json:"sequence"`
}

func newDecode() *cobra.Command {
	d := decodeFlags{bits: *newLayoutFlag()}
	cmd := &cobra.Command{
		Use:   "decode ID",
		Short: "Take a Snowflake ID apart: timestamp, node ID, sequence",
		Long: `Decode takes an ID apart. It goes by the default layout, or by the one that
--layout and --origin describe, or, with --pool, by that pool's, for which it
asks the service; nothing else does. What is given on the command line goes
before what is in the environment or the file.

The ID can be in decimal or in base32. Digits alone are read as decimal; about
one base32 ID in a million has nothing but digits, and --base32 is for those.`,
		Example: `  cirrus decode 2121829470597087232
  cirrus decode 1TV6G2K7R8000 --layout 41/10/12 --origin 1288834974657
  cirrus decode 2121829470597087232 --pool billing -o json`,
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		// This runs before the environment and the file are looked at.
		d.poolFirst = given(cmd.Flags(), "pool")
		d.layoutFirst = given(cmd.Flags(), "layout") || given(cmd.Flags(), "origin")
		return cobra.ExactArgs(1)(cmd, args)
	}
	f := cmd.Flags()
	f.BoolVar(&d.base32, "base32", false, "read the ID as base32 even if it has digits alone")
	f.StringVar(&d.pool, "pool", "", "`name` of the pool whose layout counts")
	f.Var(&d.bits, "layout", "`bits` for timestamp/node/sequence")
	f.Int64Var((*int64)(&d.origin), "origin", int64(snowflake.DefaultLayout.Origin), "the layout's custom epoch in Unix `ms`")
	addAddr(cmd)
	output := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return d.decode(cmd, args[0], *output) }
	return cmd
}

type decodeFlags struct {
	pool                   string
	base32                 bool
	bits                   layoutFlag
	origin                 snowflake.Millis
	poolFirst, layoutFirst bool // given on the command line
}

func (d decodeFlags) decode(cmd *cobra.Command, text string, o outputFlag) error {
	id, err := d.parse(text)
	if err != nil {
		return usageError{err}
	}
	layout, err := d.layout(cmd)
	if err != nil {
		return err
	}
	parts, err := layout.Decompose(id)
	if err != nil {
		return err
	}
	return printDecoded(cmd, o, decoded{
		ID:          id,
		TimestampMs: parts.Timestamp,
		Time:        parts.Timestamp.Time().Format(millisLayout),
		NodeID:      parts.Node,
		Sequence:    parts.Sequence,
	})
}

func (d decodeFlags) parse(text string) (snowflake.ID, error) {
	if d.base32 || strings.Trim(text, "0123456789") != "" {
		return snowflake.ParseBase32(text)
	}
	return snowflake.Parse(text)
}

// layout is the one to go by.
func (d decodeFlags) layout(cmd *cobra.Command) (l snowflake.Layout, err error) {
	switch {
	case d.poolFirst && d.layoutFirst:
		return l, usagef("--pool and --layout or --origin were given: a pool has a layout, so leave one of them out")
	case d.layoutFirst || d.pool == "":
		l = d.bits.Layout
		l.Origin = d.origin
	default:
		p, err := getPool(cmd, d.pool)
		if err != nil {
			return l, err
		}
		l = layoutOf(p)
	}
	return l, l.Validate()
}

// layoutOf is the layout of a pool or a lease.
func layoutOf(of interface{ GetLayout() *cirrusv1.Layout }) snowflake.Layout {
	l := of.GetLayout()
	return snowflake.Layout{
		Origin:        snowflake.Millis(l.GetOriginMs()),
		TimestampBits: uint8(l.GetTimestampBits()),
		NodeBits:      uint8(l.GetNodeBits()),
		SequenceBits:  uint8(l.GetSequenceBits()),
	}
}

func printDecoded(cmd *cobra.Command, o outputFlag, d decoded) error {
	if o == asJSON {
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetIndent("", "  ")
		return e.Encode(d)
	}
	return printFields(cmd.OutOrStdout(), []field{
		{"id", d.ID.String()},
		{"timestamp_ms", decimal(int64(d.TimestampMs))},
		{"time", d.Time},
		{"node_id", decimal(uint32(d.NodeID))},
		{"sequence", decimal(uint32(d.Sequence))},
	})
}
