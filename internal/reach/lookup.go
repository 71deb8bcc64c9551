package reach

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

// lookupTimeout bounds the lookup of one name. A name that takes longer is left
// to dialing, which has a time of its own.
const lookupTimeout = 2 * time.Second

// Lookup finds the IPs of a host.
type Lookup func(ctx context.Context, host string) ([]netip.Addr, error)

// Found are the IPs of each URL, in the URLs' order; nil where there is no name
// to look up, or nothing was found.
type Found [][]netip.Addr

// Named says whether there are names to look up. Those that a proxy of the
// environment is asked for are its business, and all are the HTTPClient's that
// was given.
func (as *Addresses) Named() bool {
	for _, u := range as.urls {
		if as.named(u) {
			return true
		}
	}
	return false
}

func (as *Addresses) named(u *url.URL) bool {
	if as.cfg.HTTPClient != nil {
		return false
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		return false
	}
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: u})
	return proxy == nil && err == nil
}

// Find looks all names up, for Take. It blocks, and is safe for use beside all
// other methods. The dialer of Go knows how to go on to a name's next IP when
// dialing fails, but not when a connection that was made falls silent: so each
// IP is an address of its own.
func (as *Addresses) Find(ctx context.Context) Found {
	found := make(Found, len(as.urls))
	for i, u := range as.urls {
		if as.named(u) {
			found[i] = as.lookup(ctx, u.Hostname())
		}
	}
	return found
}

func (as *Addresses) lookup(ctx context.Context, host string) []netip.Addr {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	lookup := as.cfg.Lookup
	if lookup == nil {
		lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	ips, err := lookup(ctx, host)
	if err != nil {
		return nil // dialing the name will say why
	}
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	return ips
}
