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

// Parse reads URLs of the service, separated by commas: each http:// or https://
// and the same as the others, at most fencing.MaxAddresses.
func Parse(target string) ([]*url.URL, error) {
	parts := strings.Split(target, ",")
	if len(parts) > fencing.MaxAddresses {
		return nil, fmt.Errorf("%d URLs of the service: give %d at most, or a DNS name that has them all", len(parts), fencing.MaxAddresses)
	}
	urls := make([]*url.URL, len(parts))
	for i, part := range parts {
		u, err := parse(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		if i > 0 && u.Scheme != urls[0].Scheme {
			return nil, fmt.Errorf("the service's URLs %s and %s: give http:// or https:// for all, so that none is less safe than the others", urls[0].Redacted(), u.Redacted())
		}
		urls[i] = u
	}
	return urls, nil
}

func parse(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil && strings.Count(text, ":") > 2 && !strings.Contains(text, "["):
		return nil, fmt.Errorf("the service's URL %q: an IPv6 address stands in brackets, as in http://[::1]:50051", text)
	case err != nil:
		return nil, fmt.Errorf("the service's URL: %w", err)
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return nil, fmt.Errorf("the service's URL %q: give http://host:port or https://host:port, or several with commas between them", text)
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("the service's URL %q: leave out what follows ? and #", text)
	}
	return u, nil
}

// Config says how to reach the addresses.
type Config struct {
	// TLS is used for https:// URLs. nil: the system's roots.
	TLS *tls.Config
	// HTTP2 speaks nothing but HTTP/2.
	HTTP2 bool
	// HTTPClient is used for all addresses, if set; then host names are left to
	// it. nil: a client of our own for each, with TLS and HTTP2.
	HTTPClient connect.HTTPClient
	// Random is asked for one number if there ever are several addresses: by that
	// users spread over them.
	Random func() uint64
	// Lookup finds the IPs of a host. nil: the system's resolver does.
	Lookup Lookup
}

// Address is one place at which the service may answer: a URL and, where the
// URL's host is a name that was looked up, one of its IPs.
type Address struct {
	url    *url.URL
	ip     netip.Addr // the zero one: whatever dialing the host finds
	client connect.HTTPClient
	drop   func() // closes the connections that carry nothing now

	// works: it has answered since it was last left. err is why it was left; nil
	// if it has answered since, or never was.
	works bool
	err   error
}

// Base is the URL, host name and all, for an RPC client.
func (a *Address) Base() string { return strings.TrimRight(a.url.String(), "/") }

// HTTPClient sends to this address alone.
func (a *Address) HTTPClient() connect.HTTPClient { return a.client }

// Works says whether it has answered since it was last left.
func (a *Address) Works() bool { return a.works }

// String names it for people, without a password.
func (a *Address) String() string {
	if !a.ip.IsValid() {
		return a.url.Redacted()
	}
	return fmt.Sprintf("%s (%v)", a.url.Redacted(), a.ip)
}

// Addresses are all that are known, and the one in use. Not safe for concurrent
// use, but for Find.
type Addresses struct {
	cfg  Config
	urls []*url.URL
	// list is never empty. Its order is this user's own, and stays so however
	// often names are looked up: of two addresses the same one comes first.
	list    []*Address
	current *Address // mostly one of the list
	seed    uint64
	seeded  bool
	open    conns
}

// New returns the addresses of URLs, none of them looked up yet.
func New(urls []*url.URL, cfg Config) *Addresses {
	as := &Addresses{cfg: cfg, urls: urls, open: conns{open: map[*conn]struct{}{}}}
	as.Take(nil)
	return as
}

// Len is how many there are: at least one, and at most fencing.MaxAddresses.
func (as *Addresses) Len() int { return len(as.list) }

// Use returns the address in use, for one call. If it failed the last time, its
// connections are dropped, so that the call doesn't go where nobody listens.
func (as *Addresses) Use() *Address {
	if as.current.err != nil {
		as.current.drop()
	}
	return as.current
}

// Answered notes that an address works.
func (as *Addresses) Answered(a *Address) { a.works, a.err = true, nil }

// Leave goes on to the next address, because of err, if a is still in use. It
// says whether that is news: there is another one, and a had not failed before.
func (as *Addresses) Leave(a *Address, err error) bool {
	first := a.err == nil
	a.works, a.err = false, err
	if a == as.current {
		as.current = as.list[(slices.Index(as.list, a)+1)%len(as.list)]
	}
	return first && as.current != a
}

// Err says why no address can be used: for a lone one, as it was told to Leave;
// for several, a Failures with all of which it is known. nil: the one in use
// works, or no reason is known.
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

// Take takes over what Find found; of a name of which it found nothing, the
// addresses that are known already. An address that works stays in use, even if
// it was not found again.
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

// with adds an address, the known one if there is one, unless the list has it.
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

// sort puts the list into this user's own order. A thousand users begin all
// over the list, and leave one address for as many others.
func (as *Addresses) sort(list []*Address) {
	if len(list) < 2 {
		return
	}
	if !as.seeded {
		as.seed, as.seeded = as.cfg.Random(), true
	}
	slices.SortFunc(list, func(a, b *Address) int { return cmp.Compare(as.rank(a), as.rank(b)) })
}

// rank is a number as good as random for a user and an address.
func (as *Addresses) rank(a *Address) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(a.String()))
	x := h.Sum64() ^ as.seed
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9 // else near hashes would stay near
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Close closes all connections, and those still to come. All calls must have
// returned. An HTTPClient that was given is left as it is.
func (as *Addresses) Close() {
	for _, a := range as.list {
		a.drop()
	}
	as.open.close()
}

// Elsewhere says whether a call that failed should go to another address: it
// was not answered, or not by a service that can. Other errors are a working
// service's word, which another address would only repeat.
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

// Failures is why several addresses can't be used.
type Failures []Failure

// Error names each address with its error.
func (f Failures) Error() string {
	texts := make([]string, len(f))
	for i, one := range f {
		texts[i] = fmt.Sprintf("%s: %v", one.Address, one.Err)
	}
	return strings.Join(texts, "; ")
}

// Unwrap gives the errors.
func (f Failures) Unwrap() []error {
	errs := make([]error, len(f))
	for i, one := range f {
		errs[i] = one.Err
	}
	return errs
}
