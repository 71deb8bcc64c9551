package snowflake

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// TimeSample is what one reply says about server time: when the reply arrived,
// true server time was in [ServerTime, ServerTime + RoundTrip].
type TimeSample struct {
	ServerTime Millis        // from the reply; at or above the origin, at most the reply's ceiling
	RoundTrip  time.Duration // from sending the request to the reply's arrival, at least 0
	ReceivedAt time.Duration // steady time of the reply's arrival, at least 0
}

// Grant is what a new lease allows.
type Grant struct {
	Layout   Layout
	Node     NodeID        // at most Layout.MaxNode
	Floor    Millis        // first timestamp that may go into an ID, at or above the origin
	Ceiling  Millis        // last one, inclusive, at or above Floor
	Deadline time.Duration // steady time at and after which nothing is minted
	Time     TimeSample
}

// Extension is what a good heartbeat allows.
type Extension struct {
	Ceiling  Millis        // as in Grant; ignored if below the present one
	Deadline time.Duration // as in Grant; ignored if before the present one
	Time     TimeSample
}

// Session is the state of a generator under one lease: what it may mint, and
// what it has minted. Begin returns it. The holder of the lease extends the
// session after each good heartbeat, and stops it when the lease ends.
type Session struct {
	clock     Clock
	grant     Grant      // as passed to Begin; fixed
	extend    sync.Mutex // taken by Extend
	allowance atomic.Pointer[allowance]

	// next is the next unused position; it only rises. It has cache lines of its
	// own, since every ID writes it and the other fields are mostly read.
	_    [128]byte
	next atomic.Uint64
	_    [128]byte
}

// Begin starts a session for a new lease. The session takes nothing from the
// previous one (G4), which must have been stopped.
//
// Errors: ErrLeaseRunning, ErrSameLease, or an error about the field that is
// malformed. A call that returns an error has changed nothing.
func (g *Generator) Begin(grant Grant) (*Session, error) {
	if err := grant.validate(); err != nil {
		return nil, err
	}
	now := g.clock.Now()
	lo, _, err := grant.Time.bounds(now, grant.Layout, grant.Ceiling)
	if err != nil {
		return nil, err
	}

	g.begin.Lock()
	defer g.begin.Unlock()
	if err := g.session.Load().precedes(grant); err != nil {
		return nil, err
	}
	s := &Session{clock: g.clock, grant: grant}
	s.allowance.Store(grant.allowance(g.lead, now, lo))
	s.next.Store(uint64(grant.Floor-grant.Layout.Origin) << grant.Layout.SequenceBits) // G2: at or above the floor
	g.session.Store(s)
	return s, nil
}

// Extend applies what a good heartbeat allows. Replies may come late, twice or out
// of order, so deadline and ceiling only move forward (C7). A session that was
// stopped stays stopped.
//
// Errors: an error about the field that is malformed; nothing has changed then.
func (s *Session) Extend(e Extension) error {
	s.extend.Lock()
	defer s.extend.Unlock()
	now := s.clock.Now()
	lo, hi, err := e.Time.bounds(now, s.grant.Layout, e.Ceiling)
	if err != nil {
		return err
	}
	a := s.allowance.Load().sampled(now, lo, hi)
	a.deadline = max(a.deadline, e.Deadline)
	// The ceiling is not below the origin: bounds has checked that the server
	// time lies between the two.
	a.ceilingMs = max(a.ceilingMs, uint64(e.Ceiling-s.grant.Layout.Origin))
	a.lastMs = min(a.ceilingMs, a.layoutMs)
	s.allowance.Store(&a)
	return nil
}

// Stop ends minting under the lease, once and for all: after it has returned, only
// IDs that were reserved before are still returned by Next and NextN, and the
// caller need not wait for those. last is the highest timestamp that went into an
// ID; if there was none, used is false and last is the floor − 1. Every further
// Stop returns the same.
func (s *Session) Stop() (last Millis, used bool) {
	// One atomic step (C6): every compare-and-swap in progress fails, so the old
	// position says exactly what was used.
	next := s.next.Or(sealed) &^ sealed
	last = s.grant.Layout.Origin + Millis(int64(next-1)>>s.grant.Layout.SequenceBits)
	return last, last >= s.grant.Floor
}

// await returns nil when the caller should try again: at once if there is room,
// otherwise after a sleep (G3). The sleep is short, so that a stop, a passed
// deadline or new room is noticed soon. It returns an error if waiting would not
// help.
func (s *Session) await(a *allowance, now time.Duration) error {
	if s.grant.Layout == (Layout{}) {
		return errNoLease
	}
	wait, err := a.refusal(now, s.next.Load())
	if err == nil && wait > 0 {
		s.clock.Sleep(min(max(wait, minSleep), maxSleep))
	}
	return err
}

// Bounds of one sleep. While the generator's time runs at half speed, a wait takes
// up to twice as long as computed, so without minSleep the last sleeps would get
// ever shorter.
const (
	minSleep = 50 * time.Microsecond
	maxSleep = 2 * time.Millisecond
)

// precedes returns an error if grant can't follow this session.
func (s *Session) precedes(grant Grant) error {
	next := s.next.Load()
	if next&sealed == 0 {
		return ErrLeaseRunning
	}
	// G4: one lease has one session. The windows of one node ID never overlap
	// (S2), so a floor at or below a used timestamp means the same lease.
	last, used := s.Stop()
	if used && grant.Layout == s.grant.Layout && grant.Node == s.grant.Node && grant.Floor <= last {
		return fmt.Errorf("%w (floor %d, but node ID %d was used up to %d)", ErrSameLease,
			grant.Floor, grant.Node, last)
	}
	return nil
}

// validate returns what is wrong with the grant; it does not check Time.
func (g Grant) validate() error {
	if err := g.Layout.Validate(); err != nil {
		return err
	}
	switch {
	case g.Node > g.Layout.MaxNode():
		return fmt.Errorf("node ID %d of the grant is above %d, the highest of layout %s", g.Node,
			g.Layout.MaxNode(), g.Layout)
	case g.Floor < g.Layout.Origin:
		return fmt.Errorf("floor %d of the grant is below the layout's origin %d", g.Floor,
			g.Layout.Origin)
	case g.Floor > g.Layout.LastTimestamp():
		return fmt.Errorf("floor %d of the grant is above %d, the layout's last timestamp", g.Floor,
			g.Layout.LastTimestamp())
	case g.Ceiling < g.Floor:
		return fmt.Errorf("ceiling %d of the grant is below its floor %d", g.Ceiling, g.Floor)
	}
	return nil
}

// allowance returns the first allowance of the lease. At steady time now the
// generator's time starts at lo, the lower bound of true server time (G1).
func (g Grant) allowance(lead, now time.Duration, lo instant) *allowance {
	a := &allowance{
		node:      uint64(g.Node) << g.Layout.SequenceBits,
		seqBits:   g.Layout.SequenceBits,
		nodeBits:  g.Layout.NodeBits,
		lead:      uint64(lead / time.Millisecond),
		layoutMs:  uint64(g.Layout.LastTimestamp() - g.Layout.Origin),
		deadline:  g.Deadline,
		ceilingMs: uint64(g.Ceiling - g.Layout.Origin),
		since:     now,
		time:      lo,
		target:    lo,
	}
	a.lastMs = min(a.ceilingMs, a.layoutMs)
	return a
}

// bounds returns the bounds of true server time at steady time now, or what is
// wrong with the sample. A long round trip is no error: it only widens them.
func (s TimeSample) bounds(now time.Duration, l Layout, ceiling Millis) (lo, hi instant,
	err error) {
	switch {
	case s.RoundTrip < 0:
		return 0, 0, fmt.Errorf(
			"round trip %s is negative: give the steady time from request to reply", s.RoundTrip)
	case s.ReceivedAt < 0 || s.ReceivedAt > now:
		return 0, 0, fmt.Errorf(
			"reply received at steady time %s, which is not between 0 and now, %s: read the generator's clock",
			s.ReceivedAt, now)
	case s.ServerTime < l.Origin:
		return 0, 0, fmt.Errorf(
			"server time %d is below the layout's origin %d: check the server's clock",
			s.ServerTime, l.Origin)
	case s.ServerTime > ceiling:
		return 0, 0, fmt.Errorf("server time %d is above the ceiling %d of the same reply",
			s.ServerTime, ceiling)
	case s.ServerTime-l.Origin > math.MaxInt64/Millis(nsPerMs):
		return 0, 0, fmt.Errorf(
			"server time %d is more than 292 years after the layout's origin %d: check the server's clock", s.ServerTime, l.Origin)
	}
	lo = uint64(s.ServerTime-l.Origin)*nsPerMs + uint64(now-s.ReceivedAt)
	hi = lo + uint64(s.RoundTrip)
	if hi < lo {
		hi = math.MaxUint64 // the sum did not fit
	}
	return lo, hi, nil
}
