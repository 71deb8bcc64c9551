package snowflake

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// TimeSample is what one reply tells about server time: when it arrived, true
// server time was in [ServerTime, ServerTime + RoundTrip].
type TimeSample struct {
	ServerTime Millis        // what the reply says; at or above the origin, at most the reply's ceiling
	RoundTrip  time.Duration // from sending the request to the reply's arrival, at least 0
	ReceivedAt time.Duration // steady time of the reply's arrival, at least 0
}

// Grant is what a new lease allows.
type Grant struct {
	Layout   Layout
	Node     NodeID        // at most Layout.MaxNode
	Floor    Millis        // first timestamp that may go into an ID, at or above the origin
	Ceiling  Millis        // last one, inclusive, at or above Floor
	Deadline time.Duration // steady: nothing is minted at or after it
	Time     TimeSample
}

// Extension is what a good heartbeat brings.
type Extension struct {
	Ceiling  Millis        // as in Grant; one below the present one changes nothing
	Deadline time.Duration // as in Grant; one before the present one changes nothing
	Time     TimeSample
}

// Session is the state of a generator under one lease: what it may mint, and
// what it has minted. Begin returns it. The holder of the lease extends the
// session after each good heartbeat, and stops it when the lease ends.
type Session struct {
	clock     Clock
	grant     Grant      // as begun; fixed
	extend    sync.Mutex // taken by Extend
	allowance atomic.Pointer[allowance]

	// next is the next unused position; it only rises. It has cache lines of
	// its own, as every ID writes it and all else is mostly read.
	_    [128]byte
	next atomic.Uint64
	_    [128]byte
}

// Begin starts a lease with a state of its own (G4), nothing of which comes
// from the lease before it. That one must have been stopped.
//
// Errors: ErrLeaseRunning, ErrSameLease, or a sentence about the field that is
// malformed. After an error nothing has changed.
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

// Extend takes over what a good heartbeat brings. Replies may come late, twice
// or out of order: deadline and ceiling only move forward (C7). A lease that
// was stopped stays stopped.
//
// Errors: a sentence about the field that is malformed; then nothing has
// changed.
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
	// Not below the origin: bounds has found a server time between the two.
	a.ceilingMs = max(a.ceilingMs, uint64(e.Ceiling-s.grant.Layout.Origin))
	a.lastMs = min(a.ceilingMs, a.layoutMs)
	s.allowance.Store(&a)
	return nil
}

// Stop ends minting under the lease, once and for all: when it returns, no ID
// that was not reserved before will be minted, and there is nothing to wait
// for. last is the highest timestamp that went into an ID; used is false if
// there was none, and last is the floor − 1 then. Every further Stop answers
// the same.
func (s *Session) Stop() (last Millis, used bool) {
	// One atomic step (C6): every compare-and-swap that is under way fails, and
	// what the position was is the exact answer.
	next := s.next.Or(sealed) &^ sealed
	last = s.grant.Layout.Origin + Millis(int64(next-1)>>s.grant.Layout.SequenceBits)
	return last, last >= s.grant.Floor
}

// await returns nil when it may be worth trying again: at once if there is
// room, else after a nap (G3), which is short so that a stop, a passed deadline
// or an earlier end of the wait is noticed soon. It returns an error if no wait
// will help.
func (s *Session) await(a *allowance, now time.Duration) error {
	if s.grant.Layout == (Layout{}) {
		return errNoLease
	}
	wait, err := a.refusal(now, s.next.Load())
	if err == nil && wait > 0 {
		s.clock.Sleep(min(max(wait, minNap), maxNap))
	}
	return err
}

// Bounds of a nap. At half speed a wait takes up to twice as long as it looks,
// so without the lower one the last naps would be ever shorter.
const (
	minNap = 50 * time.Microsecond
	maxNap = 2 * time.Millisecond
)

// precedes says whether the lease can be followed by the one that is granted.
func (s *Session) precedes(grant Grant) error {
	next := s.next.Load()
	if next&sealed == 0 {
		return ErrLeaseRunning
	}
	// G4: one lease has one generator. The windows of one node ID never touch
	// (S2), so a floor that doesn't clear what was used gives the lease away.
	last, used := s.Stop()
	if used && grant.Layout == s.grant.Layout && grant.Node == s.grant.Node && grant.Floor <= last {
		return fmt.Errorf("%w (floor %d, but node ID %d was used up to %d)", ErrSameLease, grant.Floor, grant.Node, last)
	}
	return nil
}

// validate says what is wrong with the grant, its time sample apart.
func (g Grant) validate() error {
	if err := g.Layout.Validate(); err != nil {
		return err
	}
	switch {
	case g.Node > g.Layout.MaxNode():
		return fmt.Errorf("node ID %d of the grant is above %d, the highest of layout %s", g.Node, g.Layout.MaxNode(), g.Layout)
	case g.Floor < g.Layout.Origin:
		return fmt.Errorf("floor %d of the grant is below the layout's origin %d", g.Floor, g.Layout.Origin)
	case g.Floor > g.Layout.LastTimestamp():
		return fmt.Errorf("floor %d of the grant is above %d, the layout's last timestamp", g.Floor, g.Layout.LastTimestamp())
	case g.Ceiling < g.Floor:
		return fmt.Errorf("ceiling %d of the grant is below its floor %d", g.Ceiling, g.Floor)
	}
	return nil
}

// allowance returns the first allowance of the lease. Its time starts, at steady
// now, at the lower bound of true server time (G1).
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

// bounds is what the sample says about server time at steady now, or what is
// wrong with it. It is no error to be slow, so a long round trip is none.
func (s TimeSample) bounds(now time.Duration, l Layout, ceiling Millis) (lo, hi instant, err error) {
	switch {
	case s.RoundTrip < 0:
		return 0, 0, fmt.Errorf("round trip %s is negative: give the steady time from request to reply", s.RoundTrip)
	case s.ReceivedAt < 0 || s.ReceivedAt > now:
		return 0, 0, fmt.Errorf("reply received at steady %s, which is not between 0 and now, %s: give the generator's clock's reading", s.ReceivedAt, now)
	case s.ServerTime < l.Origin:
		return 0, 0, fmt.Errorf("server time %d is below the layout's origin %d: check the server's clock", s.ServerTime, l.Origin)
	case s.ServerTime > ceiling:
		return 0, 0, fmt.Errorf("server time %d is above the ceiling %d of the same reply", s.ServerTime, ceiling)
	case s.ServerTime-l.Origin > math.MaxInt64/Millis(nsPerMs):
		return 0, 0, fmt.Errorf("server time %d is more than 292 years after the layout's origin %d: check the server's clock", s.ServerTime, l.Origin)
	}
	lo = uint64(s.ServerTime-l.Origin)*nsPerMs + uint64(now-s.ReceivedAt)
	hi = lo + uint64(s.RoundTrip)
	if hi < lo {
		hi = math.MaxUint64 // the sum did not fit
	}
	return lo, hi, nil
}
