package reach

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"hash/fnv"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/fencing"
)

// Parse returns the URLs of the service in a comma-separated list. All must be http://,
// or all https://. There may be at most fencing.MaxAddresses.
func Parse(target string) ([]*url.URL, error) {
	parts := strings.Split(target, ",")
	if len(parts) > fencing.MaxAddresses {
		return nil, fmt.Errorf(
			"%d URLs of the service: give at most %d, or a DNS name that resolves to all of them",
			len(parts), fencing.MaxAddresses)
	}
	urls := make([]*url.URL, len(parts))
	for i, part := range parts {
		u, err := parse(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		if i > 0 && u.Scheme != urls[0].Scheme {
			return nil, fmt.Errorf(
				"the service's URLs %s and %s: give http:// for all or https:// for all, so that all are equally protected", urls[0].Redacted(), u.Redacted())
		}
		urls[i] = u
	}
	return urls, nil
}

func parse(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil && strings.Count(text, ":") > 2 && !strings.Contains(text, "["):
		return nil, fmt.Errorf(
			"the service's URL %q: put an IPv6 address in brackets, as in http://[::1]:50051", text)
	case err != nil:
		return nil, fmt.Errorf("the service's URL: %w", err)
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return nil, fmt.Errorf(
			"the service's URL %q: give http://host:port or https://host:port, or several, separated by commas", text)
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("the service's URL %q: leave out what follows ? and #", text)
	}
	return u, nil
}

// Config says how to reach the addresses.
type Config struct {
	// TLS is used for https:// URLs. nil: the system's roots.
	TLS *tls.Config
	// HTTP2 allows no protocol but HTTP/2.
	HTTP2 bool
	// HTTPClient is used for all addresses, and resolves host names. nil: each address
	// gets a client of its own, made with TLS and HTTP2.
	HTTPClient connect.HTTPClient
	// Random is called once, when there are several addresses. The number spreads users
	// over the addresses.
	Random func() uint64
	// Lookup returns the IPs of a host. nil: the system's resolver.
	Lookup Lookup
}

// Address is a place at which the service may answer: a URL and, if the URL's host is a
// name that was looked up, one IP of that name.
type Address struct {
	url    *url.URL
	ip     netip.Addr // zero: the one that dialing the host finds
	client connect.HTTPClient
	drop   func() // closes idle connections

	// works says that the address has answered since its last failure. err is that
	// failure; nil if the address has answered since, or has not failed.
	works bool
	err   error
}

// Base returns the URL, with the host name, for an RPC client.
func (a *Address) Base() string { return strings.TrimRight(a.url.String(), "/") }

// HTTPClient returns a client that sends to this address only.
func (a *Address) HTTPClient() connect.HTTPClient { return a.client }

// Works reports whether the address has answered since its last failure.
func (a *Address) Works() bool { return a.works }

// String returns the address for people, without a password.
func (a *Address) String() string {
	if !a.ip.IsValid() {
		return a.url.Redacted()
	}
	return fmt.Sprintf("%s (%v)", a.url.Redacted(), a.ip)
}

// Addresses are all known addresses, and the one in use. They are not safe for
// concurrent use; only Find is.
type Addresses struct {
	cfg  Config
	urls []*url.URL
	// list is never empty. Each user has its own order of addresses. The order of two
	// addresses does not change when names are looked up again.
	list    []*Address
	current *Address // in list, or an address that works and was not found again
	seed    uint64
	seeded  bool
	open    conns
}

// New returns the addresses of URLs. It looks no name up.
func New(urls []*url.URL, cfg Config) *Addresses {
	as := &Addresses{cfg: cfg, urls: urls, open: conns{open: map[*conn]struct{}{}}}
	as.Take(nil)
	return as
}

// Len returns the number of addresses, 1 to fencing.MaxAddresses.
func (as *Addresses) Len() int { return len(as.list) }

// Use returns the address in use, for one call. If the address failed the last time, Use
// closes its idle connections, so that the call does not use one that is broken.
func (as *Addresses) Use() *Address {
	if as.current.err != nil {
		as.current.drop()
	}
	return as.current
}

// Answered records that an address has answered.
func (as *Addresses) Answered(a *Address) { a.works, a.err = true, nil }

// Leave records that an address failed with err, and goes on to the next one if a is
// still in use. It reports whether this is worth logging: there is another address, and
// this is the first failure of a since it last answered.
func (as *Addresses) Leave(a *Address, err error) bool {
	first := a.err == nil
	a.works, a.err = false, err
	if a == as.current {
		as.current = as.list[(slices.Index(as.list, a)+1)%len(as.list)]
	}
	return first && as.current != a
}

// Err returns why no address can be used: the error given to Leave if there is one
// address, else Failures with the error of each that has failed. It returns nil if the
// address in use works, or none has failed.
func (as *Addresses) Err() error {
	if as.current.works {
		return nil
	}
	if len(as.list) == 1 {
		return as.list[0].err
	}
	var all Failures
	for _, a := range as.list {
		if a.err != nil {
			all = append(all, Failure{a.String(), a.err})
		}
	}
	if all == nil {
		return nil
	}
	slices.SortFunc(all, func(a, b Failure) int { return strings.Compare(a.Address, b.Address) })
	return all
}

// Take replaces the addresses by those that Find found. For a name without a result it
// keeps the known addresses. An address that works stays in use even if it was not found
// again.
func (as *Addresses) Take(found Found) {
	var list []*Address
	for i, u := range as.urls {
		if i < len(found) && len(found[i]) > 0 {
			for _, ip := range found[i] {
				list = as.with(list, u, ip)
			}
			continue
		}
		before := len(list)
		for _, a := range as.list {
			if a.url == u {
				list = append(list, a)
			}
		}
		if len(list) == before {
			list = as.with(list, u, netip.Addr{})
		}
	}
	as.sort(list)
	list = list[:min(len(list), fencing.MaxAddresses)]
	for _, a := range as.list {
		if !slices.Contains(list, a) {
			a.drop()
		}
	}
	as.list = list
	if as.current == nil || !as.current.works && !slices.Contains(list, as.current) {
		as.current = list[0]
	}
	if untried := !as.current.works && as.current.err == nil; untried && as.unknown(as.current) {
		as.StartKnown()
	}
}

// with returns the list with an address added, unless the list has it. If the address is
// known already, with adds the known one.
func (as *Addresses) with(list []*Address, u *url.URL, ip netip.Addr) []*Address {
	base := strings.TrimRight(u.String(), "/")
	same := func(a *Address) bool { return a.Base() == base && a.ip == ip }
	if slices.ContainsFunc(list, same) {
		return list
	}
	if i := slices.IndexFunc(as.list, same); i >= 0 {
		return append(list, as.list[i])
	}
	if as.current != nil && same(as.current) {
		return append(list, as.current)
	}
	a := &Address{url: u, ip: ip, client: as.cfg.HTTPClient, drop: func() {}}
	if a.client == nil {
		t := NewTransport(as.cfg.TLS, as.cfg.HTTP2)
		if ip.IsValid() {
			pin(t, u.Hostname(), ip)
		}
		as.open.watch(t)
		a.client, a.drop = NewClient(t), t.CloseIdleConnections
	}
	return append(list, a)
}

// sort puts the list into this user's own order. So many users start with all the
// addresses alike, and when one address fails they spread over all the others.
func (as *Addresses) sort(list []*Address) {
	if len(list) < 2 {
		return
	}
	if !as.seeded {
		as.seed, as.seeded = as.cfg.Random(), true
	}
	slices.SortFunc(list, func(a, b *Address) int { return cmp.Compare(as.rank(a), as.rank(b)) })
}

// rank returns a number that is as good as random for each user and address.
func (as *Addresses) rank(a *Address) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(a.String()))
	x := h.Sum64() ^ as.seed
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9 // spreads hashes that are close
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Close closes all connections, and those that are dialed later. All calls must have
// returned. It does not touch Config.HTTPClient.
func (as *Addresses) Close() {
	for _, a := range as.list {
		a.drop()
	}
	as.open.close()
}

// Elsewhere reports whether a call that failed should go to another address: no service
// answered it, or only one that cannot serve it now. Other errors come from a service
// that works, and another address would return them again.
func Elsewhere(err error) bool {
	if err == nil {
		return false
	}
	switch connect.CodeOf(err) {
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded, connect.CodeUnimplemented:
		return true
	}
	return !connect.IsWireError(err)
}

// Failure is why one address can't be used.
type Failure struct {
	Address string
	Err     error
}

// Failures says why each of several addresses can't be used.
type Failures []Failure

// Error returns each address with its error.
func (f Failures) Error() string {
	texts := make([]string, len(f))
	for i, one := range f {
		texts[i] = fmt.Sprintf("%s: %v", one.Address, one.Err)
	}
	return strings.Join(texts, "; ")
}

// Unwrap returns the errors.
func (f Failures) Unwrap() []error {
	errs := make([]error, len(f))
	for i, one := range f {
		errs[i] = one.Err
	}
	return errs
}
