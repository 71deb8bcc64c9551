// Command offclock serves a store in etcd as `cirrus serve` does, but by a wall
// clock that is off by as much as it is told. It is for tests alone: the product
// has no such switch.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/cirrus-id/cirrus/internal/steady"
	"github.com/cirrus-id/cirrus/service"
	"github.com/cirrus-id/cirrus/store/etcd"
)

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// offClock is a wall clock that is off; its timers are as good as any.
type offClock struct {
	clockwork.Clock
	off time.Duration
}

func (c offClock) Now() time.Time { return c.Clock.Now().Add(c.off) }

func serve() error {
	off := flag.Duration("off", 0, "how far the wall clock is ahead; below 0 it is behind")
	endpoints := flag.String("etcd-endpoints", "", "URLs of etcd's members, comma-separated")
	advertise := flag.String("advertise", "", "URL at which the other replicas reach this one")
	listen := flag.String("listen", "", "address for all services")
	metrics := flag.String("metrics-listen", "", "address for /metrics and /readyz")
	stride := flag.Duration("stride", 0, "how far ahead the mark is written")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	cluster, err := etcd.Open(etcd.Config{Endpoints: strings.Split(*endpoints, ","),
		Advertise: *advertise})
	if err != nil {
		return err
	}
	svc, err := service.New(ctx, service.Config{
		Cluster: cluster, Steady: steady.New().Exact(),
		Clock: offClock{clockwork.NewRealClock(), *off}, Stride: *stride,
	})
	if err != nil {
		return errors.Join(err, cluster.Close())
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	failed := make(chan error, 2)
	for addr, handler := range map[string]http.Handler{*listen: svc.Handler(),
		*metrics: svc.MetricsHandler()} {
		srv := &http.Server{Addr: addr, Handler: handler, Protocols: &protocols,
			ReadHeaderTimeout: time.Second}
		go func() { failed <- srv.ListenAndServe() }()
	}
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	svc.Close()
	return errors.Join(err, cluster.Close())
}
