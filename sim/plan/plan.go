package plan

import (
	"slices"
	"time"

	"github.com/cirrus-id/cirrus/sim/kernel"
	"github.com/cirrus-id/cirrus/sim/oracle"
)

// Plan is what was drawn for a run before it began.
type Plan struct {
	Profile Profile
	On      map[Kind]bool
	Apps    int
	Nodes   int
	TTL     time.Duration
	MaxTTL  time.Duration
	// Longest is the longest TTL that anybody asks for, and PoolMax the pool's
	// max_ttl at the beginning.
	Longest, PoolMax time.Duration
	Quarantine       time.Duration
	Stride           time.Duration
	// MaxStride bounds what the stride can be changed to, so that a pool's
	// quarantine always covers it.
	MaxStride time.Duration
	FaultsFor time.Duration
	// Behind: the server's wall clock is never ahead of the true time.
	Behind bool
	// Drift is how fast or slow clocks may be, in millionths.
	Drift int64
	// Replicas is how many serve, on etcd; 0: one server with a disk. Session is
	// the TTL of the election's sessions, EtcdTimeout how long a replica waits for
	// etcd, and PageSize how many keys it reads at once. Bare: there is no store at
	// the start.
	Replicas             int
	Session, EtcdTimeout time.Duration
	PageSize             int
	Bare                 bool
	// How bad, in parts of a thousand.
	Loss, Duplicate, Slow, LostAnswer uint64
}

// Draw makes the plan of a run.
func Draw(c Config, choices kernel.Choices) *Plan {
	s := kernel.NewDice(choices.Stream("plan", 0))
	p := &Plan{Profile: c.Profile, On: map[Kind]bool{}}
	n := s.Below(100)
	if p.Profile == "" {
		switch {
		case n < 10:
			p.Profile = Calm
		case n < 75:
			p.Profile = Envelope
		default:
			p.Profile = Hostile
		}
	}
	p.TTL = []time.Duration{3 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second,
		time.Second, 2 * time.Second}[s.Below(6)]
	p.MaxTTL = p.TTL * time.Duration(1+s.Below(3)/2)
	p.MaxStride = []time.Duration{p.TTL / 3, p.TTL / 2, p.TTL, p.TTL / 10}[s.Below(4)]
	p.MaxStride = max(p.MaxStride, 200*time.Millisecond)
	p.Stride = p.MaxStride
	if s.Below(2) == 1 {
		p.Stride = max(p.MaxStride/2, 100*time.Millisecond)
	}
	p.Quarantine = []time.Duration{p.TTL, p.TTL / 2, p.MaxStride, 2 * p.TTL}[s.Below(4)]
	p.Quarantine = max(p.Quarantine, p.MaxStride, p.TTL/10)
	p.Apps = 2 + int(s.Below(7))
	if s.Below(8) == 0 {
		p.Apps = 8 + int(s.Below(5))
	}
	if c.Apps != 0 {
		p.Apps = c.Apps
	}
	switch s.Below(6) {
	case 0:
		p.Nodes = 1 + int(s.Below(2))
		if p.Profile == Calm {
			p.Nodes = 2
		}
	case 1:
		p.Nodes = max(1, p.Apps-1)
	case 2, 3:
		p.Nodes = p.Apps
	case 4:
		p.Nodes = p.Apps + 2
	default:
		p.Nodes = 1024
	}
	p.FaultsFor = p.TTL * time.Duration(9+s.Below(6))
	if c.Until != 0 {
		p.FaultsFor = min(p.FaultsFor, c.Until)
	}
	p.drawReplicas(kernel.NewDice(choices.Stream("replicas", 0)), c)
	p.drawKinds(choices, c)
	return p
}

// drawReplicas draws whether the servers are replicas on etcd: in a third of
// the worlds.
func (p *Plan) drawReplicas(s kernel.Dice, c Config) {
	on := s.Below(3) == 2
	p.Replicas = []int{3, 2, 3, 3, 2, 3, 3, 1}[s.Below(8)]
	p.Session = max(p.TTL/[]time.Duration{4, 5, 8}[s.Below(3)], 250*time.Millisecond)
	p.EtcdTimeout = min(p.Session*2/5, 2*time.Second)
	p.PageSize = []int{0, 2, 5}[s.Below(3)]
	p.Bare = s.Below(4) == 3 && p.Profile != Calm
	switch {
	case c.Replicas > 0:
		p.Replicas = c.Replicas
	case c.Replicas < 0, !on:
		p.Replicas = 0
	}
}

// drawKinds draws which kinds of faults the run has, each from a stream of
// its own: every one is off in two of five runs at least.
func (p *Plan) drawKinds(choices kernel.Choices, c Config) {
	var kinds []Kind
	switch p.Profile {
	case Envelope:
		kinds = envelopeKinds
	case Hostile:
		kinds = slices.Concat(envelopeKinds, HostileKinds)
	case Vows:
		kinds = slices.Concat(envelopeKinds, VowKinds)
	}
	for _, k := range kinds {
		s := kernel.NewDice(choices.Stream("kind:"+string(k), 0))
		on := s.Below(100) >= 60
		if slices.Contains(VowKinds, k) {
			on = s.Below(100) >= 40
		}
		others := etcdKinds
		if p.Replicas > 0 {
			others = diskKinds
		}
		p.On[k] = on && !slices.Contains(c.Without, k) && !slices.Contains(others, k)
	}
	if p.On[SilentTail] && kernel.NewDice(choices.Stream("silent tail alone", 0)).Below(2) == 0 {
		for _, k := range VowKinds {
			p.On[k] = k == SilentTail
		}
	}
	if p.On[LostDisk] || p.On[OldCopy] || p.On[FalseInit] || p.On[BareCopy] || p.On[SilentTail] {
		// A new store reckons by the wall clock, so before it is made server
		// time must not be ahead of it: then P2 holds even over a lost disk.
		for _, k := range []Kind{Offset, Rate, WildRate, BlindSuspend, Coarse} {
			p.On[k] = false
		}
		p.Behind = true
	}
	p.drawLongTTL(kernel.NewDice(choices.Stream("long ttl", 0)))
	p.Drift = min(p.driftOf(p.MaxTTL), p.driftOf(p.Longest))
	if p.On[WildRate] {
		p.Drift = 600_000
	}
	amount := func(k Kind, most uint64) uint64 {
		if !p.On[k] {
			return 0
		}
		return 1 + kernel.NewDice(choices.Stream("amount:"+string(k), 0)).Below(most)
	}
	p.Loss, p.Duplicate = amount(Loss, 300), amount(Duplicate, 500)
	p.Slow, p.LostAnswer = amount(Delay, 300), amount(LostAnswer, 200)
}

// Promises says whether a promise must hold in this world. Where somebody breaks
// what he vouches for, none does; but a log's lost tail alone costs neither
// epochs (S2) nor the alarm (S12).
func (p *Plan) Promises(what oracle.Promise) bool {
	switch {
	case p.Profile != Vows, what == oracle.PromiseCanary:
		return true
	case slices.ContainsFunc(VowKinds, func(k Kind) bool { return p.On[k] && k != SilentTail }):
		return false
	}
	return what == oracle.PromiseEpochs || what == oracle.PromiseFencing ||
		what == oracle.PromiseAlarm
}

// drawLongTTL draws how long the longest TTL is, and whether the pool allows it
// from the beginning.
func (p *Plan) drawLongTTL(s kernel.Dice) {
	p.Longest = p.MaxTTL * time.Duration(2+s.Below(3))
	if p.PoolMax = p.MaxTTL; s.Below(2) == 1 {
		p.PoolMax = p.Longest
	}
	if !p.On[LongTTL] {
		p.Longest, p.PoolMax = p.MaxTTL, p.MaxTTL
	}
}

// driftOf is how much clocks may drift for leases of a TTL, in millionths: of
// what they drift apart over TTL + stride, less than the lease's quarantine;
// half of it is each side's, less a margin for coarse clocks.
func (p *Plan) driftOf(ttl time.Duration) int64 {
	return int64(min(200_000, 300_000*max(p.Quarantine, ttl/10)/(ttl*2+p.MaxStride)))
}
