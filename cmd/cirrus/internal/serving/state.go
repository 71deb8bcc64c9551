package serving

import (
	"strings"
	"time"

	"github.com/cirrus-id/cirrus/service"
	"github.com/cirrus-id/cirrus/store"
	"github.com/spf13/cobra"
)

// stater is the part of a service that says what the replica is.
type stater interface {
	State() (text string, ready bool, news <-chan struct{})
}

// TellState says on stdout what the replica is, in the words of /readyz, and
// each change, until the function that it returns is called.
func TellState(cmd *cobra.Command, svc stater, c store.Cluster) (end func()) {
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

// awaited is what a replica waits for that knows of no leader: as long as etcd
// has never answered, that it does.
func awaited(cmd *cobra.Command, c store.Cluster) string {
	if c.ID() != "" {
		return "the election"
	}
	endpoints, _ := cmd.Flags().GetStringSlice("etcd-endpoints") // they were read before
	return "etcd at " + strings.Join(endpoints, ", ")
}
