package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/files"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/migrate"
)

func newMigrate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate {--from DIR --to-etcd | --from-etcd --to DIR} --etcd-endpoints URLS",
		Short: "Take a store from a directory to etcd, or back",
		Long: `Migrate takes a store to another place, while nobody serves it, with every
promise kept: holders keep their leases, node IDs and epochs, and go on when the
store is served at the new place within their TTL.

It refuses a store that is served, and a new place that isn't empty. The old
place stays as it is, but for word that the store has moved: nothing serves it
any more. A migration that was broken off can be run again, from another host,
too; whatever it had come to, at most one of the two places can be served.`,
		Example: `  cirrus migrate --from ./cirrus-data --to-etcd --etcd-endpoints https://e1:2379,https://e2:2379,https://e3:2379
  cirrus migrate --from-etcd --etcd-endpoints https://e1:2379,https://e2:2379,https://e3:2379 --to ./cirrus-data`,
		RunE: func(cmd *cobra.Command, _ []string) error { return migrateStore(cmd) },
	}
	f := cmd.Flags()
	f.String("from", "", "`directory` that the store is in")
	f.Bool("to-etcd", false, "take it to etcd, under --etcd-prefix")
	f.Bool("from-etcd", false, "take it from etcd, from under --etcd-prefix")
	f.String("to", "", "`directory` to take it to; must be missing or empty")
	addEtcd(cmd)
	return cmd
}

func migrateStore(cmd *cobra.Command) (err error) {
	defer boundSignal(cmd)()
	from, to, err := endsOf(cmd)
	if err != nil {
		return err
	}
	files.CloseToOthers()
	source, err := from.end()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	target, err := to.end()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()

	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails, as documented
	done, err := migrate.Run(cmd.Context(), source, target,
		store.Move{ID: hex.EncodeToString(id[:]), Store: newStoreID(), From: source.name(), To: target.name()})
	if err != nil {
		return err
	}
	if done.Before {
		cmd.Printf("%s was moved to %s by an earlier run; serve it with: cirrus serve %s\n", from, to, to.serveWith())
		return nil
	}
	cmd.Printf("moved %d pools and the records of %d node IDs from %s to %s; serve it with: cirrus serve %s\n",
		done.Pools, done.Records, from, to, to.serveWith())
	return nil
}

// endsOf says where the migration begins and where it leads.
func endsOf(cmd *cobra.Command) (from, to place, err error) {
	f := cmd.Flags()
	fromDir, err := f.GetString("from")
	if err != nil {
		return nil, nil, err
	}
	toDir, err := f.GetString("to")
	if err != nil {
		return nil, nil, err
	}
	fromEtcd, err := f.GetBool("from-etcd")
	if err != nil {
		return nil, nil, err
	}
	toEtcd, err := f.GetBool("to-etcd")
	if err != nil {
		return nil, nil, err
	}
	forth := fromDir != "" && toEtcd && toDir == "" && !fromEtcd
	back := fromDir == "" && !toEtcd && toDir != "" && fromEtcd
	if !forth && !back {
		return nil, nil, exit.Usagef("give --from DIR and --to-etcd, or --from-etcd and --to DIR")
	}
	inEtcd, err := etcdPlace(cmd)
	if err != nil {
		return nil, nil, err
	}
	dir := directory{fromDir + toDir, storeOptions(cmd, output.NoLog)}
	if forth {
		return dir, inEtcd, nil
	}
	return inEtcd, dir, nil
}
