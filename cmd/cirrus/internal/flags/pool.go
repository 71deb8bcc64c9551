package flags

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

// AddNewPool adds the flags that describe a pool, with those that only the creation
// of a pool needs.
func AddNewPool(cmd *cobra.Command) {
	AddPoolSettings(cmd)
	cmd.Flags().Bool(EarlyOrigin, false, "accept an origin before 2000; on the command line only")
	MustBeExplicit(cmd, EarlyOrigin)
}

// EarlyOrigin is the flag that confirms an origin before 2000 (S11).
const EarlyOrigin = "early-origin"

// AddPoolSettings adds the flags that describe a pool.
func AddPoolSettings(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Duration("ttl", fencing.DefaultTTL, "TTL of leases that ask for none, from 1s")
	f.Duration("max-ttl", 0, "longest TTL that a lease may ask for (default: the TTL)")
	f.Duration("quarantine", fencing.DefaultQuarantine, "how long an expired node ID rests")
	f.Var(newLayoutFlag(), "layout",
		"`bits` for timestamp/node/sequence, 63 at most; fixed at creation")
	f.Int64("origin", int64(snowflake.DefaultLayout.Origin),
		"the layout's custom epoch in Unix `ms`; fixed at creation")
	f.Var(&nodeRange{text: "all of the layout's"}, "node-ids",
		"`first-last` node ID to lease; it can only grow")
	f.Bool("unsafe", false, "accept a quarantine shorter than the stride or a tenth of the TTL")
	f.Bool("yes",
		false, "accept a longest TTL or quarantine above 24h, for which a dead app's node "+
			"ID is kept, whatever is set later")
}

// PoolChange returns the settings of a pool that were given: on the command line,
// in the environment or in the file. The others stay nil.
func PoolChange(f *pflag.FlagSet) (c fencing.PoolChange, err error) {
	c.TTL, c.MaxTTL, c.Quarantine = givenDuration(f, "ttl"), givenDuration(f, "max-ttl"),
		givenDuration(f, "quarantine")
	if f.Changed("layout") || f.Changed("origin") {
		l := f.Lookup("layout").Value.(*layoutFlag).Layout
		origin, err := f.GetInt64("origin")
		if err != nil {
			return c, err
		}
		l.Origin = snowflake.Millis(origin)
		c.Layout = &l
	}
	if f.Changed("node-ids") {
		r := f.Lookup("node-ids").Value.(*nodeRange)
		c.First, c.Last = &r.first, &r.last
	}
	if f.Changed("unsafe") {
		unsafe, err := f.GetBool("unsafe")
		if err != nil {
			return c, err
		}
		c.Unsafe = &unsafe
	}
	c.Confirmed, err = confirmed(f)
	return c, err
}

// confirmed returns what the flags confirm about a pool (S11).
func confirmed(f *pflag.FlagSet) (c fencing.Confirmed, err error) {
	if c.LongTimes, err = f.GetBool("yes"); err != nil || f.Lookup(EarlyOrigin) == nil {
		return c, err
	}
	c.EarlyOrigin, err = f.GetBool(EarlyOrigin)
	return c, err
}

func givenDuration(f *pflag.FlagSet, name string) *time.Duration {
	if !f.Changed(name) {
		return nil
	}
	d, err := f.GetDuration(name)
	if err != nil {
		return nil
	}
	return &d
}

// layoutFlag is --layout.
type layoutFlag struct{ snowflake.Layout }

func newLayoutFlag() *layoutFlag { return &layoutFlag{snowflake.DefaultLayout} }

// Set reads bits, such as 41/10/12. It leaves the origin, which has a flag of its
// own.
func (l *layoutFlag) Set(s string) error {
	parsed, err := snowflake.ParseLayout(s)
	if err != nil {
		return err
	}
	parsed.Origin = l.Origin
	l.Layout = parsed
	return nil
}

// Type names the kind of value.
func (l *layoutFlag) Type() string { return "bits" }

// nodeRange is --node-ids.
type nodeRange struct {
	first, last snowflake.NodeID
	text        string
}

// Set reads 0-1023, or a single ID.
func (r *nodeRange) Set(s string) error {
	from, to, isRange := strings.Cut(s, "-")
	if !isRange {
		to = from
	}
	first, err1 := strconv.ParseUint(from, 10, 32)
	last, err2 := strconv.ParseUint(to, 10, 32)
	if err1 != nil || err2 != nil || first > last {
		return fmt.Errorf("%q is no range of node IDs: give first-last, such as 0-1023", s)
	}
	r.first, r.last, r.text = snowflake.NodeID(first), snowflake.NodeID(last), s
	return nil
}

// String returns the text that Set was given.
func (r *nodeRange) String() string { return r.text }

// Type names the kind of value.
func (r *nodeRange) Type() string { return "first-last" }
