package main

import (
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/etcd"
	"github.com/cirrus-id/cirrus/store/pebble"
)

// location is a store's location in the words of the command line.
type location struct {
	store.Location
	// text names it in messages.
	text string
	// serveWith are the flags of cirrus serve that name it.
	serveWith string
}

func (l location) String() string { return l.text }

// chosenLocation returns the location that --store and the flags that go with it
// name. log gets what a store in a directory logs.
func chosenLocation(cmd *cobra.Command, log *slog.Logger) (location, error) {
	kind, err := chosenStore(cmd)
	if err != nil {
		return location{}, err
	}
	if kind == onEtcd {
		return etcdLocation(cmd)
	}
	dir, err := dataDir(cmd)
	if err != nil {
		return location{}, err
	}
	return pebbleLocation(cmd, dir, log)
}

func etcdLocation(cmd *cobra.Command) (location, error) {
	cfg, err := etcdConfig(cmd, output.NoLog)
	if err != nil {
		return location{}, err
	}
	l, err := etcd.NewLocation(cfg)
	if err != nil {
		return location{}, err
	}
	serveWith := "--store etcd --etcd-endpoints " + strings.Join(l.Endpoints, ",")
	if l.Prefix != etcd.DefaultPrefix {
		serveWith += " --etcd-prefix " + l.Prefix
	}
	return location{l, l.String(), serveWith + " --advertise URL"}, nil
}

func pebbleLocation(cmd *cobra.Command, dir string, log *slog.Logger) (location, error) {
	l, err := pebble.NewLocation(dir, storeOptions(cmd, log))
	return location{l, dir, "--data " + dir}, err
}
