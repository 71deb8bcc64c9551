//go:build linux

package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	cirrusclient "github.com/cirrus-id/cirrus/client"
	"github.com/cirrus-id/cirrus/internal/process"
)

// TestNoLeaderIsTold asks three replicas of which none can lead, since there is no
// etcd: each says so before the holder gives it up, which it would do for a
// replica that says nothing.
func TestNoLeaderIsTold(t *testing.T) {
	t.Parallel()
	var urls []string
	for range 3 {
		s := &server{addr: freeAddr(t)}
		s.program = start(t, command(t, "serve", "--listen", s.addr, "--advertise", s.url(),
			"--metrics-listen=",
			// Long, so that none refuses at once because nobody has led for so long.
			"--store", "etcd", "--etcd-endpoints", "http://"+freeAddr(t), "--etcd-session-ttl",
			"10m"))
		s.awaitListening(t, s.addr)
		urls = append(urls, s.url())
	}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	told := &process.Log{}
	go func() {
		for ctx.Err() == nil &&
			strings.Count(told.String(), "an address of the service fails") < len(urls) {
			nap(ctx, pollEvery)
		}
		cancel()
	}()
	_, err := cirrusclient.Hold(ctx, strings.Join(urls, ","),
		"early", cirrusclient.WithLogger(slog.New(slog.NewTextHandler(told, nil))))
	if err == nil || !strings.Contains(fmt.Sprint(err), "no replica leads") {
		t.Errorf("Hold: %v", err)
	}
	if text := told.String(); strings.Contains(text, "no answer in time") {
		t.Errorf("the holder gave up before it was told:\n%s", text)
	}
}
