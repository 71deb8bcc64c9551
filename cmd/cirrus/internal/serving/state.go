package serving

import (
	"strings"
	"time"

	"github.com/cirrus-id/cirrus/service"
	"github.com/cirrus-id/cirrus/store"
	"github.com/spf13/cobra"
)

// stater is the part of a service that knows the replica's state.
type stater interface {
	State() (text string, ready bool, news <-chan struct{})
}

// PrintState prints the replica's state on stdout, in the words of /readyz, now and
// after each change, until the function that it returns is called.
func PrintState(cmd *cobra.Command, svc stater, c store.Cluster) (end func()) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		again := time.NewTicker(service.StateEvery)
		defer again.Stop()
		for said := ""; ; {
			state, _, news := svc.State()
			if state == service.NoLeaderKnown {
				state += ": waiting for " + awaited(cmd, c)
			}
			if state != said {
				cmd.Println(state)
				said = state
			}
			select {
			case <-news:
			case <-again.C:
			case <-stop:
				return
			}
		}
	}()
	return func() { close(stop); <-done }
}

// awaited returns what a replica without a leader waits for: etcd, until etcd has
// answered once, and then the election.
func awaited(cmd *cobra.Command, c store.Cluster) string {
	if c.ID() != "" {
		return "the election"
	}
	endpoints, _ := cmd.Flags().GetStringSlice("etcd-endpoints") // a wrong value was refused before
	return "etcd at " + strings.Join(endpoints, ", ")
}
