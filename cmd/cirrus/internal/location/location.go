package location

import (
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/etcd"
	"github.com/cirrus-id/cirrus/store/pebble"
)

// Location is a store's location in the words of the command line.
type Location struct {
	store.Location
	// text names it in messages.
	text string
	// ServeWith are the flags of cirrus serve that name it.
	ServeWith string
}

// String names the location in messages.
func (l Location) String() string { return l.text }

// Chosen returns the location that --store and the flags that go with it
// name. log gets what a store in a directory logs.
func Chosen(cmd *cobra.Command, log *slog.Logger) (Location, error) {
	kind, err := Kind(cmd)
	if err != nil {
		return Location{}, err
	}
	if kind == OnEtcd {
		return InEtcd(cmd)
	}
	dir, err := Directory(cmd)
	if err != nil {
		return Location{}, err
	}
	return InDirectory(cmd, dir, log)
}

// InEtcd returns the location that the flags for etcd name.
func InEtcd(cmd *cobra.Command) (Location, error) {
	cfg, err := EtcdConfig(cmd, output.NoLog)
	if err != nil {
		return Location{}, err
	}
	l, err := etcd.NewLocation(cfg)
	if err != nil {
		return Location{}, err
	}
	serveWith := "--store etcd --etcd-endpoints " + strings.Join(l.Endpoints, ",")
	if l.Prefix != etcd.DefaultPrefix {
		serveWith += " --etcd-prefix " + l.Prefix
	}
	return Location{l, l.String(), serveWith + " --advertise URL"}, nil
}

// InDirectory returns the location of a store in a directory.
func InDirectory(cmd *cobra.Command, dir string, log *slog.Logger) (Location, error) {
	l, err := pebble.NewLocation(dir, PebbleOptions(cmd, log))
	return Location{l, dir, "--data " + dir}, err
}

// PebbleOptions returns the options of every store in a directory: a failed write ends the
// process, with an error that says why (S9).
func PebbleOptions(cmd *cobra.Command, log *slog.Logger) pebble.Options {
	return pebble.Options{Logger: log, Fatal: func(err error) {
		cmd.PrintErrf("cirrus: %v\n", err)
		exit.FlushLog(cmd)
		os.Exit(exit.Failed)
	}}
}
