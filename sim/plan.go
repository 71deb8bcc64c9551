package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cirrus-id/cirrus/sim/kernel"
)

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
	LostTail   Kind = "lost-tail"   // the newest log loses acknowledged writes, and the high-water file tells

	Hang     Kind = "hang"      // a commit does not return for seconds to minutes
	LogBlock Kind = "log-block" // nobody reads the server's log, and who writes to it waits
	Double   Kind = "double"    // an instance has two live records in the store

	LostVolume Kind = "lost-volume" // the volume moves to another machine, and the old process lives on

	Timings   Kind = "timings"    // TTL and quarantine change
	Stride    Kind = "stride"     // the stride changes
	Settings  Kind = "settings"   // max_ttl, TTL and quarantine change at any time, by calls and by flags
	LongTTL   Kind = "long-ttl"   // some leases last far longer than others
	Restarts  Kind = "restarts"   // who serves is restarted a few times in quick succession
	Revoke    Kind = "revoke"     // leases are revoked
	NewPool   Kind = "new-pool"   // pools are created
	Grow      Kind = "grow"       // a pool's range grows
	LostDisk  Kind = "lost-disk"  // the disk is lost, and serve starts anew
	WrongWall Kind = "wrong-wall" // the server starts with a wrong wall clock
	Impostor  Kind = "impostor"   // somebody who knows a part of what makes a lease heartbeats and releases it
	Nameless  Kind = "nameless"   // a client of another make asks without an instance ID
	Fumble    Kind = "fumble"     // a client of another make releases with a timestamp from before its lease

	EtcdDelay   Kind = "etcd-delay"   // etcd's answers take long, with a heavy tail
	EtcdUnknown Kind = "etcd-unknown" // a question to etcd, or its answer, gets lost
	EtcdLate    Kind = "etcd-late"    // a question reaches etcd long after it was given up
	EtcdCut     Kind = "etcd-cut"     // a replica is cut off from etcd, one way or both
	EtcdOutage  Kind = "etcd-outage"  // etcd has no majority
	EtcdSlow    Kind = "etcd-slow"    // etcd takes its time for every write
	EtcdFull    Kind = "etcd-full"    // etcd is out of space
	EtcdRestart Kind = "etcd-restart" // etcd is restarted, from its disks
	EtcdMember  Kind = "etcd-member"  // one member of etcd is silent, and some ask it
	Election    Kind = "election"     // an election chooses two, or is told of late, early, or in a wrong order
	LeaderCut   Kind = "leader-cut"   // a replica is cut off from clients, or from the others, and not from etcd
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
		SlowDisk, WriteCrash, WriteError, DiskError, OldCopy, LostTail, LostVolume, Hang, LogBlock, Double,
		Timings, Stride, Settings, LongTTL, Restarts, Revoke, NewPool, Grow, LostDisk, WrongWall, Impostor, Fumble,
		EtcdDelay, EtcdUnknown, EtcdLate, EtcdCut, EtcdOutage, EtcdSlow, EtcdFull, EtcdRestart, EtcdMember,
		Election, LeaderCut, LeaderPause, LeaderCrash, LeaderStop, SameAddress, OtherStore, Nameless,
	}
	// diskKinds are for one server with a disk, etcdKinds for replicas on etcd;
	// the rest is for both.
	diskKinds = []Kind{Hang, Double, SlowDisk, WriteCrash, WriteError, DiskError, OldCopy, LostTail, LostVolume, LostDisk, BareCopy, FalseInit, BadBit, SilentTail}
	etcdKinds = []Kind{
		EtcdDelay, EtcdUnknown, EtcdLate, EtcdCut, EtcdOutage, EtcdSlow, EtcdFull, EtcdRestart, EtcdMember,
		Election, LeaderCut, LeaderPause, LeaderCrash, LeaderStop, SameAddress, OtherStore, Nameless,
	}
	hostileKinds = []Kind{WildRate, BlindSuspend}
	vowKinds     = []Kind{BareCopy, FalseInit, BadBit, SilentTail, TwinMemory}
)

// Kinds are all kinds of faults.
func Kinds() []Kind { return slices.Concat(envelopeKinds, hostileKinds, vowKinds) }

// Config says which world to run. The zero value but for the Seed is what a
// campaign runs.
type Config struct {
	// Seed names the run.
	Seed uint64
	// Profile; empty: drawn, 10 % calm, 65 % envelope, 25 % hostile.
	Profile Profile
	// Without are kinds of faults that are switched off.
	Without []Kind
	// Apps is how many there are, 2 to 12; 0: drawn.
	Apps int
	// Replicas is how many serve, on etcd, 1 to 3; −1: one server with a disk of
	// its own; 0: drawn.
	Replicas int
	// Faults: at most so many happen, the first ones; 0: no such limit, −1: none.
	Faults int
	// Until: faults stop, at the latest, at this true time; 0: drawn.
	Until time.Duration
	// Trace keeps the records of what happens.
	Trace bool
	// Choices takes the place of the Seed's own choices.
	Choices kernel.Choices
	// Canary is for the tests of those who report: at a seed that it names,
	// the run is said to break a promise that it kept.
	Canary uint64
}

// Validate says what is wrong with the config, if anything.
func (c Config) Validate() error {
	switch {
	case c.Profile != "" && !slices.Contains(Profiles(), c.Profile):
		return fmt.Errorf("profile %q does not exist: give one of %v", c.Profile, Profiles())
	case c.Apps != 0 && (c.Apps < 2 || c.Apps > maxApps):
		return fmt.Errorf("%d apps are out of range: give 2 to %d, or 0 to have it drawn", c.Apps, maxApps)
	case c.Replicas < -1 || c.Replicas > maxReplicas:
		return fmt.Errorf("%d replicas are out of range: give 1 to %d on etcd, -1 for one server with a disk, or 0 to have it drawn", c.Replicas, maxReplicas)
	case c.Until < 0:
		return fmt.Errorf("faults until %v: give a time from 0 up", c.Until)
	}
	for _, k := range c.Without {
		if !slices.Contains(Kinds(), k) {
			return fmt.Errorf("fault %q does not exist: give some of %v", k, Kinds())
		}
	}
	return nil
}

// Command is the one command that repeats the run.
func (c Config) Command() string {
	cmd := fmt.Sprintf("cirrus sim --seed %d", c.Seed)
	if c.Profile != "" {
		cmd += " --profile " + string(c.Profile)
	}
	if len(c.Without) > 0 {
		names := make([]string, len(c.Without))
		for i, k := range c.Without {
			names[i] = string(k)
		}
		cmd += " --without " + strings.Join(names, ",")
	}
	if c.Apps != 0 {
		cmd += fmt.Sprintf(" --apps %d", c.Apps)
	}
	if c.Replicas != 0 {
		cmd += fmt.Sprintf(" --replicas %d", c.Replicas)
	}
	if c.Faults != 0 {
		cmd += fmt.Sprintf(" --faults %d", c.Faults)
	}
	if c.Until != 0 {
		cmd += fmt.Sprintf(" --until %v", c.Until)
	}
	return cmd
}

const (
	maxApps     = 12
	maxReplicas = 3
)

// plan is what was drawn for a run before it began.
type plan struct {
	profile Profile
	on      map[Kind]bool
	apps    int
	nodes   int
	ttl     time.Duration
	maxTTL  time.Duration
	// longest is the longest TTL that anybody asks for, and poolMax the pool's
	// max_ttl at the beginning.
	longest, poolMax time.Duration
	quarantine       time.Duration
	stride           time.Duration
	// maxStride bounds what the stride can be changed to, so that a pool's
	// quarantine always covers it.
	maxStride time.Duration
	faultsFor time.Duration
	// behind: the server's wall clock is never ahead of the true time.
	behind bool
	// drift is how fast or slow clocks may be, in millionths.
	drift int64
	// replicas is how many serve, on etcd; 0: one server with a disk. session is
	// the TTL of the election's sessions, patience how long a replica waits for
	// etcd, page how many keys it reads at once, and bare says that there is no
	// store at the start.
	replicas          int
	session, patience time.Duration
	page              int
	bare              bool
	// How bad, in parts of a thousand.
	loss, duplicate, slow, lostAnswer uint64
}

// draw makes the plan of a run.
func draw(c Config, choices kernel.Choices) *plan {
	s := kernel.NewDice(choices.Stream("plan", 0))
	p := &plan{profile: c.Profile, on: map[Kind]bool{}}
	n := s.Below(100)
	if p.profile == "" {
		switch {
		case n < 10:
			p.profile = Calm
		case n < 75:
			p.profile = Envelope
		default:
			p.profile = Hostile
		}
	}
	p.ttl = []time.Duration{3 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Second, 2 * time.Second}[s.Below(6)]
	p.maxTTL = p.ttl * time.Duration(1+s.Below(3)/2)
	p.maxStride = []time.Duration{p.ttl / 3, p.ttl / 2, p.ttl, p.ttl / 10}[s.Below(4)]
	p.maxStride = max(p.maxStride, 200*time.Millisecond)
	p.stride = p.maxStride
	if s.Below(2) == 1 {
		p.stride = max(p.maxStride/2, 100*time.Millisecond)
	}
	p.quarantine = []time.Duration{p.ttl, p.ttl / 2, p.maxStride, 2 * p.ttl}[s.Below(4)]
	p.quarantine = max(p.quarantine, p.maxStride, p.ttl/10)
	p.apps = 2 + int(s.Below(7))
	if s.Below(8) == 0 {
		p.apps = 8 + int(s.Below(5))
	}
	if c.Apps != 0 {
		p.apps = c.Apps
	}
	switch s.Below(6) {
	case 0:
		p.nodes = 1 + int(s.Below(2))
		if p.profile == Calm {
			p.nodes = 2
		}
	case 1:
		p.nodes = max(1, p.apps-1)
	case 2, 3:
		p.nodes = p.apps
	case 4:
		p.nodes = p.apps + 2
	default:
		p.nodes = 1024
	}
	p.faultsFor = p.ttl * time.Duration(9+s.Below(6))
	if c.Until != 0 {
		p.faultsFor = min(p.faultsFor, c.Until)
	}
	p.drawReplicas(kernel.NewDice(choices.Stream("replicas", 0)), c)
	p.drawKinds(choices, c)
	return p
}

// drawReplicas draws whether the servers are replicas on etcd: in a third of
// the worlds.
func (p *plan) drawReplicas(s kernel.Dice, c Config) {
	on := s.Below(3) == 2
	p.replicas = []int{3, 2, 3, 3, 2, 3, 3, 1}[s.Below(8)]
	p.session = max(p.ttl/[]time.Duration{4, 5, 8}[s.Below(3)], 250*time.Millisecond)
	p.patience = min(p.session*2/5, 2*time.Second)
	p.page = []int{0, 2, 5}[s.Below(3)]
	p.bare = s.Below(4) == 3 && p.profile != Calm
	switch {
	case c.Replicas > 0:
		p.replicas = c.Replicas
	case c.Replicas < 0, !on:
		p.replicas = 0
	}
}

// drawKinds draws which kinds of faults the run has, each from a stream of
// its own: every one is off in two of five runs at least.
func (p *plan) drawKinds(choices kernel.Choices, c Config) {
	var kinds []Kind
	switch p.profile {
	case Envelope:
		kinds = envelopeKinds
	case Hostile:
		kinds = slices.Concat(envelopeKinds, hostileKinds)
	case Vows:
		kinds = slices.Concat(envelopeKinds, vowKinds)
	}
	for _, k := range kinds {
		s := kernel.NewDice(choices.Stream("kind:"+string(k), 0))
		on := s.Below(100) >= 60
		if slices.Contains(vowKinds, k) {
			on = s.Below(100) >= 40
		}
		others := etcdKinds
		if p.replicas > 0 {
			others = diskKinds
		}
		p.on[k] = on && !slices.Contains(c.Without, k) && !slices.Contains(others, k)
	}
	if p.on[SilentTail] && kernel.NewDice(choices.Stream("silent tail alone", 0)).Below(2) == 0 {
		for _, k := range vowKinds {
			p.on[k] = k == SilentTail
		}
	}
	if p.on[LostDisk] || p.on[OldCopy] || p.on[FalseInit] || p.on[BareCopy] || p.on[SilentTail] {
		// A new store reckons by the wall clock, so before it is made server
		// time must not be ahead of it: then P2 holds even over a lost disk.
		for _, k := range []Kind{Offset, Rate, WildRate, BlindSuspend, Coarse} {
			p.on[k] = false
		}
		p.behind = true
	}
	p.drawLongTTL(kernel.NewDice(choices.Stream("long ttl", 0)))
	p.drift = min(p.driftOf(p.maxTTL), p.driftOf(p.longest))
	if p.on[WildRate] {
		p.drift = 600_000
	}
	amount := func(k Kind, most uint64) uint64 {
		if !p.on[k] {
			return 0
		}
		return 1 + kernel.NewDice(choices.Stream("amount:"+string(k), 0)).Below(most)
	}
	p.loss, p.duplicate = amount(Loss, 300), amount(Duplicate, 500)
	p.slow, p.lostAnswer = amount(Delay, 300), amount(LostAnswer, 200)
}

// promises says whether a promise must hold in this world. Where somebody breaks
// what he vouches for, none does; but a log's lost tail alone costs neither
// epochs (S2) nor the alarm (S12).
func (p *plan) promises(what Promise) bool {
	switch {
	case p.profile != Vows, what == PromiseCanary:
		return true
	case slices.ContainsFunc(vowKinds, func(k Kind) bool { return p.on[k] && k != SilentTail }):
		return false
	}
	return what == PromiseEpochs || what == PromiseFencing || what == PromiseAlarm
}
