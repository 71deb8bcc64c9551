// Package etcdsim simulates etcd as package etcd uses it: a map in memory with
// revisions, which does one transaction after the other. It has no network, no clock and
// no faults. A simulation puts those between a replica and the Store, and calls the
// Store at the instant at which a message arrives, also if that is late. The package is
// for tests and for the simulator.
package etcdsim
