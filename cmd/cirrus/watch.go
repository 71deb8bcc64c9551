package main

import (
	"cmp"
	"context"
	"errors"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/dial"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/flags"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
	"github.com/cirrus-id/cirrus/internal/reach"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/snowflake"
)

func newWatch() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Show what happens to the node IDs of a pool, as it happens",
		Long: `Watch prints the node IDs that are held or quarantined (present), then synced,
then what happens: granted, released, expired, freed, revoked. It ends with exit
code 0 when it is interrupted. With -o json each line is a JSON object.

Where --addr has several addresses and the one in use fails, it says so on stderr
and goes on at another one: present and synced come again, and what happened in
between is not told.`,
		Example: `  cirrus watch
  cirrus watch --pool billing -o json | jq -r 'select(.event == "EVENT_EXPIRED") | .lease.appId'`,
	}
	dial.AddFlag(cmd)
	flags.AddPool(cmd)
	format := output.AddFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return watch(cmd, *format) }
	return cmd
}

func watch(cmd *cobra.Command, o output.Format) error {
	pool, err := cmd.Flags().GetString("pool")
	if err != nil {
		return err
	}
	admin, err := dial.Watch(cmd)
	if err != nil {
		return err
	}
	out, err := output.NewStream(cmd.OutOrStdout(), o, eventFields(nil), eventWidths)
	if err != nil {
		return err
	}
	w := watching{cmd: cmd, admin: admin, pool: pool, out: out}
	return w.run()
}

const (
	// watchPatience is how long a watch that has worked looks for an address
	// where it can go on: longer than replicas take to agree who leads.
	watchPatience = time.Minute
	// watchPause is between two rounds over all addresses.
	watchPause = time.Second
)

// errWatchEnded is about a stream that ended without an error.
var errWatchEnded = errors.New("the service ended the watch: watch again, and start from what is present then")

// watching is a watch that goes on at another address when its stream ends.
type watching struct {
	cmd   *cobra.Command
	admin *dial.AdminService
	pool  string
	out   *output.Stream
	// failed counts addresses that failed since one worked, which was at lastly;
	// the zero time: none did yet.
	failed int
	lastly time.Time
}

func (w *watching) run() error {
	addrs := w.admin.Addrs
	for {
		a := addrs.Use()
		came, err := w.follow(a, dial.CallTimeout/time.Duration(addrs.Len()))
		var broken outputError
		switch {
		case errors.As(err, &broken):
			return broken.error
		case w.cmd.Context().Err() != nil: // interrupted, as watches are
			return nil
		case addrs.Len() == 1 || !came && !reach.Elsewhere(err):
			return dial.Explain(err)
		}
		addrs.Leave(a, err)
		if err := w.pause(a, came, err); err != nil {
			return err
		}
	}
}

// pause says that a stream has ended or, if there was none, waits after each
// round over all addresses; in the end it gives up.
func (w *watching) pause(a *reach.Address, came bool, err error) error {
	if came {
		w.failed, w.lastly = 0, time.Now()
		w.cmd.PrintErrf("cirrus: the watch at %v ended: %s: going on at another address, from what is present there\n", a, dial.Message(err))
		return nil
	}
	addrs := w.admin.Addrs
	if w.failed++; w.failed%addrs.Len() != 0 {
		return nil
	}
	if time.Since(w.lastly) > watchPatience {
		return dial.Explain(addrs.Err())
	}
	_ = sleep(w.cmd.Context(), watchPause) // run looks whether it was interrupted
	return nil
}

// follow prints what an address streams, until that ends. The first of it must
// come within a time, and says that the address works.
func (w *watching) follow(a *reach.Address, most time.Duration) (came bool, err error) {
	ctx, cancel := context.WithCancelCause(w.cmd.Context())
	defer cancel(nil)
	silent := time.AfterFunc(most, func() { cancel(connect.NewError(connect.CodeDeadlineExceeded, dial.NoAnswerIn(most))) })
	defer silent.Stop()
	events, err := w.admin.At(a).Watch(ctx, &cirrusv1.WatchRequest{Pool: w.pool})
	if err != nil {
		return false, cmp.Or(context.Cause(ctx), err)
	}
	defer events.Close() //nolint:errcheck // there is nothing left to lose
	for events.Receive() {
		if !came {
			came = silent.Stop()
			w.admin.Addrs.Answered(a)
		}
		if err := w.out.Add(events.Msg(), eventFields(events.Msg())); err != nil {
			return came, outputError{err}
		}
	}
	return came, cmp.Or(context.Cause(ctx), events.Err(), errWatchEnded)
}

// outputError is one of printing, not of the service.
type outputError struct{ error }

// eventFields are an event's, for people; of nil they make a heading.
func eventFields(e *cirrusv1.WatchResponse) []output.Field {
	at := snowflake.Millis(e.GetServerTimeMs())
	fields := []output.Field{
		{"server_time", at.Time().Format(output.MillisLayout)},
		{"event", output.WireName(e.GetEvent().String(), "EVENT_")},
	}
	status := output.StatusFields(e.GetLease())
	if e.GetLease() == nil { // synced
		for i := range status {
			status[i] = output.Field{status[i].Name(), "-"}
		}
	}
	return append(fields, status...)
}

// eventWidths are those of eventFields but for the last, the app ID.
var eventWidths = []int{len(output.MillisLayout) - len("07:00"), 8, 7, 11, 9, 16, 5}
