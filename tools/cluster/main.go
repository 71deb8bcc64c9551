// Command cluster runs three etcd members and three replicas of Cirrus on this
// machine, so that you can see what happens when some of them are killed. It is
// `make cluster`. With -in DIR it starts or kills a node of a running cluster.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "cluster: %v\n", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	cirrus string
	port   int
	in     string
}

func run(ctx context.Context, args []string, out io.Writer) error {
	var o options
	f := flag.NewFlagSet("cluster", flag.ContinueOnError)
	f.StringVar(&o.cirrus, "cirrus", "./bin/cirrus", "`path` of the binary to run")
	f.IntVar(&o.port, "port", 20051,
		"`port` of the first replica; the others get the next two, and metrics are 10 above")
	f.StringVar(&o.in, "in", "", "`directory` of a running cluster, for start and kill")
	if err := f.Parse(args); err != nil {
		return err
	}
	switch {
	case o.in != "" && f.NArg() == 2:
		return ask(o.in, f.Arg(0), f.Arg(1), out)
	case o.in != "" || f.NArg() != 0:
		return errors.New(
			"give no arguments to run a cluster, or -in DIR {start|kill} NAME to start or kill a node of a running one")
	}
	return supervise(ctx, o, out)
}
