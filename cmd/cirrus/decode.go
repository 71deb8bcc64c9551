package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/decode"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/dial"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/flags"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/snowflake"
)

// decoded are the parts of an ID. 64-bit numbers are strings in JSON, as in the
// API.
type decoded struct {
	ID          uint64           `json:"id,string"`
	TimestampMs snowflake.Millis `json:"timestampMs,string"`
	Time        string           `json:"time"`
	NodeID      uint64           `json:"nodeId"`
	Sequence    uint64           `json:"sequence"`
	// doubt is why the ID may have another layout; "": it looks right.
	doubt string
}

// fields returns the fields for a table.
func (d decoded) fields() []output.Field {
	return []output.Field{
		{"id", output.Decimal(d.ID)},
		{"timestamp_ms", output.Decimal(int64(d.TimestampMs))},
		{"time", d.Time},
		{"node_id", output.Decimal(d.NodeID)},
		{"sequence", output.Decimal(d.Sequence)},
	}
}

// decodedWidths are the widths of the columns without the last one.
var decodedWidths = []int{len("18446744073709551615"), len("253402300799999"),
	len("2006-01-02T15:04:05.000Z"), len("node_id")}

// farAhead is how far in the future an ID's time may be before decode warns of it.
const farAhead = 10 * time.Minute

func newDecode() *cobra.Command {
	d := decodeFlags{bits: decode.Bits{Timestamp: 41, Node: 10, Sequence: 12}, unit: 1}
	cmd := &cobra.Command{
		Use:   "decode [ID]...",
		Short: "Take Snowflake IDs apart: timestamp, node ID, sequence",
		Long: `Decode takes IDs apart: those that are given or, without any, one on each line of
stdin. It uses the default layout, or the one that --layout, --origin and --unit
describe, or, with --pool, the pool's, for which alone it asks the service. A flag
on the command line beats one in the environment or the file, even if one names a
pool and the other describes a layout.

An ID can be in decimal or in base32. Digits alone are read as decimal; about one
base32 ID in a million has nothing but digits, and --base32 is for those. Quotes,
commas between thousands and JavaScript's n are left out.

A layout can have up to 64 bits here, so IDs of other systems can be read: Discord
42/10/12 from 1420070400000, Mastodon 48/0/16 from 0, Instagram 41/13/10, Sonyflake
39/16/8 --sequence-first --unit 10ms, Baidu's uid-generator 28/22/13 --unit s.

It warns on stderr of an ID that doesn't look right: its time is in the future, or
it is too small to carry a timestamp.`,
		Example: `  cirrus decode 2121829470597087232
  cirrus decode 1TV6G2K7R8000 --layout 41/10/12 --origin 1288834974657
  cirrus decode 175928847299117063 --layout 42/10/12 --origin 1420070400000
  cut -d, -f1 orders.csv | cirrus decode --pool billing -o json`,
	}
	cmd.Args = func(cmd *cobra.Command, _ []string) error {
		// This runs before the environment and the file are read.
		d.poolFirst = flags.Given(cmd.Flags(), "pool")
		d.layoutFirst = false
		for _, name := range []string{"layout", "origin", "unit", "sequence-first"} {
			d.layoutFirst = d.layoutFirst || flags.Given(cmd.Flags(), name)
		}
		return nil
	}
	cmd.SetFlagErrorFunc(negativeID)
	f := cmd.Flags()
	f.BoolVar(&d.base32, "base32", false, "read IDs as base32 even if they have digits alone")
	f.StringVar(&d.pool, "pool", "", "`name` of the pool whose layout counts")
	f.Var(&d.bits, "layout", "`bits` for timestamp/node/sequence, 64 at most")
	f.Var(&d.unit, "unit", "what the timestamp counts: ms, 10ms, s")
	f.BoolVar(&d.sequenceFirst, "sequence-first", false, "the sequence stands above the node ID")
	f.Int64Var((*int64)(&d.origin), "origin", int64(snowflake.DefaultLayout.Origin),
		"the layout's custom epoch in Unix `ms`")
	dial.AddFlag(cmd)
	format := output.AddFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return d.run(cmd, args, *format) }
	return cmd
}

// negativeID explains the error for a negative number, which is parsed as flags.
func negativeID(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) && decode.OnlyDigits(unknown.GetSpecifiedShortnames()) {
		_, err = decode.Parse("-"+unknown.GetSpecifiedShortnames(), false)
	}
	return cmd.Root().FlagErrorFunc()(cmd, err)
}

type decodeFlags struct {
	pool                   string
	base32                 bool
	bits                   decode.Bits
	unit                   decode.Unit
	sequenceFirst          bool
	origin                 snowflake.Millis
	poolFirst, layoutFirst bool // given on the command line
}

func (d *decodeFlags) run(cmd *cobra.Command, args []string, o output.Format) error {
	layout, err := d.layout(cmd)
	if err != nil {
		return err
	}
	p := decodedPrinter{cmd: cmd, output: o, many: len(args) != 1}
	if len(args) == 0 {
		return d.decodeLines(layout, &p)
	}
	all := make([]decoded, len(args))
	for i, text := range args {
		if all[i], err = d.decode(text, layout); err != nil {
			return err // before anything is printed
		}
	}
	for _, one := range all {
		if err := p.print(one); err != nil {
			return err
		}
	}
	return nil
}

// decodeLines decodes stdin. It reports a line that is no ID and goes on, since a
// file may have a heading.
func (d *decodeFlags) decodeLines(layout decode.Layout, p *decodedPrinter) error {
	line, ids, bad := 0, 0, 0
	in := bufio.NewScanner(p.cmd.InOrStdin())
	for in.Scan() {
		line++
		text := strings.TrimSpace(in.Text())
		if text == "" {
			continue
		}
		ids++
		one, err := d.decode(text, layout)
		if err != nil {
			bad++
			p.cmd.PrintErrf("cirrus: line %d: %v\n", line, err)
			continue
		}
		if err := p.print(one); err != nil {
			return err
		}
	}
	switch {
	case in.Err() != nil:
		return fmt.Errorf("reading IDs from stdin: %w", in.Err())
	case ids == 0:
		return exit.Usagef("there is no ID: give some, or one a line on stdin; see `%s --help`",
			p.cmd.CommandPath())
	case bad > 0:
		return fmt.Errorf("%d of %d lines could not be decoded", bad, ids)
	}
	return nil
}

// decode decodes one ID. Its errors are wrong usage.
func (d *decodeFlags) decode(text string, layout decode.Layout) (decoded, error) {
	id, err := decode.Parse(text, d.base32)
	if err != nil {
		return decoded{}, exit.Usage(err)
	}
	parts, err := layout.Decompose(id)
	if err != nil {
		return decoded{}, exit.Usage(err)
	}
	return decoded{
		ID: id, TimestampMs: parts.Time, Time: parts.Time.Time().Format(output.MillisLayout),
		NodeID: parts.Node, Sequence: parts.Sequence,
		doubt: doubt(parts, layout, time.Now()),
	}, nil
}

// doubt returns why an ID may not have been minted with the layout, or "".
func doubt(p decode.Parts, l decode.Layout, now time.Time) string {
	switch {
	case p.Ticks == 0:
		return fmt.Sprintf("it is below 2^%d, so it is too small to carry a timestamp", l.Below())
	case p.Time.Time().After(now.Add(farAhead)):
		return "its time, " + p.Time.Time().Format(output.MillisLayout) + ", is in the future"
	}
	return ""
}

// layout returns the layout to decode with.
func (d *decodeFlags) layout(cmd *cobra.Command) (l decode.Layout, err error) {
	switch {
	case d.poolFirst && d.layoutFirst:
		return l, exit.Usagef(
			"--pool and --layout, --origin, --unit or --sequence-first were given: a pool has a layout, " +
				"so leave one of them out")
	case d.layoutFirst || d.pool == "":
		l = decode.Layout{
			Origin: d.origin, Unit: snowflake.Millis(d.unit),
			Timestamp: d.bits.Timestamp, Node: d.bits.Node, Sequence: d.bits.Sequence,
			SequenceFirst: d.sequenceFirst,
		}
		if l.Origin < 0 || l.Origin > decode.LastMs {
			return l, exit.Usagef("--origin %d: give Unix ms from 0 to %d", l.Origin, decode.LastMs)
		}
		return l, nil
	}
	p, err := getPool(cmd, d.pool)
	if err != nil {
		return l, err
	}
	of := layoutOf(p)
	l = decode.Layout{Origin: of.Origin, Unit: 1, Timestamp: of.TimestampBits, Node: of.NodeBits,
		Sequence: of.SequenceBits}
	return l, of.Validate()
}

// layoutOf returns the layout of a pool or a lease.
func layoutOf(of interface{ GetLayout() *cirrusv1.Layout }) snowflake.Layout {
	l := of.GetLayout()
	return snowflake.Layout{
		Origin:        snowflake.Millis(l.GetOriginMs()),
		TimestampBits: uint8(min(l.GetTimestampBits(), 255)),
		NodeBits:      uint8(min(l.GetNodeBits(), 255)),
		SequenceBits:  uint8(min(l.GetSequenceBits(), 255)),
	}
}

// decodedPrinter prints a single ID with a field on each line, and several IDs with
// an ID on each line.
type decodedPrinter struct {
	cmd    *cobra.Command
	output output.Format
	many   bool
	table  *output.Stream // of several IDs
}

func (p *decodedPrinter) print(d decoded) error {
	if d.doubt != "" {
		p.cmd.PrintErrf(
			"cirrus: warning: ID %d doesn't look right: %s; was it minted with another "+
				"layout or origin?\n", d.ID, d.doubt)
	}
	w := p.cmd.OutOrStdout()
	switch {
	case p.output == output.AsJSON:
		e := json.NewEncoder(w)
		if !p.many {
			e.SetIndent("", "  ")
		}
		return e.Encode(d)
	case !p.many:
		return output.PrintFields(w, d.fields())
	case p.table == nil:
		table, err := output.NewStream(w, p.output, d.fields(), decodedWidths)
		if err != nil {
			return err
		}
		p.table = table
	}
	return p.table.Line(output.Values(d.fields()))
}
