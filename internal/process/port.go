package process

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
)

// The ports that FreePort returns: above those of well-known services, below
// those that Linux gives to outgoing connections.
const firstPort, lastPort = 12_000, 29_999

// OwnHost returns a loopback address that no other program uses, on systems that
// have many: a port on it stays free while its server is down.
func OwnHost() string {
	if runtime.GOOS != "linux" {
		return "127.0.0.1"
	}
	pid := os.Getpid() // at most 22 bits
	return fmt.Sprintf("127.%d.%d.%d", 1+pid>>16&0x7f, pid>>8&0xff, pid&0xff)
}

// returned holds the ports that FreePort has returned.
var returned struct {
	sync.Mutex
	ports map[int]bool
}

// FreePort returns a port on which no program listens, and never the same port
// twice. Outgoing connections do not get these ports: otherwise a client that
// dials while a server is down could be connected to another client or to itself.
func FreePort(host string) (int, error) {
	returned.Lock()
	defer returned.Unlock()
	if returned.ports == nil {
		returned.ports = map[int]bool{}
	}
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		if returned.ports[port] {
			continue
		}
		free, err := probe(host, port)
		if !free {
			continue
		}
		returned.ports[port] = true
		return port, err
	}
	return 0, fmt.Errorf("no free port on %s between %d and %d", host, firstPort, lastPort)
}

// probe reports whether the port is free, by listening on it for a moment. A
// child that this program starts has a copy of every socket until it executes.
// A copy of the probe's socket would keep the port in use after the probe, so
// the lock keeps this program from starting children meanwhile.
func probe(host string, port int) (free bool, err error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return false, nil
	}
	return true, l.Close()
}
