//go:build linux

package process

import (
	"net"
	"os/exec"
	"strconv"
	"sync"
	"testing"
)

// While other children are started, no port that FreePort returns is in use.
func TestFreePortWhileStarting(t *testing.T) {
	done := make(chan struct{})
	var starting sync.WaitGroup
	for range 4 {
		starting.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					_ = exec.Command("/bin/true").Run() // only the fork matters
				}
			}
		})
	}
	defer starting.Wait()
	defer close(done)
	host := OwnHost()
	for range 200 {
		port, err := FreePort(host)
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			t.Fatalf("FreePort returned a port that is in use: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
