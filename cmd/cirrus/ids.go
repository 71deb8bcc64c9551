package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/client"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/dial"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/flags"
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

// retryMinting is how often an endless run checks whether it has a lease again.
const retryMinting = 50 * time.Millisecond

func newIDs() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ids",
		Short: "Lease a node ID, mint Snowflake IDs, and give it back",
		Long: `Ids holds a lease, prints an ID on each line, and gives the lease back. It prints
nothing else on stdout. It mints only while its lease is certain. With -n 0 it goes
on for ever, and waits while the service is away for longer than the lease lasts.
At SIGINT, SIGTERM and SIGHUP, and when the reader of its output ends, it gives the
lease back and ends.`,
		Example: `  cirrus ids -n 5
  cirrus ids -n 0 --rate 1000 --format json --app importer`,
		RunE: func(cmd *cobra.Command, _ []string) error { return mintIDs(cmd) },
	}
	f := cmd.Flags()
	f.IntP("n", "n", 1, "how many; 0: endless")
	f.String("app", "cirrus-ids",
		"the app ID: 1 to 253 bytes, a hint for getting the same node ID again")
	f.String("format", "dec", "dec, base32 or json")
	f.Float64("rate", 0, "IDs a second; 0: as fast as can be")
	f.Duration("wait", 10*time.Second, "how long to wait for the first lease")
	f.Duration("ttl", 0, "the lease's TTL (default: the pool's)")
	dial.AddFlag(cmd)
	flags.AddPool(cmd)
	return cmd
}

// idsFlags are what `cirrus ids` was asked for.
type idsFlags struct {
	n            int
	app, addr    string
	pool         string
	rate         float64
	wait, ttl    time.Duration
	format       func(io.Writer, snowflake.ID) error
	endless      bool
	formatString string
}

func readIDsFlags(cmd *cobra.Command) (in idsFlags, err error) {
	f := cmd.Flags()
	in.n, _ = f.GetInt("n")
	in.app, _ = f.GetString("app")
	in.pool, _ = f.GetString("pool")
	in.rate, _ = f.GetFloat64("rate")
	in.wait, _ = f.GetDuration("wait")
	in.ttl, _ = f.GetDuration("ttl")
	in.formatString, _ = f.GetString("format")
	in.endless = in.n == 0
	switch {
	case in.n < 0:
		return in, exit.Usagef("-n %d: give a number from 0 up", in.n)
	case !(in.rate >= 0 && in.rate <= 1e9):
		return in, exit.Usagef("--rate %v: give IDs a second, 0 to 1000000000", in.rate)
	case in.wait <= 0:
		return in, exit.Usagef("--wait %v: give a time above 0", in.wait)
	}
	if in.format = formats[in.formatString]; in.format == nil {
		return in, exit.Usagef("--format %q: give dec, base32 or json", in.formatString)
	}
	in.addr, err = dial.Address(cmd)
	return in, err
}

var formats = map[string]func(io.Writer, snowflake.ID) error{
	"dec": func(w io.Writer, id snowflake.ID) error { _, err := fmt.Fprintln(w, id); return err },
	"base32": func(w io.Writer, id snowflake.ID) error {
		_, err := fmt.Fprintln(w, id.Base32())
		return err
	},
	"json": func(w io.Writer, id snowflake.ID) error { return json.NewEncoder(w).Encode(id) },
}

func mintIDs(cmd *cobra.Command) error {
	in, err := readIDsFlags(cmd)
	if err != nil {
		return err
	}
	first, cancel := context.WithTimeout(cmd.Context(), in.wait)
	defer cancel()
	holder, err := client.Hold(first, in.addr, in.app,
		client.WithPool(fencing.PoolName(in.pool)), client.WithTTL(in.ttl),
		client.WithWait(dial.QueueTime(in.wait)))
	if err != nil {
		return holdError(err, in.wait)
	}
	out := bufio.NewWriter(cmd.OutOrStdout())
	err = mint(cmd.Context(), holder, in, out, func(why error) {
		cmd.PrintErrf("cirrus: nothing is minted until the lease is certain again: %v\n",
			dial.Explain(why))
	})
	if e := out.Flush(); err == nil {
		err = ended(in, e)
	}
	release, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), dial.CallTimeout)
	defer cancel()
	if e := holder.Release(release); e != nil {
		cmd.PrintErrf("cirrus: the lease could not be given back, so it runs out by itself: %v\n",
			dial.Explain(e))
	}
	return err
}

// mint prints IDs until there are enough or the context ends. When it has to wait
// for a lease, it calls say with the reason.
func mint(ctx context.Context, holder *client.Holder, in idsFlags, out *bufio.Writer,
	say func(error)) error {
	started := time.Now()
	for minted := 0; in.endless || minted < in.n; minted++ {
		if err := pace(ctx, out, started, minted, in.rate); err != nil {
			return ended(in, err)
		}
		id, err := nextID(ctx, holder, out, say)
		if err != nil {
			return ended(in, err)
		}
		if err := in.format(out, id); err != nil {
			return ended(in, err)
		}
	}
	return nil
}

// nextID mints an ID. It waits while there is no certain lease, unless the holder has
// ended. It checks the context, because at full speed nothing else does.
func nextID(ctx context.Context, holder *client.Holder, out *bufio.Writer,
	say func(error)) (snowflake.ID, error) {
	for said := false; ; {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		id, err := holder.Generator().Next()
		if err == nil || errors.Is(err, snowflake.ErrLayoutExhausted) {
			return id, err
		}
		switch why := holder.Err(); {
		case errors.Is(why, client.ErrEnded):
			return 0, dial.Explain(why)
		case why != nil && !said:
			said = true
			say(why)
		}
		if err := errors.Join(out.Flush(), sleep(ctx, retryMinting)); err != nil {
			return 0, err
		}
	}
}

// pace waits until the next ID is due. It prints all earlier IDs before it waits.
func pace(ctx context.Context, out *bufio.Writer, started time.Time, minted int,
	rate float64) error {
	if rate <= 0 {
		return nil
	}
	due := started.Add(time.Duration(float64(minted) / rate * float64(time.Second)))
	wait := time.Until(due)
	if wait <= 0 {
		return nil
	}
	return errors.Join(out.Flush(), sleep(ctx, wait))
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ended returns the error of a run that has ended. A signal ends an endless run
// without an error, and fails a counted one.
func ended(in idsFlags, err error) error {
	if in.endless && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// holdError explains why there was no first lease.
func holdError(err error, wait time.Duration) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no lease within --wait %v: %w", wait, dial.Explain(err))
	}
	return dial.Explain(err)
}
