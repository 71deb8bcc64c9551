package event

import (
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

// MaxServers is how many machines may serve in a world.
const MaxServers = 4

// Instant is when a piece of News happens: the true time since the run began,
// and what the clocks of the servers show then, by their indexes.
type Instant struct {
	Now    time.Duration
	Clocks [MaxServers]Clock
}

// Clock is a reading of a machine's clocks.
type Clock struct {
	Steady time.Duration // exact
	Wall   int64         // Unix ms
	// Resolution is what the machine's own readings are cut to, and Rate how fast
	// its clocks run, in millionths.
	Resolution time.Duration
	Rate       int64
	// Frozen is the true time until which nothing runs there, and Woke when it last
	// woke from sleep, or will.
	Frozen, Woke time.Duration
}

// When returns the true time at which the steady clock will read steady, if it
// reads c at now and its rate stays as it is.
func (c *Clock) When(now, steady time.Duration) time.Duration {
	d := steady - c.Steady
	return now + d - time.Duration(int64(d)/(1e6+c.Rate)*c.Rate)
}

// News is a thing that happened.
type News interface{ news() }

// The servers and their processes.

// Server reports that there is a machine that can serve. The first one has the
// store's volume.
type Server struct {
	Index int
	Name  string
}

// Started reports that a process starts on a server, which was told a stride.
type Started struct {
	Server int
	Process
	Stride time.Duration
}

// Serves reports whether the process of a server takes requests from now on.
type Serves struct {
	Server int
	On     bool
}

// Stopped reports that the process of a server ends.
type Stopped struct {
	Server int
	Process
}

// Moved reports that the store's volume is at another server from now on. The
// process that had it goes on, and isn't told.
type Moved struct {
	From Process
	To   int
}

// Checked reports what a server's own check of its state came to, after its tasks
// have run. Leads: a replica serves by a term; Leaders counts the replicas that do.
type Checked struct {
	Server  int
	Leads   bool
	Leaders int
	Fault   string // empty: nothing is wrong
}

// Logged reports a line that a server logs.
type Logged struct {
	Machine string
	Message string
	// Locked: the lock that heartbeats need was held meanwhile.
	Locked bool
}

// ClockChanged reports that a server's clock goes another way from now on.
type ClockChanged struct{ Server int }

// Described reports what the operator set the default pool's max_ttl to, at the
// most.
type Described struct{ MaxTTL time.Duration }

// Forged reports that somebody makes up an epoch.
type Forged struct{}

// FaultsEnded reports that all faults end.
type FaultsEnded struct{}

// Passed reports that time has passed, after faults have ended.
type Passed struct{}

// Finished reports that the run is at its end.
type Finished struct{}

// The store of one server.

// StoreIs reports that the disk holds a store to which no earlier one leads.
type StoreIs struct{ Snapshot fencing.Snapshot }

// StoreOpened reports that a server has opened its store, and is about to serve it.
type StoreOpened struct{ Server int }

// StoreRefused reports that a server refuses its store for lost writes.
type StoreRefused struct{ Server int }

// StoreDamaged reports that the store's log is damaged. LostMark: a mark is gone with
// it, and the high-water file tells.
type StoreDamaged struct{ LostMark bool }

// StoreShrunk reports what is left of a store that has lost its newest writes.
type StoreShrunk struct{ Kept fencing.Snapshot }

// Planted reports that a record was put into the store by hand.
type Planted struct{ Record fencing.Record }

// Recovered reports what `cirrus recover` made of a store: Before is what it held,
// and Told the stride that recover was given.
type Recovered struct {
	Before fencing.Meta
	After  fencing.Snapshot
	Told   time.Duration
}

// Loaded reports that a process has loaded the store. Term is 0 for one server.
type Loaded struct {
	Process
	Term     int
	Snapshot fencing.Snapshot
}

// Write reports that a process decided on a write. Write numbers it, Term is 0 for one
// server, and Op the operation that it is for; 0: none.
type Write struct {
	Write int
	Process
	Term  int
	Op    int
	Batch fencing.Batch
}

// Reached reports that a write may be on the disk. Unsynced: a crash came after it
// and before its sync.
type Reached struct {
	Write    int
	Unsynced bool
}

// Acknowledged reports that the store has acknowledged a write.
type Acknowledged struct{ Write int }

// Refused reports that a write was surely not done, and may be done another way.
type Refused struct{ Write int }

// Failed reports that a write has failed, or may have.
type Failed struct{ Write int }

// Replicas on etcd.

// Created reports that there is a store in etcd where there was none.
type Created struct{ Batch fencing.Batch }

// TakesOver reports that a process tries to begin a term, which Term numbers.
type TakesOver struct {
	Server int
	Process
	Term int
}

// TakeoverFailed reports that a process does not know whether its term began.
type TakeoverFailed struct{ Term int }

// TxnSent reports that a transaction leaves a replica: a takeover that writes Value,
// or one that writes Keys and is guarded by the term record Guard, if it has one.
type TxnSent struct {
	Txn int
	Process
	TakeOver     bool
	Value, Guard string
	Guarded      bool
	Keys         int
}

// TxnDone reports what etcd makes of a transaction, at that instant. Late: its sender
// has given up on it.
type TxnDone struct {
	Txn        int
	Done, Late bool
}

// Confirming reports that a term asks whether it lasts. Confirm numbers that.
type Confirming struct{ Confirm, Term int }

// Confirmed reports what a Confirm came to. Deposed: the term does not last.
type Confirmed struct {
	Confirm int
	Deposed bool
}

// The wire.

// Sent reports that a request leaves a client.
type Sent struct{ Call Call }

// Arrived reports that a process is about to handle a request, as the operation Op.
type Arrived struct {
	Op int
	Process
	Call Call
}

// Held reports that an operation has waited for whoever reads the log.
type Held struct{ Op int }

// Replied reports the answer to an operation, which leaves its process. Forwarded:
// it says to be another replica's.
type Replied struct {
	Op        int
	Reply     *Reply
	Call      Call // as Arrived, but for FromApp
	Forwarded bool
	// LostWrites is how many lost writes the server has counted (S12); −1: it is not
	// known.
	LostWrites int
}

// AnswerLost reports that an answer will not arrive.
type AnswerLost struct {
	Call  Call
	Reply *Reply
}

// Answered reports that the answer to a call arrives, at that call or another. To is
// the call, and App the app that it is of; −1: none.
type Answered struct {
	Call, To Call
	App      int
	SentAt   time.Duration // by the steady clock of who sent To
	Reply    *Reply
}

// GaveUp reports that nobody waits for the answer to a call any more.
type GaveUp struct{ Number int }

// ClientEnded reports that a client's process is gone.
type ClientEnded struct{ Process }

// The holders.

// AppStarted reports that an app has another process.
type AppStarted struct {
	App int
	Process
	Pool fencing.PoolName
}

// Asks reports that an app asks for a holder.
type Asks struct{ App int }

// Ends reports that an app's holder ends: it was refused, in words of its own.
type Ends struct {
	App int
	Process
	Words string
}

// Loses reports that an app's holder takes its lease of a node ID for lost.
type Loses struct {
	App int
	Process
	Node int
}

// Minted reports that an app has minted IDs. PoolIndex tells apart what two pools
// mint.
type Minted struct {
	App       int
	PoolIndex int
	IDs       []snowflake.ID
}

// MintedLate reports that an app minted though its deadline had passed.
type MintedLate struct{ App int }

// Used reports that the resource is asked to let an app in with an epoch.
type Used struct {
	App   int
	Key   Key
	Epoch uint64
}

// Live reports that an app holds a lease by its holder's own rules. Clock is its
// machine's, and Others are the other apps that hold the same node ID.
type Live struct {
	App    int
	Lease  fencing.Lease
	Left   time.Duration // until its deadline
	Clock  Clock
	Others []Other
}

// Other is another holder of a node ID.
type Other struct {
	App   int
	Epoch fencing.Epoch
}

// Shown tells to note anew the deadline of an app whose clock has changed. Holds: it
// holds Lease.
type Shown struct {
	App   int
	Holds bool
	Lease fencing.Lease
	Clock Clock
}

// Waits reports what the apps have, once faults have ended.
type Waits struct{ Apps []App }

// App is an app that wants a node ID.
type App struct {
	Name string
	Pool fencing.PoolName
	Wait time.Duration // that it asks for
	Gone bool          // it comes back no more
	Live bool          // it holds Node
	Node snowflake.NodeID
}

func (Server) news()         {}
func (Started) news()        {}
func (Serves) news()         {}
func (Stopped) news()        {}
func (Moved) news()          {}
func (Checked) news()        {}
func (Logged) news()         {}
func (ClockChanged) news()   {}
func (Described) news()      {}
func (Forged) news()         {}
func (FaultsEnded) news()    {}
func (Passed) news()         {}
func (Finished) news()       {}
func (StoreIs) news()        {}
func (StoreOpened) news()    {}
func (StoreRefused) news()   {}
func (StoreDamaged) news()   {}
func (StoreShrunk) news()    {}
func (Planted) news()        {}
func (Recovered) news()      {}
func (Loaded) news()         {}
func (Write) news()          {}
func (Reached) news()        {}
func (Acknowledged) news()   {}
func (Refused) news()        {}
func (Failed) news()         {}
func (Created) news()        {}
func (TakesOver) news()      {}
func (TakeoverFailed) news() {}
func (TxnSent) news()        {}
func (TxnDone) news()        {}
func (Confirming) news()     {}
func (Confirmed) news()      {}
func (Sent) news()           {}
func (Arrived) news()        {}
func (Held) news()           {}
func (Replied) news()        {}
func (AnswerLost) news()     {}
func (Answered) news()       {}
func (GaveUp) news()         {}
func (ClientEnded) news()    {}
func (AppStarted) news()     {}
func (Asks) news()           {}
func (Ends) news()           {}
func (Loses) news()          {}
func (Minted) news()         {}
func (MintedLate) news()     {}
func (Used) news()           {}
func (Live) news()           {}
func (Shown) news()          {}
func (Waits) news()          {}
