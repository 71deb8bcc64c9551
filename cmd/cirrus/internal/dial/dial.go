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

// CallTimeout bounds a call of a command, beside what it asks to wait for.
const CallTimeout = 10 * time.Second

// AddFlag adds the flag that says where the service is.
func AddFlag(cmd *cobra.Command) {
	cmd.Flags().String("addr", "http://127.0.0.1:50051", "`URLs` of the service, comma-separated: what one doesn't answer, the next is asked; http:// may be left out, and :50051 with it")
}

// Address is what --addr says, as URLs.
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

// Service is the service, at the addresses that --addr names, with a client of
// type C for the one that is in use.
type Service[C any] struct {
	Addrs  *reach.Addresses
	Client func(connect.HTTPClient, string, ...connect.ClientOption) C
}

type (
	LeaseService = Service[cirrusv1connect.LeaseServiceClient]
	AdminService = Service[cirrusv1connect.AdminServiceClient]
)

// Leases and dialAdmin return the service that --addr names. Nothing is sent
// until it is asked.
func Leases(cmd *cobra.Command) (*LeaseService, error) {
	addrs, err := dial(cmd, reach.Config{})
	return &LeaseService{Addrs: addrs, Client: cirrusv1connect.NewLeaseServiceClient}, err
}

func Admin(cmd *cobra.Command) (*AdminService, error) {
	addrs, err := dial(cmd, reach.Config{})
	return &AdminService{Addrs: addrs, Client: cirrusv1connect.NewAdminServiceClient}, err
}

// Watch speaks HTTP/2, whose pings tell when a stream on which nothing
// happens leads nowhere.
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

// At returns the client for an address.
func (d *Service[C]) At(a *reach.Address) C { return d.Client(a.HTTPClient(), a.Base()) }

// Ask makes a call, in callTimeout, at one address after the other until one
// answers. It must do no harm to make it twice.
func Ask[C, Req, Resp any](cmd *cobra.Command, d *Service[C], rpc func(C, context.Context, *Req) (*Resp, error), req *Req) (*Resp, error) {
	ctx, cancel := CallContext(cmd, 0)
	defer cancel()
	resp, err := askAll(ctx, d, rpc, req)
	return resp, Explain(err)
}

// askAll gives each address an equal share of the time that is left.
func askAll[C, Req, Resp any](ctx context.Context, d *Service[C], rpc func(C, context.Context, *Req) (*Resp, error), req *Req) (*Resp, error) {
	for left := d.Addrs.Len(); ; left-- {
		deadline, _ := ctx.Deadline()
		resp, err := askOne(ctx, time.Until(deadline)/time.Duration(left), d, rpc, req)
		switch {
		case !reach.Elsewhere(err):
			return resp, err
		case ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded): // interrupted
			return nil, err
		case left == 1:
			return nil, d.Addrs.Err()
		}
	}
}

// askOne asks the address in use, and leaves it if it doesn't answer.
func askOne[C, Req, Resp any](ctx context.Context, most time.Duration, d *Service[C], rpc func(C, context.Context, *Req) (*Resp, error), req *Req) (*Resp, error) {
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

func NoAnswerIn(d time.Duration) error {
	return fmt.Errorf("no answer in %v", d.Round(100*time.Millisecond))
}

// QueueTime is how much of a wait for a lease is spent in the service's queue:
// a little less than all, so that the service gets to say why it took so long.
func QueueTime(wait time.Duration) time.Duration { return min(wait*9/10, fencing.MaxWait) }

// CallContext bounds one call, wait included.
func CallContext(cmd *cobra.Command, wait time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(cmd.Context(), CallTimeout+wait)
}
