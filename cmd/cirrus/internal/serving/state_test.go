package serving

import (
	"bytes"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/service"
	"github.com/cirrus-id/cirrus/store"
)

// staged is a replica whose state a test sets. It never reports a change.
type staged struct {
	mu   sync.Mutex
	text string
}

func (s *staged) State() (string, bool, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text, false, nil
}

func (s *staged) become(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = text
}

// answered is a cluster whose store has answered.
type answered struct{ store.Cluster }

func (answered) ID() string { return "store" }

// TestPrintState checks that each state is printed once, even if the change was not
// reported, and that only a replica without a leader waits for the election. The
// sleeps are on the clock of the synctest bubble, which moves when all goroutines
// wait.
func TestPrintState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		cmd := &cobra.Command{}
		cmd.SetOut(&out)
		svc := &staged{text: service.NoLeaderKnown}
		end := PrintState(cmd, svc, answered{})
		for _, text := range []string{"leading", "leading, but late", "leading, but late"} {
			time.Sleep(service.StateEvery)
			synctest.Wait()
			svc.become(text)
		}
		time.Sleep(service.StateEvery)
		end()
		if got, want := out.String(),
			"no leader known: waiting for the election\nleading\nleading, but late\n"; got != want {
			t.Errorf("printed\n%swant\n%s", got, want)
		}
	})
}
