// Package service serves the rules of package fencing over Connect, gRPC,
// gRPC-Web and plain HTTP with JSON. It owns what the rules must not: the
// clocks, the goroutines, the store's commits, the queue of those who wait,
// leadership, metrics and health. It decides nothing about leases: every answer
// is one that fencing.Server gave, and no reply leaves before the write that it
// rests on is durable.
//
// A Service lives as long as its process. What it knows of leases is a term's:
// loaded when the term begins, dropped when it ends. With a store of its own
// (Config.Store) there is one term, and a failed write ends the service (S9).
// With a store that several replicas share (Config.Cluster) a replica stands for
// election; if it is chosen it takes over, and leads by one term after the other
// for as long as it holds the office: a failed write ends the term and not the
// service. Nothing rests on the election but who tries: what a term may write
// and promise, the term record and the mark say (S10), and what it may refuse
// and list, a Confirm that began after it was asked.
//
// A replica that doesn't lead passes requests on to the one that does, and says
// so in the header LeaderHeader of the answer: heartbeats in batches, all else
// as it is, with deadlines, cancellation, and the errors' details. While nobody
// leads, it waits for a moment, and then answers UNAVAILABLE with the reason
// NO_LEADER and when to ask again. What comes from a replica is never passed on
// a second time.
package service
