package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store/migrate"
)

// place is where a store is, or is to be, for the commands that work on a store
// while nobody serves it.
type place interface {
	// String names it to a person.
	String() string
	// serveWith are the flags of cirrus serve that name it.
	serveWith() string
	// admits refuses pools that could not be served there.
	admits(pools []fencing.Pool) error
	// create makes a store where there is none.
	create(ctx context.Context, first fencing.Batch) error
	// toRecover opens the store to rewrite it, so that nobody serves it meanwhile;
	// movedAway: one that was migrated away, which the first Commit takes back.
	toRecover(ctx context.Context, movedAway bool) (offline, error)
	// end is the place as one end of a migration.
	end() (end, error)
}

// offline is a store that one command has for itself.
type offline interface {
	Load(ctx context.Context) (fencing.Snapshot, error)
	// Commit makes a batch of any size durable.
	Commit(ctx context.Context, b fencing.Batch) error
	Close() error
}

// end is where a migration begins, or where it leads.
type end interface {
	migrate.Source
	migrate.Target
	// name tells the place from all others.
	name() string
	Close() error
}

// chosenPlace is the place that --store and the flags that go with it name. The
// log gets what a store in a directory has to say.
func chosenPlace(cmd *cobra.Command, log *slog.Logger) (place, error) {
	kind, err := chosenStore(cmd)
	if err != nil {
		return nil, err
	}
	if kind == onEtcd {
		return etcdPlace(cmd)
	}
	dir, err := dataDir(cmd)
	if err != nil {
		return nil, err
	}
	return directory{dir, storeOptions(cmd, log)}, nil
}
