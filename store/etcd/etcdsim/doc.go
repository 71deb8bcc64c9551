// Package etcdsim is etcd's part in package etcd, in memory: a map with
// revisions, which does one transaction after the other. It has no network, no
// clock and no faults: who simulates those puts them between a replica and the
// Store, and calls the Store at the instant at which a message would arrive, be
// it late. It is for tests and for the simulator.
package etcdsim
