package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/dial"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/flags"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// pageSize is how many rows a listing asks for at a time: the most that the service
// allows.
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
	dial.AddFlag(cmd)
	flags.AddPool(cmd)
	format := output.AddFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return listLeases(cmd, cirrusv1.LeaseState(state), *format)
	}
	return cmd
}

func listLeases(cmd *cobra.Command, only cirrusv1.LeaseState, o output.Format) error {
	pool, err := cmd.Flags().GetString("pool")
	if err != nil {
		return err
	}
	admin, err := dial.Admin(cmd)
	if err != nil {
		return err
	}
	l := output.NewList(cmd.OutOrStdout(), o, output.StatusFields(nil))
	for req := (&cirrusv1.ListLeasesRequest{Pool: pool, PageSize: pageSize}); ; {
		resp, err := dial.Ask(cmd, admin, cirrusv1connect.AdminServiceClient.ListLeases, req)
		if err != nil {
			return err
		}
		if err := addLeases(l, resp.GetLeases(), only); err != nil {
			return err
		}
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			return l.End()
		}
	}
}

func addLeases(l *output.List, leases []*cirrusv1.LeaseStatus, only cirrusv1.LeaseState) error {
	for _, s := range leases {
		if only != 0 && s.GetState() != only {
			continue
		}
		if err := l.Add(s, output.StatusFields(s)); err != nil {
			return err
		}
	}
	return l.Page()
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

// String returns the state's name, and "" for all.
func (s *stateFlag) String() string {
	if *s == 0 {
		return ""
	}
	return output.WireName(cirrusv1.LeaseState(*s).String(), "LEASE_STATE_")
}

// Type names the kind of value.
func (s *stateFlag) Type() string { return "state" }
