package dial

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/internal/reach"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// CallTimeout is the timeout of a call, without the time that the request asks the
// service to wait.
const CallTimeout = 10 * time.Second

// AddFlag adds --addr, the addresses of the service.
func AddFlag(cmd *cobra.Command) {
	cmd.Flags().String("addr", "http://127.0.0.1:50051",
		"`URLs` of the service, comma-separated: if one does not answer, the next is asked; http:// "+
			"may be left out, and with it :50051")
}

// Address returns the value of --addr, with each address as a URL.
func Address(cmd *cobra.Command) (string, error) {
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
		return "", exit.Usagef("--addr: %v", err)
	}
	return addr, nil
}

// defaultPort is the port on which a service listens by default.
const defaultPort = "50051"

// withScheme completes an address that is no URL: it adds http://, and the default
// port if there is none. It returns a URL unchanged.
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

// Service is the service, with clients of type C.
type Service[C any] struct {
	// Addrs are the addresses that --addr names, one of which is in use.
	Addrs *reach.Addresses
	// Client makes a client for one address.
	Client func(connect.HTTPClient, string, ...connect.ClientOption) C
}

type (
	// LeaseService is the service that apps call.
	LeaseService = Service[cirrusv1connect.LeaseServiceClient]
	// AdminService is the service that operators call.
	AdminService = Service[cirrusv1connect.AdminServiceClient]
)

// Leases returns the lease service that --addr names. It sends nothing.
func Leases(cmd *cobra.Command) (*LeaseService, error) {
	addrs, err := dial(cmd, reach.Config{})
	return &LeaseService{Addrs: addrs, Client: cirrusv1connect.NewLeaseServiceClient}, err
}

// Admin returns the admin service that --addr names. It sends nothing.
func Admin(cmd *cobra.Command) (*AdminService, error) {
	addrs, err := dial(cmd, reach.Config{})
	return &AdminService{Addrs: addrs, Client: cirrusv1connect.NewAdminServiceClient}, err
}

// Watch returns the admin service for streams. It speaks HTTP/2, whose pings find
// broken connections even while a stream has nothing to send.
func Watch(cmd *cobra.Command) (*AdminService, error) {
	addrs, err := dial(cmd, reach.Config{HTTP2: true})
	return &AdminService{Addrs: addrs, Client: cirrusv1connect.NewAdminServiceClient}, err
}

func dial(cmd *cobra.Command, c reach.Config) (*reach.Addresses, error) {
	target, err := Address(cmd)
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

// At returns a client for an address.
func (d *Service[C]) At(a *reach.Address) C { return d.Client(a.HTTPClient(), a.Base()) }

// Ask makes a call at one address after the other until one answers, for
// CallTimeout in all. A call that is made twice must do no harm.
func Ask[C, Req, Resp any](cmd *cobra.Command, d *Service[C],
	rpc func(C, context.Context, *Req) (*Resp, error), req *Req) (*Resp, error) {
	ctx, cancel := CallContext(cmd, 0)
	defer cancel()
	resp, err := askAll(ctx, d, rpc, req)
	return resp, Explain(err)
}

// askAll makes a call at one address after the other until one answers. Each address
// gets an equal share of the remaining time.
func askAll[C, Req, Resp any](ctx context.Context, d *Service[C],
	rpc func(C, context.Context, *Req) (*Resp, error), req *Req) (*Resp, error) {
	for remaining := d.Addrs.Len(); ; remaining-- {
		deadline, _ := ctx.Deadline()
		resp, err := askOne(ctx, time.Until(deadline)/time.Duration(remaining), d, rpc, req)
		switch {
		case !reach.Elsewhere(err):
			return resp, err
		case ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded): // interrupted
			return nil, err
		case remaining == 1:
			return nil, d.Addrs.Err()
		}
	}
}

// askOne makes a call at the address in use, and moves on to another address if that
// one does not answer.
func askOne[C, Req, Resp any](ctx context.Context, most time.Duration, d *Service[C],
	rpc func(C, context.Context, *Req) (*Resp, error), req *Req) (*Resp, error) {
	a := d.Addrs.Use()
	try, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	resp, err := rpc(d.At(a), try, req)
	if !reach.Elsewhere(err) {
		d.Addrs.Answered(a)
		return resp, err
	}
	if errors.Is(try.Err(), context.DeadlineExceeded) {
		err = connect.NewError(connect.CodeDeadlineExceeded, NoAnswerIn(most))
	}
	d.Addrs.Leave(a, err)
	return nil, err
}

// NoAnswerIn is the error of an address that did not answer in time.
func NoAnswerIn(d time.Duration) error {
	return fmt.Errorf("no answer in %v", d.Round(100*time.Millisecond))
}

// QueueTime returns how long a request queues for a node ID if its caller waits for
// wait: a little less, so that the service's own refusal arrives in time.
func QueueTime(wait time.Duration) time.Duration { return min(wait*9/10, fencing.MaxWait) }

// CallContext returns a context for a call that asks the service to wait for wait.
func CallContext(cmd *cobra.Command, wait time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(cmd.Context(), CallTimeout+wait)
}
