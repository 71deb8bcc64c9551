package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/internal/reach"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// callTimeout bounds a call of a command, beside what it asks to wait for.
const callTimeout = 10 * time.Second

// addAddr adds the flag that says where the service is.
func addAddr(cmd *cobra.Command) {
	cmd.Flags().String("addr", "http://127.0.0.1:50051", "`URLs` of the service, comma-separated: what one doesn't answer, the next is asked; http:// may be left out, and :50051 with it")
}

// addPool adds the flag that names the pool.
func addPool(cmd *cobra.Command) {
	cmd.Flags().String("pool", "default", "`name` of the pool")
}

// address is what --addr says, as URLs.
func address(cmd *cobra.Command) (string, error) {
	addr, err := cmd.Flags().GetString("addr")
	if err != nil {
		return "", err
	}
	urls := strings.Split(addr, ",")
	for i, u := range urls {
		urls[i] = withScheme(strings.TrimSpace(u))
	}
	addr = strings.Join(urls, ",")
	if _, err := reach.Parse(addr); err != nil {
		return "", usagef("--addr: %v", err)
	}
	return addr, nil
}

// defaultPort is where a service listens that is told nothing else.
const defaultPort = "50051"

// withScheme completes an address that is no URL: with http:// and, where it has
// none, the port. A URL is left as it is.
func withScheme(addr string) string {
	if addr == "" || strings.Contains(addr, "://") {
		return addr
	}
	if ip, err := netip.ParseAddr(strings.Trim(addr, "[]")); err == nil {
		return "http://" + net.JoinHostPort(ip.String(), defaultPort)
	}
	host, path, _ := strings.Cut(addr, "/")
	if !strings.Contains(host, ":") {
		host = net.JoinHostPort(host, defaultPort)
	}
	if path != "" {
		host += "/" + path
	}
	return "http://" + host
}

// dialed is the service, at the addresses that --addr names, with a client of
// type C for the one that is in use.
type dialed[C any] struct {
	addrs  *reach.Addresses
	client func(connect.HTTPClient, string, ...connect.ClientOption) C
}

type (
	leaseService = dialed[cirrusv1connect.LeaseServiceClient]
	adminService = dialed[cirrusv1connect.AdminServiceClient]
)

// dialLeases and dialAdmin return the service that --addr names. Nothing is sent
// until it is asked.
func dialLeases(cmd *cobra.Command) (*leaseService, error) {
	addrs, err := dial(cmd, reach.Config{})
	return &leaseService{addrs, cirrusv1connect.NewLeaseServiceClient}, err
}

func dialAdmin(cmd *cobra.Command) (*adminService, error) {
	addrs, err := dial(cmd, reach.Config{})
	return &adminService{addrs, cirrusv1connect.NewAdminServiceClient}, err
}

// dialWatch speaks HTTP/2, whose pings tell when a stream on which nothing
// happens leads nowhere.
func dialWatch(cmd *cobra.Command) (*adminService, error) {
	addrs, err := dial(cmd, reach.Config{HTTP2: true})
	return &adminService{addrs, cirrusv1connect.NewAdminServiceClient}, err
}

func dial(cmd *cobra.Command, c reach.Config) (*reach.Addresses, error) {
	target, err := address(cmd)
	if err != nil {
		return nil, err
	}
	urls, err := reach.Parse(target)
	if err != nil {
		return nil, err
	}
	c.Random = rand.Uint64
	addrs := reach.New(urls, c)
	addrs.Start(cmd.Context())
	return addrs, nil
}

// at returns the client for an address.
func (d *dialed[C]) at(a *reach.Address) C { return d.client(a.HTTPClient(), a.Base()) }

// ask makes a call, in callTimeout, at one address after the other until one
// answers. It must do no harm to make it twice.
func ask[C, Req, Resp any](cmd *cobra.Command, d *dialed[C], rpc func(C, context.Context, *Req) (*Resp, error), req *Req) (*Resp, error) {
	ctx, cancel := callContext(cmd, 0)
	defer cancel()
	resp, err := askAll(ctx, d, rpc, req)
	return resp, explain(err)
}

// askAll gives each address an equal share of the time that is left.
func askAll[C, Req, Resp any](ctx context.Context, d *dialed[C], rpc func(C, context.Context, *Req) (*Resp, error), req *Req) (*Resp, error) {
	for left := d.addrs.Len(); ; left-- {
		deadline, _ := ctx.Deadline()
		resp, err := askOne(ctx, time.Until(deadline)/time.Duration(left), d, rpc, req)
		switch {
		case !reach.Elsewhere(err):
			return resp, err
		case ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded): // interrupted
			return nil, err
		case left == 1:
			return nil, d.addrs.Err()
		}
	}
}

// askOne asks the address in use, and leaves it if it doesn't answer.
func askOne[C, Req, Resp any](ctx context.Context, most time.Duration, d *dialed[C], rpc func(C, context.Context, *Req) (*Resp, error), req *Req) (*Resp, error) {
	a := d.addrs.Use()
	try, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	resp, err := rpc(d.at(a), try, req)
	if !reach.Elsewhere(err) {
		d.addrs.Answered(a)
		return resp, err
	}
	if errors.Is(try.Err(), context.DeadlineExceeded) {
		err = connect.NewError(connect.CodeDeadlineExceeded, noAnswerIn(most))
	}
	d.addrs.Leave(a, err)
	return nil, err
}

func noAnswerIn(d time.Duration) error {
	return fmt.Errorf("no answer in %v", d.Round(100*time.Millisecond))
}

// queueTime is how much of a wait for a lease is spent in the service's queue:
// a little less than all, so that the service gets to say why it took so long.
func queueTime(wait time.Duration) time.Duration { return min(wait*9/10, fencing.MaxWait) }

// callContext bounds one call, wait included.
func callContext(cmd *cobra.Command, wait time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(cmd.Context(), callTimeout+wait)
}

// answeredError is an error of the service, in words for its user.
type answeredError struct {
	text  string
	error // what the service said, with its details
}

// Error gives the words.
func (e answeredError) Error() string { return e.text }

// Unwrap gives the error as it came.
func (e answeredError) Unwrap() error { return e.error }

// explain turns a call's error into the sentence that its user should read.
func explain(err error) error {
	var all reach.Failures
	if errors.As(err, &all) {
		texts := make([]string, len(all))
		for i, f := range all {
			texts[i] = fmt.Sprintf("%s: %s", f.Address, message(f.Err))
		}
		return fmt.Errorf("no address of the service can be used: %s; is `cirrus serve` running, and is --addr right?%s", strings.Join(texts, "; "), proxyHint())
	}
	var e *connect.Error
	if !errors.As(err, &e) {
		return err
	}
	switch {
	case connect.IsWireError(err):
		return answeredError{message(err), e}
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted before there was an answer: what was asked for may have been done or not")
	}
	return fmt.Errorf("the service can't be reached: %s; is `cirrus serve` running, and is --addr right?%s", message(err), proxyHint())
}

// proxyHint names the proxy that the environment asks for, if it does: it, and
// not the service, may be what fails.
func proxyHint() string {
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"} {
		if proxy, err := url.Parse(os.Getenv(name)); err == nil && os.Getenv(name) != "" {
			return fmt.Sprintf(" Hosts other than this one are reached by the proxy that %s names, %s, unless NO_PROXY has them.", name, proxy.Redacted())
		}
	}
	return ""
}

// message is the sentence in an error, with its code if it is the service's.
func message(err error) string {
	var e *connect.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	text := string(escape([]byte(e.Message()))) // it may repeat what somebody sent
	if connect.IsWireError(err) {
		return fmt.Sprintf("%s (%s)", text, e.Code())
	}
	return text
}
