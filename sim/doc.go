// Package sim runs the service, its clients, its store and their generators
// under one seed, in one thread, on machines, clocks, disks and a network that
// misbehave, and checks from outside that the promises hold. All that runs is
// the product's own code, unchanged: the simulated world stands in for the
// clock (clockwork.Clock and the steady clock), the HTTP client, the file
// system, the randomness and the two Runners. The package must not be imported
// by any of them, and decides nothing about leases itself.
//
// # A run
//
// Run lives through one world: a server that serves a Pebble store on a
// crashable file system in memory, another that gets the volume if it moves, or,
// in a third of the worlds, some replicas on a simulated etcd; 2 to 12 apps that
// hold leases and mint; and an operator. Everything that is left to chance comes
// from Choices, in streams
// by purpose and entity, so that a kind of fault that is switched off shifts
// nothing else. Everything that happens is an event of one loop; what blocks is
// a coroutine. So the same Config has the same Result, Hash included, always.
//
//	r := sim.Run(sim.Config{Seed: 42, Trace: true})
//	if r.Violation != nil {
//		fmt.Print(r.Failure("the commit"))
//		err := sim.WriteNDJSON(os.Stdout, r.Trace)
//	}
//
// A run has two parts. First come faults, of the kinds that were drawn for it;
// which ones are possible, the Profile says. Then all faults end, some apps
// stay dead, and P4 must come true within a bound.
//
// # What is checked
//
// Package oracle judges after every event, by what it hears of what went over the
// wire, into the store and out of the generators (package event); see Promise. It
// asks none of the product's rules. In addition fencing.Server.Check is asked for its
// own invariants. At the end the calls about each node ID must have a linear order
// (porcupine).
//
// # Many runs
//
// Campaign runs many seeds, several worlds at once (they share nothing but the
// memory), repeats one in a hundred to compare hashes, and sees that what
// should come about did: Situations, counted by their effect, and floors on
// grants, IDs and changes of holders. Minimize shrinks a run that broke a
// promise to a smaller world that breaks it, too.
//
// # The parts
//
// Package kernel runs machines in one thread, plan draws what a world is like, event
// has what the parts tell each other, and oracle judges. None of them knows a world.
// This package has the world: hosts (server.go, replica.go, app.go, net.go, etcd.go,
// disk.go and what belongs to them), and the faults, a file for each family
// (fault_*.go). Hosts and faults are one package because each needs the other: a host
// asks at its every step whether a fault strikes there, and a fault acts on hosts.
//
// # To add
//
// A fault: a Kind in plan/kinds.go; where it happens, `w.on(kind) && w.fault(kind,
// entity, perMille)`; if it comes by time, a line in startFaults and
// what it does in the file of its family. A check: a
// method of oracle.Oracle in the file of its promise, called where its news comes
// in, and a story that breaks it in oracle_test.go. A situation: a call of saw where
// the effect shows, and a line in Situations if it must come about.
//
// # What is not simulated
//
// What etcd is made of: its members, and what they say to each other; see
// etcd.go for what there is of it. Memory that other code of a process corrupts,
// and tasks that are interrupted elsewhere than where they block, read the
// steady clock in a generator, write or wait: goroutines of one process take
// turns. The streams Watch and health Watch, which block on their own.
package sim
