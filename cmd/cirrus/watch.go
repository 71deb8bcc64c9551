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
between is not printed.`,
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
	// watchTimeout is how long a watch that has worked tries to go on at another
	// address: longer than replicas take to elect a leader.
	watchTimeout = time.Minute
	// watchPause is the pause between two rounds over all addresses.
	watchPause = time.Second
)

// errWatchEnded is the error of a stream that ended without one.
var errWatchEnded = errors.New(
	"the service ended the watch: watch again, and start from what is present then")

// watching is a watch that goes on at another address when its stream ends.
type watching struct {
	cmd   *cobra.Command
	admin *dial.AdminService
	pool  string
	out   *output.Stream
	// failed counts the addresses that failed since one worked.
	failed int
	// worked is when an address worked last; the zero time: none did yet.
	worked time.Time
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

// pause reports on stderr that a stream has ended. If there was no stream, it waits
// after each round over all addresses, and returns an error after watchTimeout.
func (w *watching) pause(a *reach.Address, came bool, err error) error {
	if came {
		w.failed, w.worked = 0, time.Now()
		w.cmd.PrintErrf(
			"cirrus: the watch at %v ended: %s: going on at another address, from what is "+
				"present there\n", a, dial.Message(err))
		return nil
	}
	addrs := w.admin.Addrs
	if w.failed++; w.failed%addrs.Len() != 0 {
		return nil
	}
	if time.Since(w.worked) > watchTimeout {
		return dial.Explain(addrs.Err())
	}
	_ = sleep(w.cmd.Context(), watchPause) // run checks whether it was interrupted
	return nil
}

// follow prints the stream of an address until it ends. The first message must
// arrive within the timeout most. came reports whether it did, so that the address
// works.
func (w *watching) follow(a *reach.Address, most time.Duration) (came bool, err error) {
	ctx, cancel := context.WithCancelCause(w.cmd.Context())
	defer cancel(nil)
	silent := time.AfterFunc(most, func() {
		cancel(connect.NewError(connect.CodeDeadlineExceeded, dial.NoAnswerIn(most)))
	})
	defer silent.Stop()
	events, err := w.admin.At(a).Watch(ctx, &cirrusv1.WatchRequest{Pool: w.pool})
	if err != nil {
		return false, cmp.Or(context.Cause(ctx), err)
	}
	defer events.Close() //nolint:errcheck // the stream has ended
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

// outputError is an error of printing, not of the service.
type outputError struct{ error }

// eventFields returns the fields of an event for a table, and of nil those of its
// heading.
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

// eventWidths are the widths of eventFields without the last one, the app ID.
var eventWidths = []int{len(output.MillisLayout) - len("07:00"), 8, 7, 11, 9, 16, 5}
