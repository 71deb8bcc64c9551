// Command cluster runs three etcd members and three replicas of Cirrus on this
// machine, to see what happens when some of them are killed: it is `make
// cluster`. Called with the name of one of the six, it starts that one again.
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

// options are what the command line says.
type options struct {
	cirrus string
	port   int
	in     string
}

func run(ctx context.Context, args []string, out io.Writer) error {
	var o options
	f := flag.NewFlagSet("cluster", flag.ContinueOnError)
	f.StringVar(&o.cirrus, "cirrus", "./bin/cirrus", "the binary to run")
	f.IntVar(&o.port, "port", 20051, "the first replica's port; the others have the next two, and the metrics are ten above")
	f.StringVar(&o.in, "in", "", "the directory of a cluster that runs, for start and kill")
	if err := f.Parse(args); err != nil {
		return err
	}
	switch {
	case o.in != "" && f.NArg() == 2:
		return ask(o.in, f.Arg(0), f.Arg(1), out)
	case o.in != "" || f.NArg() != 0:
		return errors.New("give no arguments to run a cluster, or -in DIR {start|kill} NAME to start or kill one of those that run")
	}
	return supervise(ctx, o, out)
}
