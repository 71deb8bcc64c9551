// Package etcd keeps a Cirrus store in an etcd cluster, for several replicas. An
// election chooses one of them at a time to lead. Everything is written in a term.
// A term begins with a transaction that writes a value that nobody wrote before to
// one key, the term record. Every later transaction of the term compares that
// value. So a new term ends all others at the instant at which its record is
// written, and no clock, session or election matters for that (S10).
//
// The package must rest nothing but liveness on the election, must not send a write
// twice, and decides nothing about what it keeps.
//
// Under the prefix, beside the keys that every store has (see package store):
//
//	leader/…      keys of the election: the leader's, and those of replicas that wait
//	term          the term record: 128 random bits, and the ID of the replica
//	unfinished    a note: a recover or a migration is in progress or was interrupted,
//	              or the store was moved; with any note, nobody serves the store
//
// # Where what is
//
//	location.go              the store for commands that work on it while nobody serves it
//	cluster.go               the store for a replica: campaign, take over
//	campaign.go, session.go, observe.go
//	                         the election: stand for it, stay in it, know the leader
//	term.go, queue.go, load.go
//	                         reading and writing in a term
//	ground.go                what is under the prefix before the first term
//	offline.go, move.go      init, recover and migrate
//	client.go, requests.go, clusters.go
//	                         calls to etcd: which member, for how long, of one cluster
//
// # A write whose outcome is unknown
//
// A transaction that timed out may have been done, may still be done at any later
// time, or may never be done. Sending it again would not help: the first copy might
// arrive after a later write of the same key, and undo that write. So the first
// error ends the term, and to go on, a replica begins another one. From then on the
// late copy compares a term record that is no longer there, and does nothing.
package etcd
