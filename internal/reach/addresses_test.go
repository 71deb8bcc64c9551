package reach

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/fencing"
)

func newAddresses(t *testing.T, target string, seed uint64) *Addresses {
	urls, err := Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	as := New(urls, Config{Random: func() uint64 { return seed }})
	t.Cleanup(as.Close)
	return as
}

// texts returns the addresses in the user's order.
func (as *Addresses) texts() []string {
	var texts []string
	for _, a := range as.list {
		texts = append(texts, a.String())
	}
	return texts
}

func found(ips ...string) Found {
	f := Found{nil}
	for _, ip := range ips {
		f[0] = append(f[0], netip.MustParseAddr(ip))
	}
	return f
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		target string
		want   int    // number of URLs; 0: an error
		hint   string // a part of the error
	}{
		{target: "http://a:1", want: 1},
		{target: "http://a:1, http://b:2/x ,http://[::1]:3", want: 3},
		{target: "https://a,https://b", want: 2},
		{target: "", hint: "http://host:port"},
		{target: "http://a:1,", hint: "http://host:port"},
		{target: "http://a:1,b:2", hint: "http://host:port"},
		{target: "ftp://a", hint: "http://host:port"},
		{target: "http://a,https://b", hint: "for all"},
		{target: "http://a?x=y", hint: "leave out"},
		{target: "http://a:b", hint: "invalid port"},
		{target: strings.Repeat("http://a,", fencing.MaxAddresses) + "http://a", hint: "65"},
	} {
		urls, err := Parse(tt.target)
		if len(urls) != tt.want || (err == nil) != (tt.want > 0) || err != nil &&
			!strings.Contains(err.Error(), tt.hint) {
			t.Errorf("Parse(%q): %v, %v; want %d URLs, or an error with %q", tt.target, urls, err,
				tt.want, tt.hint)
		}
	}
	if _, err := Parse("https://u:secret@a,http://b"); err == nil ||
		strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v, want one without the password", err)
	}
}

// A single address draws no random number. So a holder with one address makes its
// instance IDs from the same numbers as before there were several, and kept seeds of the
// simulator keep their outcomes.
func TestSingleAddressDrawsNothing(t *testing.T) {
	urls, err := Parse("http://server.test")
	if err != nil {
		t.Fatal(err)
	}
	as := New(urls, Config{HTTPClient: http.DefaultClient}) // Random is nil
	if a := as.Use(); as.Leave(a, errors.New("no")) || as.Use() != a || as.Len() != 1 ||
		as.Named() {
		t.Errorf("%v of %d, named: %t", as.Use(), as.Len(), as.Named())
	}
}

func TestLeave(t *testing.T) {
	as := newAddresses(t, "http://127.0.0.1:1,http://127.0.0.1:2,http://127.0.0.1:3", 7)
	first, no := as.Use(), errors.New("no")
	if as.Err() != nil {
		t.Errorf("Err before any call: %v, want nil", as.Err())
	}
	if !as.Leave(first, no) || as.Use() == first {
		t.Errorf("uses %v after its failure, want another address", as.Use())
	}
	second := as.Use()
	if as.Leave(first, no) || as.Use() != second {
		t.Errorf("left %v after a second failure of %v", second, first)
	}
	as.Leave(second, no)
	third := as.Use()
	if as.Leave(first, no) || as.Use() != third {
		t.Errorf("left %v after a further failure of %v", third, first)
	}
	as.Leave(third, no)
	if as.Use() != first || third == first || third == second {
		t.Errorf("used %v, %v, %v and then %v; want three addresses, and the first again", first,
			second, third, as.Use())
	}
	want := "http://127.0.0.1:1: no; http://127.0.0.1:2: no; http://127.0.0.1:3: no"
	if err := as.Err(); err == nil || err.Error() != want || !errors.Is(err, no) {
		t.Errorf("error %v, want %s", err, want)
	}
	as.Answered(first)
	if as.Err() != nil || !first.Works() {
		t.Errorf("Err while %v works: %v, want nil", first, as.Err())
	}
}

// Each user has an order of addresses of its own, and keeps it.
func TestOrders(t *testing.T) {
	orders := map[string]int{}
	for seed := range uint64(600) {
		as := newAddresses(t, "http://example.com:1", seed)
		as.Take(found("10.0.0.1", "10.0.0.2", "10.0.0.3"))
		order := as.texts()
		orders[fmt.Sprint(order)]++
		as.Take(found("10.0.0.3", "10.0.0.1"))
		as.Take(found("10.0.0.2", "10.0.0.3", "10.0.0.1", "10.0.0.2"))
		if again := as.texts(); !slices.Equal(order, again) {
			t.Fatalf("the order was %v, and %v after further lookups", order, again)
		}
	}
	if len(orders) != 6 {
		t.Errorf("600 users have %d orders of 3 addresses, want all 6", len(orders))
	}
	for order, n := range orders {
		if n < 60 || n > 140 {
			t.Errorf("%d of 600 users have the order %s, want about 100", n, order)
		}
	}
}

// An address that works stays in use. One that failed does not if it is not found again.
// A lookup without a result removes no address.
func TestTake(t *testing.T) {
	as := newAddresses(t, "http://example.com:1", 7)
	if !as.Named() || as.Use().String() != "http://example.com:1" {
		t.Errorf("starts with %v, want the name", as.texts())
	}
	as.Take(found("10.0.0.1"))
	one := as.Use()
	if one.String() != "http://example.com:1 (10.0.0.1)" || one.Base() != "http://example.com:1" {
		t.Errorf("uses %v, base %s", one, one.Base())
	}
	as.Take(Found{nil})
	if as.Use() != one || as.Len() != 1 {
		t.Errorf("after a lookup without a result: %v, want %v", as.texts(), one)
	}
	as.Answered(one)
	as.Take(found("10.0.0.2"))
	if as.Use() != one {
		t.Errorf("left %v, which works, for %v", one, as.Use())
	}
	as.Leave(one, errors.New("no"))
	two := as.Use()
	if two.String() != "http://example.com:1 (10.0.0.2)" {
		t.Errorf("uses %v, want 10.0.0.2", two)
	}
	as.Leave(two, errors.New("no"))
	as.Take(found("10.0.0.3"))
	if as.Use().String() != "http://example.com:1 (10.0.0.3)" {
		t.Errorf("uses %v, want 10.0.0.3", as.Use())
	}
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("10.0.1.%d", i))
	}
	as.Take(found(many...))
	if as.Len() != fencing.MaxAddresses {
		t.Errorf("%d addresses, want %d", as.Len(), fencing.MaxAddresses)
	}
}

// Names are looked up, and IPs are not. A name that can't be found affects no other.
func TestFind(t *testing.T) {
	as := newAddresses(t, "http://a.test:1,http://127.0.0.1:2,http://b.test:3", 7)
	as.cfg.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("the lookup has no deadline")
		}
		if host == "a.test" {
			return nil, errors.New("no such host")
		}
		return []netip.Addr{netip.MustParseAddr("::ffff:10.0.0.1"), netip.MustParseAddr("fd00::1")},
			nil
	}
	as.Find(t.Context(), as.Take)
	got := as.texts()
	slices.Sort(got)
	want := []string{"http://127.0.0.1:2", "http://a.test:1", "http://b.test:3 (10.0.0.1)",
		"http://b.test:3 (fd00::1)"}
	if !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
}

// quietNames is a lookup that never answers for a host whose name begins with "quiet". It
// sends each such name on asked.
type quietNames struct{ asked chan string }

func (q quietNames) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if strings.HasPrefix(host, "quiet") {
		q.asked <- host
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return []netip.Addr{netip.MustParseAddr("10.0.0.1")}, nil
}

// A name server that does not answer for some names delays no other name.
func TestFindSideBySide(t *testing.T) {
	as := newAddresses(t, "http://quiet-a.test:1,http://b.test:2,http://quiet-c.test:3", 7)
	names := quietNames{make(chan string)}
	as.cfg.Lookup = names.lookup
	ctx, cancel := context.WithCancel(t.Context())
	known, done := make(chan Found), make(chan struct{})
	go func() {
		defer close(done)
		as.Find(ctx, func(f Found) { known <- f })
	}()
	f := <-known
	<-names.asked
	<-names.asked // both lookups are in progress, and neither has answered
	as.Take(f)
	if got, want := as.Use().String(), "http://b.test:2 (10.0.0.1)"; got != want {
		t.Errorf("in use: %s, want the one that was found, %s", got, want)
	}
	if as.Len() != 3 {
		t.Errorf("%d addresses, want all 3: the others may be found when they are dialed", as.Len())
	}
	cancel()
	<-done
}

// Start waits for the first address, not for all.
func TestStart(t *testing.T) {
	for target, want := range map[string]string{
		"http://quiet-a.test:1,http://127.0.0.1:2":                    "http://127.0.0.1:2",
		"http://quiet-a.test:1,http://b.test:2,http://quiet-c.test:3": "http://b.test:2 (10.0.0.1)",
	} {
		for seed := range uint64(8) {
			as := newAddresses(t, target, seed)
			as.cfg.Lookup = quietNames{make(chan string, 2)}.lookup
			as.Start(t.Context())
			if got := as.Use().String(); got != want {
				t.Errorf("%s, seed %d: starts with %s, want %s", target, seed, got, want)
			}
		}
	}
}

func TestElsewhere(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{errors.New("connection refused"), true},
		{connect.NewError(connect.CodeUnknown, errors.New("reset")), true},
		{connect.NewWireError(connect.CodeUnavailable, errors.New("no leader")), true},
		{connect.NewWireError(connect.CodeDeadlineExceeded, errors.New("too late")), true},
		{connect.NewWireError(connect.CodeUnimplemented, errors.New("not ours")), true},
		{connect.NewWireError(connect.CodeFailedPrecondition, errors.New("lost")), false},
		{connect.NewWireError(connect.CodeResourceExhausted, errors.New("full")), false},
		{connect.NewWireError(connect.CodeNotFound, errors.New("no pool")), false},
		{connect.NewWireError(connect.CodeInternal, errors.New("bug")), false},
	} {
		if got := Elsewhere(tt.err); got != tt.want {
			t.Errorf("Elsewhere(%v) is %t, want %t", tt.err, got, tt.want)
		}
	}
}
