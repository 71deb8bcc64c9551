package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/internal/steady"
	"github.com/cirrus-id/cirrus/service"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/pebble"
)

// memory is the --data of a store that keeps nothing.
const memory = ":memory:"

// drainTime is how long requests under way may take to end after SIGTERM: with
// it, the process is gone within 5 s.
const drainTime = 3 * time.Second

func newServe() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve --data DIR",
		Short: "Serve a store: lease node IDs over Connect, gRPC and HTTP",
		Long: `Serve leases node IDs from the store in a directory. It listens once the store
is loaded and its first mark is written.

A directory without a store gets one, but a suspicious one: it may be the first
start, or a lost disk with a thousand holders alive. Its pools grant nothing
until the service has run for max_ttl + quarantine + stride without a restart.
If there was no earlier store, say so with cirrus init instead.

The flags that describe a pool are the default pool's. At its creation, what
isn't given has its default; later, what is given and differs from what is
stored changes the pool where that is allowed, and is refused where it isn't.`,
		Example: `  cirrus serve --data ./cirrus-data
  cirrus serve --data /var/lib/cirrus --listen 0.0.0.0:50051 --ttl 20s --log-format json
  cirrus serve --data :memory:`,
		RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd) },
	}
	f := cmd.Flags()
	addData(cmd, "`directory` of the store, or :memory: for one that keeps nothing")
	f.String("listen", "127.0.0.1:50051", "`address` for all services")
	f.String("metrics-listen", "127.0.0.1:50052", "`address` for /metrics, /livez and /readyz; empty: none")
	addStride(cmd)
	addPoolSettings(cmd)
	addLog(cmd)
	return cmd
}

func serve(cmd *cobra.Command) error {
	log, err := newLogger(cmd)
	if err != nil {
		return err
	}
	stride, err := cmd.Flags().GetDuration("stride")
	if err != nil {
		return err
	}
	change, err := poolChange(cmd.Flags())
	if err != nil {
		return err
	}
	st, err := openStore(cmd, log)
	if err != nil {
		return err
	}
	svc, err := service.New(cmd.Context(), service.Config{
		Store: st, Steady: steady.New(), Stride: stride, DefaultPool: change, Logger: log, Version: version(),
	})
	if err != nil {
		return errors.Join(unlessStopped(cmd, err), st.Close())
	}
	err = serveOpened(cmd, svc, log)
	svc.Close()
	return errors.Join(err, st.Close())
}

// unlessStopped: a signal during the start is an end like any other.
func unlessStopped(cmd *cobra.Command, err error) error {
	if cmd.Context().Err() != nil {
		return nil
	}
	return err
}

// openStore opens the store that --data names, and makes one where there is
// none: suspicious in a directory (S7), vouched for in memory, where no earlier
// one can have been.
func openStore(cmd *cobra.Command, log *slog.Logger) (*pebble.Store, error) {
	dir, err := dataDir(cmd)
	if err != nil {
		return nil, err
	}
	opts := storeOptions(cmd, log)
	if dir == memory {
		batch, err := newStore(cmd, true)
		if err != nil {
			return nil, err
		}
		return pebble.OpenMemory(*batch.Meta, batch.Pools, opts)
	}
	st, err := pebble.Open(dir, opts)
	if !errors.Is(err, store.ErrNoStore) {
		return st, err
	}
	batch, err := newStore(cmd, false)
	if err != nil {
		return nil, err
	}
	if err := pebble.Create(dir, *batch.Meta, batch.Pools, opts); err != nil {
		return nil, err
	}
	return pebble.Open(dir, opts)
}

// serveOpened listens until the context ends or the store fails.
func serveOpened(cmd *cobra.Command, svc *service.Service, log *slog.Logger) error {
	if err := tellSuspicion(cmd, svc, log); err != nil {
		return err
	}
	main, err := listen(cmd, "listen")
	if err != nil {
		return err
	}
	servers := []*running{start(main, svc.Handler(), log)}
	side, err := listen(cmd, "metrics-listen")
	if err != nil {
		return errors.Join(err, stop(servers))
	}
	if side != nil {
		servers = append(servers, start(side, svc.MetricsHandler(), log))
	}
	greet(cmd, main, side, log)
	err = untilEnd(cmd.Context(), svc, servers)
	svc.StopRequests()
	return errors.Join(err, stop(servers))
}

// tellSuspicion says which pools grant nothing yet, and until when.
func tellSuspicion(cmd *cobra.Command, svc *service.Service, log *slog.Logger) error {
	for name, opens := range svc.Unopened() {
		log.Warn("the store is new or was recovered, so node IDs may still be held from an earlier one: the pool grants nothing yet (cirrus init vouches for a new store)",
			"pool", name, "opens_in", opens.Round(time.Millisecond), "opens_at", time.Now().Add(opens).Format(time.RFC3339))
	}
	return nil
}

// listen opens the address that a flag gives; nil where it is empty.
func listen(cmd *cobra.Command, flag string) (net.Listener, error) {
	addr, err := cmd.Flags().GetString(flag)
	if err != nil {
		return nil, err
	}
	if addr == "" {
		if flag == "listen" {
			return nil, usagef("--listen is empty: give an address such as 127.0.0.1:50051")
		}
		return nil, nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("can't listen on %s: %w; give another address with --%s", addr, err, flag)
	}
	return l, nil
}

// running is an HTTP server at work.
type running struct {
	*http.Server
	done chan error
}

func start(l net.Listener, h http.Handler, log *slog.Logger) *running {
	r := &running{service.NewHTTPServer(h, log), make(chan error, 1)}
	go func() { r.done <- r.Serve(l) }()
	return r
}

// stop ends the servers: requests under way may finish for drainTime.
func stop(servers []*running) error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	var problems []error
	for _, r := range servers {
		if err := r.Shutdown(ctx); err != nil {
			problems = append(problems, r.Close())
		}
	}
	return errors.Join(problems...)
}

// greet says where the service listens, with a line to try.
func greet(cmd *cobra.Command, main, side net.Listener, log *slog.Logger) {
	cmd.Printf("cirrus serves http://%s\n", main.Addr())
	if side != nil {
		cmd.Printf("metrics and health on http://%s/metrics, /livez, /readyz\n", side.Addr())
	}
	cmd.Printf("try: curl -s http://%s/cirrus.v1.LeaseService/Acquire -H 'Content-Type: application/json' -d '{\"appId\":\"demo\"}'\n", main.Addr())
	if tcp, ok := main.Addr().(*net.TCPAddr); ok && !tcp.IP.IsLoopback() {
		log.Warn("whoever can reach this address can take, keep and revoke leases: there is no authentication; put it behind a proxy or a network policy", "listen", main.Addr().String())
	}
}

// untilEnd waits for a signal, or for what must end the process: a store that
// failed (S9), or a listener that did.
func untilEnd(ctx context.Context, svc *service.Service, servers []*running) error {
	failed := make(chan error, len(servers))
	for _, r := range servers {
		go func() { failed <- <-r.done }()
	}
	select {
	case <-ctx.Done():
		return nil
	case <-svc.Failed():
		return fmt.Errorf("the store failed, and nothing is served without it: mend the disk and start again: %w", svc.Err())
	case err := <-failed:
		return fmt.Errorf("serving ended: %w", err)
	}
}
