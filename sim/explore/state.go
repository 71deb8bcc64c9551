package explore

import (
	"fmt"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

// startOfTime is the wall clock, and server time, at the start of a search.
const startOfTime snowflake.Millis = 1_700_000_000_000

// state is everything that exists at an instant. Its parts are numbers in the
// world's tables, so a state is small, and == tells whether two are the same.
type state struct {
	// leader is the server that may write. 0: there is none. deposed are the
	// servers that do not know yet that they may not; the one that led first is in
	// front.
	leader     uint32
	deposed    [MaxDeposed]deposed
	disk, past uint32
	holders    [MaxHolders]uint32

	// clock is the service's steady clock, in units. wall is the place of the wall
	// clock's offset in the scope's list, from 1 on; 0: no offset.
	clock, wall uint8
	// made counts the instances that were made. reached counts the holders of
	// which a request has reached a server. The others are interchangeable, so
	// they reach it in order.
	made, reached uint8
	budget        budget
}

// deposed is a server that was deposed and does not know it yet (0: none), and the
// lag of its steady clock behind the service's.
type deposed struct {
	server uint32
	lag    uint8
}

// budget says how often each fault may still happen.
type budget struct {
	wallSets, crashes, takeovers, revokes, releases, restarts, doubles uint8
}

// hash mixes all fields. If two states have the same hash, that costs time only.
func (s *state) hash() uint64 {
	h := uint64(s.leader)
	for _, d := range s.deposed {
		h = mixed(h ^ (uint64(d.server)<<32 | uint64(d.lag)))
	}
	h = mixed(h ^ (uint64(s.disk)<<32 | uint64(s.past)))
	h = mixed(h ^ (uint64(s.holders[0])<<32 | uint64(s.holders[1])))
	h = mixed(
		h ^ (uint64(s.holders[2])<<32 | uint64(s.clock)<<24 | uint64(s.wall)<<16 | uint64(s.reached)<<4 | uint64(s.made)))
	l := s.budget
	return mixed(h ^ (uint64(l.wallSets) | uint64(l.crashes)<<8 | uint64(l.takeovers)<<16 | uint64(l.revokes)<<24 |
		uint64(l.releases)<<32 | uint64(l.restarts)<<40 | uint64(l.doubles)<<48))
}

func mixed(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// world has the parts that states consist of, and remembers how one leads to
// another.
type world struct {
	scope Scope

	servers *table[string, *server]
	holders *table[string, *holder]
	disks   *table[disk, *disk]
	pasts   *table[past, *past]
	calls   *table[fencing.Call, fencing.Call]
	answers *table[fencing.Answer, *fencing.Answer]

	// served, started and stepped remember what an operation did to a server or a
	// holder: most states differ in other parts.
	served  map[serverOp]outcome
	started map[startOp]uint32
	stepped map[holderOp]effect

	// stored remembers commits, and forgeries what was tried with a made-up
	// instance ID.
	stored    map[commitOp]uint32
	forgeries map[pair]bool

	firstEpoch fencing.Epoch
	// fault is what the present step breaks.
	fault *fault
	// verbose makes steps describe themselves in words.
	verbose bool
	words   []string
	key     []byte
}

type pair struct{ leader, disk uint32 }

// fault is a broken promise, without the steps that broke it.
type fault struct {
	promise Promise
	what    string
}

// breaks records that the present step breaks a promise.
func (w *world) breaks(p Promise, format string, args ...any) {
	if w.fault == nil {
		w.fault = &fault{p, fmt.Sprintf(format, args...)}
	}
}

// newWorld returns the world of a scope and its first state: a server has
// started on a store that an operator has initialized, and each holder has sent
// its first request.
func newWorld(scope Scope) (*world, state, error) {
	w := &world{
		scope:   scope,
		servers: newTable[string, *server](), holders: newTable[string, *holder](),
		disks: newTable[disk, *disk](), pasts: newTable[past, *past](),
		calls:   newTable[fencing.Call, fencing.Call](),
		answers: newTable[fencing.Answer, *fencing.Answer](),
		served:  map[serverOp]outcome{}, started: map[startOp]uint32{}, stepped: map[holderOp]effect{},
		stored: map[commitOp]uint32{}, forgeries: map[pair]bool{},
	}
	p := fencing.NewPool(fencing.DefaultPool)
	p.Last = snowflake.NodeID(scope.Nodes - 1)
	p.TTL, p.MaxTTL = span(scope.TTL), span(scope.TTL)
	p.Quarantine, p.Unsafe = span(scope.Quarantine), true
	b, err := fencing.NewStore(startOfTime, span(scope.Stride), true, p)
	if err != nil {
		return nil, state{}, err
	}
	w.firstEpoch = b.Meta.FirstEpoch
	s := state{
		disk: w.store(disk{}.with(&b)),
		past: w.pasts.number(past{}, func() *past { return &past{} }),
		budget: budget{
			wallSets: uint8(scope.WallSets), crashes: uint8(scope.Crashes),
			takeovers: uint8(scope.Takeovers),
			revokes:   uint8(scope.Revokes), releases: uint8(scope.Releases), restarts: uint8(scope.Restarts),
			doubles: uint8(scope.Doubles),
		},
	}
	for i := range scope.Holders {
		s.holders[i] = w.holder(&holder{rules: w.newHolder(i)}, 0)
		s.holders[i] = w.step(holderOp{holder: s.holders[i], kind: hopBegin, fresh: uint8(i + 1)}).holder
	}
	s.made = uint8(scope.Holders)
	s.leader = w.tick(&s, w.start(s.disk, w.now(&s, 0)))
	return w, s, nil
}

func span(u Units) time.Duration { return time.Duration(u) * Unit }

// offset returns how far the wall clock is off.
func (w *world) offset(s *state) time.Duration {
	if s.wall == 0 {
		return 0
	}
	return span(w.scope.Walls[s.wall-1])
}

// now returns a server's reading of its clocks. lag is that of its steady clock.
func (w *world) now(s *state, lag uint8) fencing.Now {
	steady := span(Units(s.clock))
	return fencing.Now{Steady: steady - span(Units(lag)), Wall: startOfTime.Add(steady + w.offset(s))}
}
