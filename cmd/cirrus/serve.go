package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/files"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/flags"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/location"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/serving"
	"github.com/cirrus-id/cirrus/internal/logwriter"
	"github.com/cirrus-id/cirrus/internal/steady"
	"github.com/cirrus-id/cirrus/service"
)

func newServe() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve {--data DIR | --store etcd --etcd-endpoints URLS --advertise URL}",
		Short: "Serve a store: lease node IDs over Connect, gRPC and HTTP",
		Long: `Serve leases node IDs from the store in a directory, or, with --store etcd, as
one of several replicas that share a store in etcd.

From a directory it listens once the store is loaded and its first mark is
written. A replica listens at once, before etcd is there if need be: one of them
leads, and the others forward requests to it. Until one leads, requests are
answered with UNAVAILABLE.

A place without a store gets one, but a suspicious one: it may be the first
start, or a lost disk with a thousand holders alive. Its pools grant nothing
until the service has run for the longest TTL + quarantine + stride without a
restart, or for --suspect-for if that is longer: give it if leases of the store
that was lost may have had a longer TTL than --max-ttl. If there was no earlier
store, say so with cirrus init instead.

The flags that describe a pool are the default pool's. At its creation, what
isn't given has its default; later, what is given and differs from what is
stored changes the pool where that is allowed, and is refused where it isn't.

At SIGINT and SIGTERM it ends: requests in flight may go on for 3 s. At SIGHUP
it reads the config file again, sets the log level by it, and names what else has
changed there, which waits for a restart.`,
		Example: `  cirrus serve --data ./cirrus-data
  cirrus serve --data /var/lib/cirrus --listen 0.0.0.0:50051 --ttl 20s --log-format json
  cirrus serve --data :memory:
  cirrus serve --store etcd --etcd-endpoints https://e1:2379,https://e2:2379,https://e3:2379 --listen 0.0.0.0:50051 --advertise http://cirrus-1:50051`,
		Annotations: map[string]string{exit.TakesHangup: "yes"},
		RunE:        func(cmd *cobra.Command, _ []string) error { return serve(cmd) },
	}
	f := cmd.Flags()
	location.AddFlags(cmd, "`directory` of the store, or :memory: for one that keeps nothing")
	f.String("advertise", "",
		"`URL` at which the other replicas reach this one; required with --store etcd")
	f.String("listen", "127.0.0.1:50051", "`address` for all services")
	f.String("metrics-listen", "127.0.0.1:50052",
		"`address` for /metrics, /livez and /readyz; empty: none")
	serving.AddConnections(cmd)
	location.AddStride(cmd)
	f.Duration("suspect-for", 0,
		"how long pools of a new or recovered store wait at least before they grant, up to 2160h; the "+
			"store remembers the longest")
	flags.AddNewPool(cmd)
	output.AddLog(cmd)
	return cmd
}

func serve(cmd *cobra.Command) error {
	log, level, err := output.NewLogger(cmd)
	if err != nil {
		return err
	}
	defer serving.ReloadAtHangup(cmd, log, level)()
	defer bufferStdout(cmd)()
	cfg := service.Config{Steady: steady.New().Exact(), Logger: log,
		DroppedLogLines: output.Dropped(cmd), Version: version()}
	if cfg.Stride, err = cmd.Flags().GetDuration("stride"); err != nil {
		return err
	}
	if cfg.SuspectFor, err = cmd.Flags().GetDuration("suspect-for"); err != nil {
		return err
	}
	if cfg.DefaultPool, err = flags.PoolChange(cmd.Flags()); err != nil {
		return err
	}
	if cfg.Browsers, err = serving.Browsers(cmd); err != nil {
		return err
	}
	kind, err := cmd.Flags().GetString("store")
	if err != nil {
		return err
	}
	limits, err := serving.ConnectionLimits(cmd, kind == location.OnEtcd, log)
	if err != nil {
		return err
	}
	ending, ended := exit.LimitShutdown(cmd,
		"look at the disk; nothing that was acknowledged is lost")
	defer ended()
	if err := warnOfOthers(cmd, log); err != nil {
		return err
	}
	files.CloseToOthers()
	st, err := openStore(cmd, &cfg)
	if err != nil {
		return err
	}
	err = serveOpened(cmd, cfg, limits, ending)
	return errors.Join(err, st.Close())
}

// warnOfOthers warns of what other users of this machine can read or change and
// should not.
func warnOfOthers(cmd *cobra.Command, log *slog.Logger) (err error) {
	var p files.Paths
	if p.Dir, err = cmd.Flags().GetString("data"); err != nil {
		return err
	}
	if p.Dir == location.Memory {
		p.Dir = ""
	}
	if p.Secret, err = cmd.Flags().GetString("etcd-password-file"); err != nil {
		return err
	}
	if p.Config, err = flags.ConfigFile(cmd); err != nil {
		return err
	}
	p.Warn(log)
	return nil
}

// bufferStdout makes writes to stdout return without waiting for its reader (S14).
// The function that it returns writes what is in the buffer.
func bufferStdout(cmd *cobra.Command) (end func()) {
	out := logwriter.New(output.File(cmd.OutOrStdout()), logwriter.DefaultLimit)
	cmd.SetOut(out)
	return func() { out.Flush(exit.LastWords) }
}

// serveOpened serves until the context ends or the store fails. It calls ending
// before it ends anything else. The store can be closed once it has returned.
func serveOpened(cmd *cobra.Command, cfg service.Config, limits serving.Limits,
	ending func()) error {
	svc, err := service.New(cmd.Context(), cfg)
	if err != nil {
		ending()
		return unlessStopped(cmd, err)
	}
	defer svc.Close()
	defer ending() // before svc.Close, whatever the reason of the end
	logSuspicion(svc, cfg.Logger)
	servers, err := serving.Listen(cmd, svc, limits, cfg.Logger)
	if err != nil {
		return err
	}
	if dir, err := location.Directory(cmd); err == nil && dir == location.Memory &&
		cfg.Store != nil {
		cfg.Logger.Warn(
			"this store keeps nothing and vouches at each start that nobody holds a node " +
				"ID from an earlier one: it is for trying things out; after a restart two holders can have " +
				"one node ID")
	}
	stopPrinting := func() {}
	if cfg.Cluster != nil {
		stopPrinting = serving.PrintState(cmd, svc, cfg.Cluster)
	}
	err = untilEnd(cmd.Context(), svc, servers)
	ending()
	stopPrinting()
	svc.StopRequests()
	return errors.Join(err, serving.Stop(servers))
}

// unlessStopped returns nil if a signal came during the start: that is no failure.
func unlessStopped(cmd *cobra.Command, err error) error {
	if cmd.Context().Err() != nil {
		return nil
	}
	return err
}

// logSuspicion logs which pools grant nothing yet, and until when.
func logSuspicion(svc *service.Service, log *slog.Logger) {
	for name, opens := range svc.Unopened() {
		log.Warn(
			"the store is new or was recovered, so node IDs may still be held from an earlier "+
				"one: the pool grants nothing yet (cirrus init vouches for a new store)",
			"pool", name, "opens_in", opens.Round(time.Millisecond), "opens_at",
			time.Now().Add(opens).Format(time.RFC3339))
	}
}

// untilEnd waits for a signal, or for a failure that must end the process: of the
// store (S9) or of a listener.
func untilEnd(ctx context.Context, svc *service.Service, servers []*serving.Server) error {
	failed := make(chan error, len(servers))
	for _, r := range servers {
		go func() { failed <- <-r.Done }()
	}
	select {
	case <-ctx.Done():
		return nil
	case <-svc.Failed():
		return fmt.Errorf(
			"the store failed, and nothing is served without it: mend the disk and start "+
				"again: %w", svc.Err())
	case err := <-failed:
		return fmt.Errorf("serving ended: %w", err)
	}
}
