//go:build linux

package etcdtest

import (
	"net"
	"os/exec"
	"strconv"
	"sync"
	"testing"
)

// TestFreePortWhileStarting starts other programs meanwhile: none of them may
// keep a port that was probed in use.
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
					_ = exec.Command("/bin/true").Run() // whatever it says
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
			t.Fatalf("the port that was found free a moment ago is not: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
