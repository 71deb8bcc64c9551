// Command bench measures the service and the generator, each figure beside its
// limit in the same run: it is `make bench`. A call is measured beside one of a
// handler that does nothing, with the same messages, codec, options and server; a
// durable write beside the syncs of the disk; the generator beside a clock reading
// and a compare-and-swap, which it needs for each ID.
//
// Machines are shared and clock rates vary, so a figure and its limit are measured
// in turns, in slices of a twentieth of the time, and the ratio that is reported is
// the median of the slices' ratios. The cost of a server is the CPU time of its
// process, so each server that is measured is a process of its own: this program,
// started as "bench server". It is a report, not a test: a target that is missed is
// printed, and the exit code stays 0.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// serverCommand is the first argument of a process that is measured.
const serverCommand = "server"

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 && args[0] == serverCommand {
		return runServer(ctx, args[1:], os.Stdin, stdout, stderr)
	}
	cfg := Config{Log: stderr}
	format := "text"
	f := newFlags("bench", stderr)
	f.DurationVar(&cfg.For, "for", DefaultFor,
		fmt.Sprintf("how long each side of a comparison is measured, %v to %v", MinFor, MaxFor))
	listVar(f, &cfg.Only, "only",
		"`names` of what to measure, comma-separated, out of "+strings.Join(Names(), ", ")+
			" (default: all)")
	f.StringVar(&cfg.Dir, "dir", "",
		"`directory` on the disk whose syncs are measured (default: the one for temporary files)")
	listVar(f, &cfg.Etcd, "etcd-endpoints",
		"`URLs` of the members of an idle etcd, comma-separated, to measure replicas with (default: three members are started here)")
	f.StringVar(&cfg.Profiles, "profiles", "",
		"`directory` for a CPU profile of each server (default: no profiles)")
	f.StringVar(&format, "o", format, "`format` of the report: text or json")
	if err := f.Parse(args); err != nil {
		return err
	}
	if format != "text" && format != "json" || f.NArg() > 0 {
		return fmt.Errorf("-o %s %s: give text or json, and no arguments", format,
			strings.Join(f.Args(), " "))
	}
	report, err := Run(ctx, cfg)
	if err != nil {
		return err
	}
	if format == "json" {
		return report.JSON(stdout)
	}
	return report.Table(stdout)
}

// runServer serves until stdin ends.
func runServer(ctx context.Context, args []string, stdin io.Reader, stdout,
	stderr io.Writer) error {
	cfg := serverConfig{Logger: slog.New(slog.NewTextHandler(stderr,
		&slog.HandlerOptions{Level: slog.LevelWarn}))}
	f := newFlags("bench server", stderr)
	f.StringVar((*string)(&cfg.Kind), "kind", "", "real, replica or nothing")
	f.StringVar(&cfg.Data, "data", "", "`directory` of the store, for a real one")
	listVar(f, &cfg.Etcd, "etcd-endpoints", "`URLs` of etcd's members, for a replica")
	f.StringVar(&cfg.Prefix, "etcd-prefix", "",
		"`prefix` of the store's keys in etcd, for a replica")
	f.StringVar(&cfg.Profile, "profile", "", "`file` for a CPU profile")
	if err := f.Parse(args); err != nil {
		return err
	}
	return serve(ctx, cfg, stdin, stdout)
}

func newFlags(name string, stderr io.Writer) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(stderr)
	return f
}

// listVar defines a flag that takes a comma-separated list.
func listVar(f *flag.FlagSet, to *[]string, name, usage string) {
	f.Func(name, usage, func(list string) error {
		*to = strings.Split(list, ",")
		return nil
	})
}
