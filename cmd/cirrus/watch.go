package main

import (
	"errors"

	"github.com/spf13/cobra"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/snowflake"
)

func newWatch() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Show what happens to the node IDs of a pool, as it happens",
		Long: `Watch prints the node IDs that are held or quarantined (present), then synced,
then what happens: granted, released, expired, freed, revoked. It ends with exit
code 0 when it is interrupted. With -o json each line is a JSON object.`,
		Example: `  cirrus watch
  cirrus watch --pool billing -o json | jq -r 'select(.event == "EVENT_EXPIRED") | .lease.appId'`,
	}
	addAddr(cmd)
	addPool(cmd)
	output := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return watch(cmd, *output) }
	return cmd
}

func watch(cmd *cobra.Command, o outputFlag) error {
	pool, err := cmd.Flags().GetString("pool")
	if err != nil {
		return err
	}
	admin, err := dialAdmin(cmd)
	if err != nil {
		return err
	}
	events, err := admin.Watch(cmd.Context(), &cirrusv1.WatchRequest{Pool: pool})
	if err != nil {
		return explain(err)
	}
	defer events.Close() //nolint:errcheck // there is nothing left to lose
	out, err := newStream(cmd.OutOrStdout(), o, eventFields(nil), eventWidths)
	if err != nil {
		return err
	}
	for events.Receive() {
		if err := out.add(events.Msg(), eventFields(events.Msg())); err != nil {
			return err
		}
	}
	switch {
	case cmd.Context().Err() != nil: // interrupted, as watches are
		return nil
	case events.Err() != nil:
		return explain(events.Err())
	}
	return errors.New("the service ended the watch: watch again, and start from what is present then")
}

// eventFields are an event's, for people; of nil they make a heading.
func eventFields(e *cirrusv1.WatchResponse) []field {
	at := snowflake.Millis(e.GetServerTimeMs())
	fields := []field{
		{"server_time", at.Time().Format(millisLayout)},
		{"event", wireName(e.GetEvent().String(), "EVENT_")},
	}
	status := statusFields(e.GetLease())
	if e.GetLease() == nil { // synced
		for i := range status {
			status[i].value = "-"
		}
	}
	return append(fields, status...)
}

// eventWidths are those of eventFields but for the last, the app ID.
var eventWidths = []int{len(millisLayout) - len("07:00"), 8, 7, 11, 9, 16, 5}

// millisLayout is RFC 3339 with milliseconds.
const millisLayout = "2006-01-02T15:04:05.000Z07:00"
