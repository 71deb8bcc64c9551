package reach

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"
)

// lookupTimeout bounds the lookup of one name. A name that takes longer is looked up by
// dialing, which has a timeout of its own.
const lookupTimeout = 2 * time.Second

// Lookup returns the IPs of a host.
type Lookup func(ctx context.Context, host string) ([]netip.Addr, error)

// Found has the IPs of each URL, in the order of the URLs: nil if the URL has no name to
// look up, or nothing was found.
type Found [][]netip.Addr

// Named reports whether there are names to look up. A proxy in the environment looks
// names up by itself, and so does Config.HTTPClient.
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

// Find looks all names up at the same time, so a name server that does not answer for one
// name delays no other. Each time that a name's IPs are found, it calls take with
// everything that was found so far, for Take. It calls take on its own goroutine, and
// returns when all lookups have ended. It is safe for use beside all other methods.
//
// Go's dialer tries a name's next IP if dialing fails, but not if an established
// connection stops answering. So each IP is an address of its own.
func (as *Addresses) Find(ctx context.Context, take func(Found)) {
	type result struct {
		url int
		ips []netip.Addr
	}
	results := make(chan result)
	names := 0
	for i, u := range as.urls {
		if as.named(u) {
			names++
			go func() { results <- result{i, as.lookup(ctx, u.Hostname())} }()
		}
	}
	found := make(Found, len(as.urls))
	for range names {
		if r := <-results; len(r.ips) > 0 {
			found[r.url] = r.ips
			take(slices.Clone(found))
		}
	}
}

// Start returns when there is an address that needs no lookup: an IP, or the first name
// whose IPs are found; or when no lookup has a result. Other names stay addresses that
// dialing looks up. Start is for programs that make few calls, and must not be used
// beside Find.
func (as *Addresses) Start(ctx context.Context) {
	if as.StartKnown() || !as.Named() {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	first := make(chan Found, len(as.urls))
	go func() {
		as.Find(ctx, func(f Found) { first <- f })
		close(first)
	}()
	as.Take(<-first)
}

// StartKnown puts an address into use that needs no lookup, and reports whether there is
// one.
func (as *Addresses) StartKnown() bool {
	i := slices.IndexFunc(as.list, func(a *Address) bool { return !as.unknown(a) })
	if i >= 0 {
		as.current = as.list[i]
	}
	return i >= 0
}

// unknown reports whether dialing must look the address's name up.
func (as *Addresses) unknown(a *Address) bool { return !a.ip.IsValid() && as.named(a.url) }

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
		return nil // dialing the name reports why
	}
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	return ips
}
