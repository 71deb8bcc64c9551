// Package pebble keeps a Cirrus store in a directory, for one process on one
// machine, in a Pebble database. A commit is one synced batch; commits that
// overlap share a sync in Pebble's own pipeline. It must never make a store
// where it can't read the one that is there, never go on after a write that
// failed (S9), and it decides nothing about what it keeps.
//
// In the directory:
//
//	pebble/       the database; it is there from the moment the store is whole
//	pebble.new/   a database that is being created, or was in a crash
//	high-water    how far mark and base had come at the least (S13)
//	LOCK          held while a store is being created
//
// A database is made beside its place and renamed into it once it is complete
// and synced. So a crash leaves no store or a whole one, and a database
// without a meta is a damaged one, never one to be filled in. Nor is a directory
// that has a high-water file and no database: there was a store.
package pebble
