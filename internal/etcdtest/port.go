package etcdtest

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

// OwnHost is a loopback address that, where there are many, no other program
// takes: a port on it stays free while the server that it is for is down.
func OwnHost() string {
	if runtime.GOOS != "linux" {
		return "127.0.0.1"
	}
	pid := os.Getpid() // at most 22 bits
	return fmt.Sprintf("127.%d.%d.%d", 1+pid>>16&0x7f, pid>>8&0xff, pid&0xff)
}

// given are the ports that were handed out.
var given struct {
	sync.Mutex
	ports map[int]bool
}

// FreePort finds a port on which nobody listens, and which it has not found
// before. It is none of those that the kernel gives to outgoing connections:
// clients that dial while a server is down must not find each other there, or
// themselves.
func FreePort(host string) (int, error) {
	given.Lock()
	defer given.Unlock()
	if given.ports == nil {
		given.ports = map[int]bool{}
	}
	for range 1000 {
		port := 12000 + rand.IntN(18000)
		if given.ports[port] {
			continue
		}
		free, err := probe(host, port)
		if !free {
			continue
		}
		given.ports[port] = true
		return port, err
	}
	return 0, fmt.Errorf("no free port on %s between 12000 and 30000", host)
}

// probe reports whether the port is free, and listens on it meanwhile. While
// this program starts another one, the child has a copy of every socket until
// it executes: one made of the probe's would keep the port in use after the
// probe, for as long as the scheduler lets the child wait. The lock keeps
// children from being made in between.
func probe(host string, port int) (free bool, err error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return false, nil
	}
	return true, l.Close()
}

func freePorts(host string, n int) (ports []int, err error) {
	for len(ports) < n && err == nil {
		var port int
		port, err = FreePort(host)
		ports = append(ports, port)
	}
	return ports, err
}
