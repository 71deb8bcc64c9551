package fencing

import (
	"maps"
	"slices"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// ServerState is what a Server remembers, as plain values. No rule reads it: a search
// of all states compares servers by it. It lacks what cannot change a later answer:
// events that were not taken yet, the text of a failure, the last offset of the wall
// clock, the numbers of tickets, of which only the order counts, and the order in
// which silent leases are noted, because all of them are.
type ServerState struct {
	// ServerTime and Rest are server time at the steady time Steady.
	ServerTime   snowflake.Millis
	Rest, Steady time.Duration
	Meta         Meta
	Mark         MarkState
	// Changing are the names of the pools with a write in progress, in order.
	Changing    []PoolName
	Pools       []PoolState // in order of their names
	ShortestTTL time.Duration
	Failed      bool
	// LastNoted is the pool whose leases were noted last. NotesLeft says that they
	// filled the write (S5).
	LastNoted PoolName
	NotesLeft bool
}

// MarkState is what a Server remembers of its mark (S10).
type MarkState struct {
	// Stride is stored with the mark, Configured is how far ahead the mark is
	// written, and Longest is the stride at the start.
	Stride, Configured, Longest time.Duration
	// Since is the steady time of the start, Sent that of the last acknowledged
	// write. Holds says that this write still carries promises at Steady.
	Since, Sent time.Duration
	Holds       bool
	// Writing says that a write is in progress.
	Writing bool
}

// PoolState is what a Server remembers of a pool.
type PoolState struct {
	Pool
	// Highest is the highest epoch, grants in progress included; Loaded is the
	// highest one that the store held at the start.
	Highest, Loaded Epoch
	// Since is the steady time from which the server has run the pool.
	Since          time.Duration
	Unsaved        bool
	Watched        bool
	EventsLeft     int
	Fresh          snowflake.NodeID
	Lags, Sweeping bool
	Sweep          snowflake.NodeID
	Nodes          []NodeState // in order of their node IDs
	Grants         []GrantState
	Free, Unnoted  []snowflake.NodeID // longest free first
	Leaving        [Free + 1]int
	Alarms         []LeaseRef // the one that is forgotten first in front
	Queue          []PlaceState
	// Expiring, Resting and Cooling are heaps, in the order of their slices.
	Expiring, Resting, Cooling []snowflake.NodeID
}

// NodeState is what a Server remembers of a node ID that was granted.
type NodeState struct {
	Record
	// Deadline is the lease's. Due is the key in the heap, NoteAt the steady time
	// from which the lease is silent (S5).
	Deadline, Due, NoteAt time.Duration
	// Part is the part of the index that has the node ID, 0 if none has. Cooling
	// says which of the two heaps a quarantined one is in.
	Part    State
	Cooling bool
	// ByInstance and ByApp say that the index finds the node ID by its record's
	// instance and app.
	ByInstance, ByApp bool
	Pending           PendingState
}

// GrantState is the grant in progress of a node ID that was never granted before.
type GrantState struct {
	Node    snowflake.NodeID
	Pending PendingState
}

// PendingState is the write in progress of a record. The zero value is none.
type PendingState struct {
	Kind          uint8
	From          State
	Deadline, TTL time.Duration
	Instance      InstanceHash
}

// PlaceState is an instance's place in the queue of Acquires.
type PlaceState struct {
	Instance InstanceHash
	Requests int
}

// State returns a copy of the server's state.
func (s *Server) State() ServerState {
	m := &s.mark
	state := ServerState{
		ServerTime: s.time.ms, Rest: s.time.rest, Steady: s.time.steady,
		Meta: s.meta,
		Mark: MarkState{
			Stride: m.stride, Configured: m.configured, Longest: m.longest,
			Since: m.since, Sent: m.sent, Holds: m.holds(s.time.steady), Writing: m.writing,
		},
		Changing:    slices.Sorted(maps.Keys(s.changing)),
		ShortestTTL: s.shortestTTL,
		Failed:      s.failed != nil,
		LastNoted:   s.lastNoted, NotesLeft: s.notesLeft,
	}
	for _, name := range s.PoolNames() {
		state.Pools = append(state.Pools, s.pools[name].copyState())
	}
	return state
}

func (p *pool) copyState() PoolState {
	state := PoolState{
		Pool: p.Pool, Highest: p.highest, Loaded: p.loaded, Since: p.since, Unsaved: p.unsaved,
		Watched: p.watched, EventsLeft: p.eventsLeft, Fresh: p.fresh,
		Lags: p.lags, Sweeping: p.sweeping, Sweep: p.sweep,
		Unnoted: slices.Clone(p.unnoted), Leaving: p.leaving,
		Expiring: p.expiring.nodes(), Resting: p.resting.nodes(), Cooling: p.cooling.nodes(),
	}
	for l := range p.slots.all() {
		state.Nodes = append(state.Nodes, NodeState{
			Record: l.record(p.Name), Deadline: l.deadline, Due: l.due, NoteAt: l.noteAt,
			Part: l.indexedAs, Cooling: l.cooling, Pending: l.pending.state(),
			ByInstance: p.byInstance.has(hashOfInstance(&l.instance), l.node),
			ByApp:      p.byApp.has(hashOfApp(l.app), l.node),
		})
	}
	for _, node := range slices.Sorted(maps.Keys(p.granting)) {
		state.Grants = append(state.Grants, GrantState{node, p.granting[node].state()})
	}
	for l := p.free.first; l != nil; l = l.next {
		state.Free = append(state.Free, l.node)
	}
	for i := range p.alarms.order {
		a := p.alarms.order[(p.alarms.oldest+i)%len(p.alarms.order)]
		state.Alarms = append(state.Alarms, LeaseRef{Pool: p.Name, Node: a.node, Epoch: a.epoch})
	}
	for _, in := range p.queue {
		state.Queue = append(state.Queue, PlaceState{in.instance, in.requests})
	}
	return state
}

func (c *pendingWrite) state() PendingState {
	if c == nil {
		return PendingState{}
	}
	return PendingState{uint8(c.kind), c.from, c.deadline, c.ttl, c.instance}
}

func (h slotHeap) nodes() []snowflake.NodeID {
	nodes := make([]snowflake.NodeID, len(h))
	for i, l := range h {
		nodes[i] = l.node
	}
	return nodes
}

// Sent returns the steady time before the write was sent (S10).
func (w *Write) Sent() time.Duration { return w.sent }

// HolderState is all that a Holder remembers, as plain values. Like ServerState it is
// there to compare holders.
type HolderState struct {
	Config   HolderConfig
	Phase    HolderPhase
	Instance InstanceID
	Lease    Lease
	Deadline time.Duration
	// Live is what the app was told last. Held says that the app had a lease before
	// this one.
	Live, Held bool
	// Call is the last call. While it is InFlight, the holder waits until GiveUp;
	// otherwise the next call is Due.
	Call        Call
	InFlight    bool
	GiveUp, Due time.Duration
	Failures    uint8
	Round       RoundState
	// Last and ReleaseBy are the Release's last timestamp and deadline.
	Last      snowflake.Millis
	ReleaseBy time.Duration
}

// RoundState counts the addresses that a Holder has tried in turn (C3).
type RoundState struct {
	Addresses, Tried uint16
	Works            bool
	After            time.Duration
}

// State returns a copy of the holder's state.
func (h Holder) State() HolderState {
	return HolderState{
		Config: h.cfg, Phase: h.phase, Instance: h.instance, Lease: h.lease, Deadline: h.deadline,
		Live: h.live, Held: h.held,
		Call: h.call, InFlight: h.inFlight, GiveUp: h.giveUp, Due: h.due, Failures: h.failures,
		Round: RoundState{h.round.addresses, h.round.tried, h.round.works, h.round.after},
		Last:  h.last, ReleaseBy: h.releaseBy,
	}
}
