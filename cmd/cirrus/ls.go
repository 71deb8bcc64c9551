package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// pageSize is how many rows a listing asks for at a time: the most there is.
const pageSize = 1000

func newLs() *cobra.Command {
	var state stateFlag
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the node IDs of a pool that were ever granted",
		Long: `Ls lists node IDs, each with its last lease: held, until the time that is left
has passed; quarantined, when it can't be granted yet; or free. Node IDs that
were never granted are free, too, and not listed.`,
		Example: `  cirrus ls
  cirrus ls --pool billing --state held
  cirrus ls -o json | jq '.[].appId'`,
	}
	cmd.Flags().Var(&state, "state", "show only those that are held, quarantined or free")
	addAddr(cmd)
	addPool(cmd)
	output := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return listLeases(cmd, cirrusv1.LeaseState(state), *output)
	}
	return cmd
}

func listLeases(cmd *cobra.Command, only cirrusv1.LeaseState, o outputFlag) error {
	pool, err := cmd.Flags().GetString("pool")
	if err != nil {
		return err
	}
	admin, err := dialAdmin(cmd)
	if err != nil {
		return err
	}
	l := newList(cmd.OutOrStdout(), o, statusFields(nil))
	for req := (&cirrusv1.ListLeasesRequest{Pool: pool, PageSize: pageSize}); ; {
		resp, err := ask(cmd, admin, cirrusv1connect.AdminServiceClient.ListLeases, req)
		if err != nil {
			return err
		}
		if err := addLeases(l, resp.GetLeases(), only); err != nil {
			return err
		}
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			return l.end()
		}
	}
}

func addLeases(l *list, leases []*cirrusv1.LeaseStatus, only cirrusv1.LeaseState) error {
	for _, s := range leases {
		if only != 0 && s.GetState() != only {
			continue
		}
		if err := l.add(s, statusFields(s)); err != nil {
			return err
		}
	}
	return l.page()
}

// statusFields are a node ID's, for people; of nil they make a heading. What
// can be long or odd comes last.
func statusFields(s *cirrusv1.LeaseStatus) []field {
	return []field{
		{"node_id", decimal(s.GetNodeId())},
		{"state", stateName(s)},
		{"time_left", timeLeft(s)},
		{"epoch", decimal(s.GetEpoch())},
		{"ttl", shortDuration(s.GetTtl())},
		{"app_id", s.GetAppId()},
	}
}

// timeLeft is how long the state lasts; free has no end of its own.
func timeLeft(s *cirrusv1.LeaseStatus) string {
	if s.GetState() == cirrusv1.LeaseState_LEASE_STATE_FREE {
		return "-"
	}
	return shortDuration(s.GetTimeLeft())
}

// stateName is a state in lower case. Why it is quarantined can matter.
func stateName(s *cirrusv1.LeaseStatus) string {
	name := wireName(s.GetState().String(), "LEASE_STATE_")
	if s.GetRevoked() && s.GetState() == cirrusv1.LeaseState_LEASE_STATE_QUARANTINED {
		name += ",revoked"
	}
	return name
}

// wireName is an enum's name in lower case, without what all of them share.
func wireName(name, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(name, prefix))
}

// stateFlag is --state; 0 stands for all.
type stateFlag cirrusv1.LeaseState

// Set reads a state's name.
func (s *stateFlag) Set(name string) error {
	v, ok := cirrusv1.LeaseState_value["LEASE_STATE_"+strings.ToUpper(name)]
	if !ok || v == 0 {
		return fmt.Errorf("%q is no state: give held, quarantined or free", name)
	}
	*s = stateFlag(v)
	return nil
}

// String gives the state's name; nothing for all.
func (s *stateFlag) String() string {
	if *s == 0 {
		return ""
	}
	return wireName(cirrusv1.LeaseState(*s).String(), "LEASE_STATE_")
}

// Type names the kind of value.
func (s *stateFlag) Type() string { return "state" }
