package serving

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/cirrus-id/cirrus/service"
)

// Listen serves at the addresses that the flags give, and prints them.
func Listen(cmd *cobra.Command, svc *service.Service, limits Limits,
	log *slog.Logger) ([]*Server, error) {
	main, err := listen(cmd, "listen")
	if err != nil {
		return nil, err
	}
	api, err := start(svc, main, limits.API, service.NewHTTPServer(svc.Handler(), log))
	if err != nil {
		return nil, errors.Join(err, main.Close())
	}
	servers := []*Server{api}
	side, err := listen(cmd, "metrics-listen")
	if err != nil {
		return nil, errors.Join(err, Stop(servers))
	}
	if side != nil {
		metrics, err := start(svc, side, limits.Side,
			service.NewMetricsServer(svc.MetricsHandler(), log))
		if err != nil {
			return nil, errors.Join(err, side.Close(), Stop(servers))
		}
		servers = append(servers, metrics)
	}
	greet(cmd, main, side, log)
	return servers, nil
}

// listen opens the address that a flag gives. It returns nil if that is empty.
func listen(cmd *cobra.Command, flag string) (net.Listener, error) {
	addr, err := cmd.Flags().GetString(flag)
	if err != nil {
		return nil, err
	}
	if addr == "" {
		if flag == "listen" {
			return nil, exit.Usagef("--listen is empty: give an address such as 127.0.0.1:50051")
		}
		return nil, nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("can't listen on %s: %w; give another address with --%s", addr, err,
			flag)
	}
	return l, nil
}

// Server is an HTTP server that is running.
type Server struct {
	*http.Server
	// Done receives the error with which it ends.
	Done chan error
}

// start serves on a listener, with at most as many connections as limit says.
func start(svc *service.Service, l net.Listener, limit service.ConnectionLimit,
	server *http.Server) (*Server, error) {
	limited, err := svc.Limit(l, limit)
	if err != nil {
		return nil, err
	}
	r := &Server{server, make(chan error, 1)}
	go func() { r.Done <- r.Serve(limited) }()
	return r, nil
}

// Stop ends the servers. Requests in flight may go on for exit.DrainTime.
func Stop(servers []*Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), exit.DrainTime)
	defer cancel()
	var problems []error
	for _, r := range servers {
		if err := r.Shutdown(ctx); err != nil {
			problems = append(problems, r.Close())
		}
	}
	return errors.Join(problems...)
}

// greet prints where the service listens, and a command to try.
func greet(cmd *cobra.Command, main, side net.Listener, log *slog.Logger) {
	cmd.Printf("cirrus serves http://%s\n", main.Addr())
	if side != nil {
		cmd.Printf("metrics and health on http://%s/metrics, /livez, /readyz\n", side.Addr())
	}
	cmd.Printf("try: curl -s http://%s/cirrus.v1.LeaseService/Acquire "+
		"-H 'Content-Type: application/json' -d '{\"appId\":\"demo\"}'\n", main.Addr())
	if tcp, ok := main.Addr().(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
		log.Warn("whoever can reach this address can take, keep and revoke leases: there is no "+
			"authentication; put it behind a proxy or a network policy",
			"listen", main.Addr().String())
	}
}
