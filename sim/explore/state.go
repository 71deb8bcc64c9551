package explore

import (
	"fmt"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

// startOfTime is the wall clock, and server time, when a search begins.
const startOfTime snowflake.Millis = 1_700_000_000_000

// state is everything there is at an instant. Its parts are numbers in the
// world's tables, so it is small, and two are the same if they are equal.
type state struct {
	// leader is the server that may write, 0: none; deposed are those that
	// don't know yet that they may not, the one that led first in front.
	leader     uint32
	deposed    [MaxDeposed]deposed
	disk, past uint32
	holders    [MaxHolders]uint32

	// clock is the service's steady clock, in units; wall the place of the
	// wall clock's offset in the scope's list.
	clock, wall uint8
	// made counts the instances that were made. Holders that no server has
	// heard of are alike, so they come in order; heard is how many did.
	made, heard uint8
	left        budget
}

// deposed is a server that was deposed and doesn't know yet, 0: none, and how far
// its steady clock is behind.
type deposed struct {
	server uint32
	lag    uint8
}

// budget is how often each may still happen.
type budget struct {
	wallSets, crashes, takeovers, revokes, releases, restarts, doubles uint8
}

// hash mixes all fields; that it may be the same for two states costs only time.
func (s *state) hash() uint64 {
	h := uint64(s.leader)
	for _, d := range s.deposed {
		h = mixed(h ^ (uint64(d.server)<<32 | uint64(d.lag)))
	}
	h = mixed(h ^ (uint64(s.disk)<<32 | uint64(s.past)))
	h = mixed(h ^ (uint64(s.holders[0])<<32 | uint64(s.holders[1])))
	h = mixed(h ^ (uint64(s.holders[2])<<32 | uint64(s.clock)<<24 | uint64(s.wall)<<16 | uint64(s.heard)<<4 | uint64(s.made)))
	l := s.left
	return mixed(h ^ (uint64(l.wallSets) | uint64(l.crashes)<<8 | uint64(l.takeovers)<<16 | uint64(l.revokes)<<24 |
		uint64(l.releases)<<32 | uint64(l.restarts)<<40 | uint64(l.doubles)<<48))
}

func mixed(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// world holds the parts that states are made of, and what is known of how one
// leads to another.
type world struct {
	scope Scope

	servers *table[string, *server]
	holders *table[string, *holder]
	disks   *table[disk, *disk]
	pasts   *table[past, *past]
	calls   *table[fencing.Call, fencing.Call]
	answers *table[fencing.Answer, *fencing.Answer]

	// served and stepped remember what became of a part that was told
	// something: most states differ in other parts.
	served  map[serverOp]outcome
	started map[startOp]uint32
	stepped map[holderOp]effect

	// stored remembers commits, forged what strangers have tried.
	stored map[commitOp]uint32
	forged map[pair]bool

	firstEpoch fencing.Epoch
	// fault is what the step that is being taken breaks.
	fault *fault
	// loud: steps are told in words.
	loud  bool
	words []string
	key   []byte
}

type pair struct{ leader, disk uint32 }

// fault is a promise that was broken, without the way there.
type fault struct {
	promise Promise
	what    string
}

func (w *world) breaks(p Promise, format string, args ...any) {
	if w.fault == nil {
		w.fault = &fault{p, fmt.Sprintf(format, args...)}
	}
}

// newWorld returns the world of a scope and its first state: a server has
// started on a store that an operator vouches for, and each holder has sent its
// first request.
func newWorld(scope Scope) (*world, state, error) {
	w := &world{
		scope:   scope,
		servers: newTable[string, *server](), holders: newTable[string, *holder](),
		disks: newTable[disk, *disk](), pasts: newTable[past, *past](),
		calls: newTable[fencing.Call, fencing.Call](), answers: newTable[fencing.Answer, *fencing.Answer](),
		served: map[serverOp]outcome{}, started: map[startOp]uint32{}, stepped: map[holderOp]effect{},
		stored: map[commitOp]uint32{}, forged: map[pair]bool{},
	}
	p := fencing.NewPool(fencing.DefaultPool)
	p.Last = snowflake.NodeID(scope.Nodes - 1)
	p.TTL, p.MaxTTL, p.Quarantine, p.Unsafe = span(scope.TTL), span(scope.TTL), span(scope.Quarantine), true
	b, err := fencing.NewStore(startOfTime, span(scope.Stride), true, p)
	if err != nil {
		return nil, state{}, err
	}
	w.firstEpoch = b.Meta.FirstEpoch
	s := state{
		disk: w.store(disk{}.with(&b)),
		past: w.pasts.number(past{}, func() *past { return &past{} }),
		left: budget{
			wallSets: uint8(scope.WallSets), crashes: uint8(scope.Crashes), takeovers: uint8(scope.Takeovers),
			revokes: uint8(scope.Revokes), releases: uint8(scope.Releases), restarts: uint8(scope.Restarts),
			doubles: uint8(scope.Doubles),
		},
	}
	for i := range scope.Holders {
		s.holders[i] = w.holder(&holder{rules: w.newHolder(i)}, 0)
		s.holders[i] = w.step(holderOp{holder: s.holders[i], kind: hopBegin, fresh: uint8(i + 1)}).holder
	}
	s.made = uint8(scope.Holders)
	s.leader = w.look(&s, w.start(s.disk, w.now(&s, 0)))
	return w, s, nil
}

func span(u Units) time.Duration { return time.Duration(u) * Unit }

// offset is what the wall clock is off by.
func (w *world) offset(s *state) time.Duration {
	if s.wall == 0 {
		return 0
	}
	return span(w.scope.Walls[s.wall-1])
}

// now is a server's reading of its clocks; lag is its steady clock's.
func (w *world) now(s *state, lag uint8) fencing.Now {
	steady := span(Units(s.clock))
	return fencing.Now{Steady: steady - span(Units(lag)), Wall: startOfTime.Add(steady + w.offset(s))}
}
