package service

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// shares counts how much of a limited number each remote address has.
type shares struct {
	most int // for one address
	by   map[netip.Prefix]int
}

// take adds one to an address, unless it has its share.
func (s *shares) take(remote netip.Prefix) bool {
	if !remote.IsValid() {
		return true
	}
	if s.by[remote] >= s.most {
		return false
	}
	if s.by == nil {
		s.by = map[netip.Prefix]int{}
	}
	s.by[remote]++
	return true
}

// give takes back what take added.
func (s *shares) give(remote netip.Prefix) {
	if !remote.IsValid() {
		return
	}
	if s.by[remote]--; s.by[remote] <= 0 {
		delete(s.by, remote)
	}
}

// remoteOf returns the address by which shares are counted: an IPv4 address, or the
// 64 bits of an IPv6 address that its owner can't choose. It is invalid where
// nothing is counted: on loopback, and where there is no address.
func remoteOf(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	return shareOf(tcp.AddrPort().Addr())
}

func shareOf(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	if !ip.IsValid() || ip.IsLoopback() {
		return netip.Prefix{}
	}
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		panic(fmt.Sprintf("service: an address of %d bits has no prefix of %d", ip.BitLen(), bits))
	}
	return p
}

// seldom limits a line of the log that anybody can cause to one in logPause.
type seldom struct {
	mu     sync.Mutex
	next   time.Duration // steady
	silent int
}

const logPause = 10 * time.Second

// may reports whether to log now, and how often the cause occurred since the last
// line, this time included.
func (t *seldom) may(now time.Duration) (since int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.silent++
	if t.next != 0 && now < t.next {
		return 0, false
	}
	since, t.silent, t.next = t.silent, 0, now+logPause
	return since, true
}
