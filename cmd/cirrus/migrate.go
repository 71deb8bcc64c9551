package main

import (
	"crypto/rand"
	"encoding/hex"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/exit"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/files"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/location"
	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/output"
	"github.com/cirrus-id/cirrus/store/migrate"
)

func newMigrate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate {--from DIR --to-etcd | --from-etcd --to DIR} --etcd-endpoints URLS",
		Short: "Move a store from a directory to etcd, or back",
		Long: `Migrate moves a store to another location, while nobody serves it, with every
promise kept: holders keep their leases, node IDs and epochs, and go on if the
store is served at the new location within their TTL.

It refuses a store that is served, and a new location that isn't empty. The old
location keeps the store, with a note that it was moved, so that nothing serves it
any more. A migration that was interrupted can be run again, also from another
host. Wherever it was interrupted, at most one of the two locations can be served.`,
		Example: `  cirrus migrate --from ./cirrus-data --to-etcd --etcd-endpoints https://e1:2379,https://e2:2379,https://e3:2379
  cirrus migrate --from-etcd --etcd-endpoints https://e1:2379,https://e2:2379,https://e3:2379 --to ./cirrus-data`,
		RunE: func(cmd *cobra.Command, _ []string) error { return migrateStore(cmd) },
	}
	f := cmd.Flags()
	f.String("from", "", "`directory` of the store")
	f.Bool("to-etcd", false, "move it to etcd, under --etcd-prefix")
	f.Bool("from-etcd", false, "move it from etcd, from under --etcd-prefix")
	f.String("to", "", "`directory` to move it to; must be missing or empty")
	location.AddEtcdFlags(cmd)
	return cmd
}

func migrateStore(cmd *cobra.Command) error {
	defer exit.LimitInterrupt(cmd)()
	from, to, err := fromAndTo(cmd)
	if err != nil {
		return err
	}
	files.CloseToOthers()
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails, as documented
	done, err := migrate.Run(cmd.Context(), from.Location, to.Location, hex.EncodeToString(id[:]),
		newStoreID())
	if err != nil {
		return err
	}
	if done.Before {
		cmd.Printf("%s was moved to %s by an earlier run; serve it with: cirrus serve %s\n", from,
			to, to.ServeWith)
		return nil
	}
	cmd.Printf(
		"moved %d pools and the records of %d node IDs from %s to %s; serve it with: cirrus serve %s\n",
		done.Pools, done.Records, from, to, to.ServeWith)
	return nil
}

// fromAndTo returns the locations that the flags name.
func fromAndTo(cmd *cobra.Command) (from, to location.Location, err error) {
	f := cmd.Flags()
	fromDir, err := f.GetString("from")
	if err != nil {
		return from, to, err
	}
	toDir, err := f.GetString("to")
	if err != nil {
		return from, to, err
	}
	fromEtcd, err := f.GetBool("from-etcd")
	if err != nil {
		return from, to, err
	}
	toEtcd, err := f.GetBool("to-etcd")
	if err != nil {
		return from, to, err
	}
	intoEtcd := fromDir != "" && toEtcd && toDir == "" && !fromEtcd
	outOfEtcd := fromDir == "" && !toEtcd && toDir != "" && fromEtcd
	if !intoEtcd && !outOfEtcd {
		return from, to, exit.Usagef("give --from DIR and --to-etcd, or --from-etcd and --to DIR")
	}
	inEtcd, err := location.InEtcd(cmd)
	if err != nil {
		return from, to, err
	}
	inDir, err := location.InDirectory(cmd, fromDir+toDir, output.NoLog)
	if intoEtcd {
		return inDir, inEtcd, err
	}
	return inEtcd, inDir, err
}
