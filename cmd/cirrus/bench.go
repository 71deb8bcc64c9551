package main

import (
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/bench"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
)

// benchServer is the hidden command that is a server to measure.
const benchServer = "bench-server"

func newBench() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure the service and the generator, each beside its limit",
		Long: `Bench measures, on this machine and now, what the service and the generator
cost, each beside its limit: a call beside one that does nothing, a durable write
beside the disk's own syncs, the generator beside the clock and the
compare-and-swap that it can't do without. A figure and its limit are measured in
turns, so it is their ratio that can be compared with other runs and machines.

A server's cost is the CPU time of its own process: bench starts the servers that
it measures, on ports of their own on the loopback interface, and ends them. The
stores are made in a temporary directory, and removed.

Replicas are measured with stores in the etcd that --etcd-endpoints names, under
/cirrus-bench/, and removed, too; without one they are left out. It should have
nothing else to do, and the machine as many cores as members: what is measured
is etcd as well. "make bench" runs one of three members on this machine.

It is a report, not a test: a target that is missed is printed, and the exit code
stays 0.

What can be measured: ` + strings.Join(bench.Names(), ", ") + ".",
		Example: `  cirrus bench
  cirrus bench --only heartbeat,acquire --for 10s
  cirrus bench --dir /var/lib/cirrus -o json`,
	}
	format := output.AddFormat(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return runBench(cmd, *format) }
	f := cmd.Flags()
	f.Duration("for", bench.DefaultFor, fmt.Sprintf("how long each side of a comparison is measured, %v to %v", bench.MinFor, bench.MaxFor))
	f.StringSlice("only", nil, "`names` of what to measure, comma-separated (default: all)")
	f.String("dir", "", "`directory` on the disk whose syncs are measured (default: the one for temporary files)")
	f.StringSlice("etcd-endpoints", nil, "`URLs` of the members of an etcd to measure replicas with, comma-separated (default: don't)")
	f.String("profiles", "", "`directory` for CPU profiles of the servers")
	_ = f.MarkHidden("profiles") // it is there: the line above made it
	return cmd
}

func runBench(cmd *cobra.Command, format output.Format) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("the servers to measure are this program, which can't be found: %w", err)
	}
	f := cmd.Flags()
	cfg := bench.Config{Server: []string{self, benchServer}, Log: output.File(cmd.ErrOrStderr())}
	cfg.For, _ = f.GetDuration("for")
	cfg.Only, _ = f.GetStringSlice("only")
	cfg.Dir, _ = f.GetString("dir")
	cfg.Etcd, _ = f.GetStringSlice("etcd-endpoints")
	cfg.Profiles, _ = f.GetString("profiles")
	report, err := bench.Run(cmd.Context(), cfg)
	if err != nil {
		return err
	}
	if format == output.AsJSON {
		return report.JSON(cmd.OutOrStdout())
	}
	return report.Table(cmd.OutOrStdout())
}

// newBenchServer is a server that bench starts, asks and ends.
func newBenchServer() *cobra.Command {
	cmd := &cobra.Command{
		Use:     benchServer,
		Short:   "Be a server that bench measures",
		Long:    "Bench-server is what bench starts: it serves until its standard input ends.",
		Example: "  cirrus bench-server --kind nothing",
		Hidden:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f := cmd.Flags()
			kind, _ := f.GetString("kind")
			cfg := bench.ServerConfig{
				Kind:   bench.Kind(kind),
				Logger: slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn})),
			}
			cfg.Data, _ = f.GetString("data")
			cfg.Etcd, _ = f.GetStringSlice("etcd-endpoints")
			cfg.Prefix, _ = f.GetString("etcd-prefix")
			cfg.Profile, _ = f.GetString("profile")
			return bench.Serve(cmd.Context(), cfg, cmd.InOrStdin(), output.File(cmd.OutOrStdout()))
		},
	}
	cmd.Flags().String("kind", "", "real, replica or nothing")
	cmd.Flags().String("data", "", "`directory` of the store, for a real one")
	cmd.Flags().StringSlice("etcd-endpoints", nil, "`URLs` of etcd's members, for a replica")
	cmd.Flags().String("etcd-prefix", "", "where the store is in etcd, for a replica")
	cmd.Flags().String("profile", "", "`file` for a CPU profile")
	return cmd
}
