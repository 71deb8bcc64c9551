// Package service serves the rules of package fencing over Connect, gRPC,
// gRPC-Web and plain HTTP with JSON. It owns what the rules must not: the
// clocks, the goroutines, the store's commits, the queues of waiting requests,
// leadership, metrics and health. It must not decide anything about leases: every
// answer is one that fencing.Server gave, and no reply is sent before the write that
// it rests on is durable.
//
// A Service lives as long as its process. What it knows of leases belongs to a term:
// it is loaded when the term starts, and dropped when it ends. With a store of its own
// (Config.Store) there is one term, and a failed write ends the service (S9). With a
// store that several replicas share (Config.Cluster) a replica stands for election.
// While it is elected it leads by one term after the other: a failed write ends the
// term and not the service. The election only decides who tries to lead. What a term
// may write and promise depends on the term record and the mark (S10), and what it may
// refuse and list on a Confirm that started after the request arrived.
//
// A replica that doesn't lead forwards requests to the one that does, and says so in
// the header LeaderHeader of the answer: heartbeats in batches, all other requests as
// they are, with deadlines, cancellation, and the errors' details. While nobody leads,
// it waits for a moment, and then answers UNAVAILABLE with the reason NO_LEADER and
// when to ask again. A request that was forwarded is not forwarded again.
//
// # Rooms
//
// The files are grouped into rooms, by the prefixes of their names. Each room uses
// only those below it (rooms_test.go checks that):
//
//	http_*      HTTP and the wire: handlers, limits, JSON, health, metrics
//	replica_*   one replica, and service.go: who answers a request (route), the election
//	lead_*      a term: it answers by the rules, and writes to the store
//	forward_*   a peer: it forwards requests to the replica that leads (beside lead_*)
//	the others  the ground: configuration, clocks, tasks, errors, counters, conversions
//
// A request goes from its handler (http_handlers.go) to route (replica_route.go), and
// from there to an answerer: a term (lead_leases.go, lead_admin.go, lead_watch.go) or
// a peer (forward_peer.go). They implement the same interface as the handlers.
//
// The rooms are no packages: a term uses most of what base has, so base would have to
// be exported for it.
package service
