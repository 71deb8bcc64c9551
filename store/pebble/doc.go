// Package pebble keeps a Cirrus store in a directory, for one process on one
// machine, in a Pebble database. A commit is one synced batch; commits that
// overlap share a sync in Pebble's own pipeline. The package must never make a
// store where it can't read the one that is there, must never go on after a failed
// write (S9), and decides nothing about what it keeps.
//
// In the directory:
//
//	pebble/       the database; it exists from the moment the store is complete
//	pebble.new/   a database that is being created, or was at a crash
//	high-water    a mark and a base that were acknowledged (S13)
//	LOCK          held while a store is being created
//
// A database is made as pebble.new and renamed to pebble once it is complete and
// synced. So a crash leaves no store or a complete one. A database without a meta is
// damaged, and is not filled in. Neither is a directory with a high-water file and
// no database: there was a store.
package pebble
