package plan

import "slices"

// Profile says how bad a world is.
type Profile string

// The profiles.
const (
	// Calm: nothing fails.
	Calm Profile = "calm"
	// Envelope: all faults, within what the promises stand on.
	Envelope Profile = "envelope"
	// Hostile: clocks beyond that, too. P1 and P4's bound may break; P2, P3
	// and fail-stop must hold.
	Hostile Profile = "hostile"
	// Vows: an operator or an app breaks what they vouch for. Nothing is
	// promised; Result.Broken says what broke, and Result.Alarms who told.
	Vows Profile = "vows"
)

// Profiles are those that a seed's own choice is made of, and Vows.
func Profiles() []Profile { return []Profile{Calm, Envelope, Hostile, Vows} }

// Kind is a kind of fault. Each can be switched off.
type Kind string

// The kinds of faults.
const (
	Delay       Kind = "delay"        // messages take long, with a heavy tail
	Loss        Kind = "loss"         // messages get lost
	Duplicate   Kind = "duplicate"    // requests arrive twice
	Reorder     Kind = "reorder"      // messages overtake each other
	Cut         Kind = "cut"          // a machine is cut off, one way or both
	LostAnswer  Kind = "lost-answer"  // an answer is lost after the write
	LateAnswer  Kind = "late-answer"  // an answer arrives after the call was given up
	StrayAnswer Kind = "stray-answer" // an answer arrives at the next incarnation's call
	Foreign     Kind = "foreign"      // somebody else answers in the service's place

	Rate    Kind = "rate"    // clocks run fast or slow
	Offset  Kind = "offset"  // wall clocks are wrong
	Step    Kind = "step"    // wall clocks are set
	Suspend Kind = "suspend" // machines sleep, and steady clocks count it
	Coarse  Kind = "coarse"  // clocks tick in large steps

	Pause       Kind = "pause"        // a machine stands still
	Stall       Kind = "stall"        // a minter stands still between its check and its ID
	SlowUse     Kind = "slow-use"     // an ID is used long after it was minted
	AppCrash    Kind = "app-crash"    // an app dies and comes back as a new instance
	ServerCrash Kind = "server-crash" // the server dies and comes back
	CrashLoop   Kind = "crash-loop"   // the server dies soon after each start
	Twins       Kind = "twins"        // two apps have one app ID

	SlowDisk   Kind = "slow-disk"   // a write takes up to 30 s
	WriteCrash Kind = "write-crash" // the server dies in a write
	WriteError Kind = "write-error" // a write fails, done or not
	DiskError  Kind = "disk-error"  // the file system fails, or is full
	OldCopy    Kind = "old-copy"    // an old copy is restored, and recovered
	// the newest log loses acknowledged writes, and the high-water file tells
	LostTail Kind = "lost-tail"

	Hang     Kind = "hang"      // a commit does not return for seconds to minutes
	LogBlock Kind = "log-block" // nobody reads the server's log, and who writes to it waits
	Double   Kind = "double"    // an instance has two live records in the store

	// the volume moves to another machine, and the old process lives on
	LostVolume Kind = "lost-volume"

	Timings Kind = "timings" // TTL and quarantine change
	Stride  Kind = "stride"  // the stride changes
	// max_ttl, TTL and quarantine change at any time, by calls and by flags
	Settings  Kind = "settings"
	LongTTL   Kind = "long-ttl"   // some leases last far longer than others
	Restarts  Kind = "restarts"   // who serves is restarted a few times in quick succession
	Revoke    Kind = "revoke"     // leases are revoked
	NewPool   Kind = "new-pool"   // pools are created
	Grow      Kind = "grow"       // a pool's range grows
	LostDisk  Kind = "lost-disk"  // the disk is lost, and serve starts anew
	WrongWall Kind = "wrong-wall" // the server starts with a wrong wall clock
	// somebody who knows a part of what makes a lease heartbeats and releases it
	Impostor Kind = "impostor"
	Nameless Kind = "nameless" // a client of another make asks without an instance ID
	// a client of another make releases with a timestamp from before its lease
	Fumble Kind = "fumble"

	EtcdDelay   Kind = "etcd-delay"   // etcd's answers take long, with a heavy tail
	EtcdUnknown Kind = "etcd-unknown" // a question to etcd, or its answer, gets lost
	EtcdLate    Kind = "etcd-late"    // a question reaches etcd long after it was given up
	EtcdCut     Kind = "etcd-cut"     // a replica is cut off from etcd, one way or both
	EtcdOutage  Kind = "etcd-outage"  // etcd has no majority
	EtcdSlow    Kind = "etcd-slow"    // etcd takes its time for every write
	EtcdFull    Kind = "etcd-full"    // etcd is out of space
	EtcdRestart Kind = "etcd-restart" // etcd is restarted, from its disks
	EtcdMember  Kind = "etcd-member"  // one member of etcd is silent, and some ask it
	// an election chooses two, or is told of late, early, or in a wrong order
	Election Kind = "election"
	// a replica is cut off from clients, or from the others, and not from etcd
	LeaderCut   Kind = "leader-cut"
	LeaderPause Kind = "leader-pause" // the leader stands still
	LeaderCrash Kind = "leader-crash" // the leader dies, now and then in the middle of a write
	LeaderStop  Kind = "leader-stop"  // the leader is told to stop
	SameAddress Kind = "same-address" // two replicas advertise one address
	OtherStore  Kind = "other-store"  // an advertised address leads to a replica of another store

	WildRate     Kind = "wild-rate"     // clocks drift further than the quarantine allows
	BlindSuspend Kind = "blind-suspend" // steady clocks don't count suspend

	BareCopy   Kind = "bare-copy"   // an old copy is served without recover
	FalseInit  Kind = "false-init"  // init on a lost disk
	BadBit     Kind = "bad-bit"     // a bit in the newest part of the log turns over
	SilentTail Kind = "silent-tail" // the newest log loses acknowledged writes, and nothing tells
	TwinMemory Kind = "twin-memory" // two holders from one memory image
)

var (
	envelopeKinds = []Kind{
		Delay, Loss, Duplicate, Reorder, Cut, LostAnswer, LateAnswer, StrayAnswer, Foreign,
		Rate, Offset, Step, Suspend, Coarse,
		Pause, Stall, SlowUse, AppCrash, ServerCrash, CrashLoop, Twins,
		SlowDisk, WriteCrash, WriteError, DiskError, OldCopy, LostTail, LostVolume, Hang, LogBlock,
		Double,
		Timings, Stride, Settings, LongTTL, Restarts, Revoke, NewPool, Grow, LostDisk, WrongWall,
		Impostor, Fumble,
		EtcdDelay, EtcdUnknown, EtcdLate, EtcdCut, EtcdOutage, EtcdSlow, EtcdFull, EtcdRestart,
		EtcdMember,
		Election, LeaderCut, LeaderPause, LeaderCrash, LeaderStop, SameAddress, OtherStore,
		Nameless,
	}
	// diskKinds are for one server with a disk, etcdKinds for replicas on etcd;
	// the rest is for both.
	diskKinds = []Kind{Hang, Double, SlowDisk, WriteCrash, WriteError, DiskError, OldCopy, LostTail,
		LostVolume, LostDisk, BareCopy, FalseInit, BadBit, SilentTail}
	etcdKinds = []Kind{
		EtcdDelay, EtcdUnknown, EtcdLate, EtcdCut, EtcdOutage, EtcdSlow, EtcdFull, EtcdRestart,
		EtcdMember,
		Election, LeaderCut, LeaderPause, LeaderCrash, LeaderStop, SameAddress, OtherStore,
		Nameless,
	}
	// HostileKinds are what the hostile profile adds.
	HostileKinds = []Kind{WildRate, BlindSuspend}
	// VowKinds are what the vows profile adds.
	VowKinds = []Kind{BareCopy, FalseInit, BadBit, SilentTail, TwinMemory}
)

// Kinds are all kinds of faults.
func Kinds() []Kind { return slices.Concat(envelopeKinds, HostileKinds, VowKinds) }
