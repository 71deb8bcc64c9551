//go:build linux

package e2e

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/cirrus-id/cirrus/internal/history"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/sim/event"
	"github.com/cirrus-id/cirrus/sim/oracle"
)

// instant is a reading of the steady clock of the tests. Service and clients run on one
// machine. So what the service does about a request is later than a reading before the
// request was sent, and earlier than one after its answer arrived.
type instant time.Duration

// never is later than any instant.
const never = instant(event.Never)

var began = time.Now()

func now() instant { return instant(time.Since(began)) }

func (i instant) add(d time.Duration) instant { return i + instant(d) }

func (i instant) String() string { return time.Duration(i).String() }

// nodeKey names a node ID.
type nodeKey struct {
	pool string
	node uint32
}

// grant is an acknowledged grant: what the service promised, and what the holder did.
type grant struct {
	nodeKey
	epoch         uint64
	app, instance string
	floor         int64

	asked    instant // before the first request for it was sent
	answered instant // after its first answer came

	ceiling  int64   // the highest that was promised
	deadline instant // the latest by the holder's rule: sent + TTL
	live     []span  // when its holder could use it

	// What was asked for, and what of it was acknowledged: never if not.
	releaseSent, released instant
	last                  *int64 // what the release said was used last
	revokeSent, revoked   instant

	lost instant // when LEASE_LOST first came; never if it did not
}

// span is a time during which a holder was live.
type span struct{ from, to instant }

// used is the highest timestamp that the holder may have put into an ID: what
// it said itself, or else what it was promised.
func (g *grant) used() int64 {
	if g.last != nil {
		return max(*g.last, g.floor-1)
	}
	return g.ceiling
}

func (g *grant) String() string {
	return fmt.Sprintf(
		"node ID %d of pool %q under epoch %d (asked for at %v, answered at %v, deadline %v)",
		g.node, g.pool, g.epoch, g.asked, g.answered, g.deadline)
}

// observer records what happened, and finds violations.
type observer struct {
	quarantine time.Duration
	// back is how far server time may go back from one server to the next: the
	// wall clocks' difference, but no more than a stride (S8).
	back time.Duration
	// stale is how long a server that has been deposed may go on keeping
	// leases without knowing it: up to a stride (S10). What was released or
	// revoked elsewhere meanwhile, it may keep once more, and no longer.
	stale time.Duration

	mu         sync.Mutex
	grants     []*grant
	byInstance map[string]*grant
	latest     map[nodeKey]*grant // of the highest epoch
	violations []string
	heartbeats int
	revived    int                 // heartbeats that came after the deadline, and were good
	lapses     map[string][]string // deadlines that passed under holders at work, by pool
	calls      map[nodeKey][]porcupine.Operation

	// The highest server time that was told, when the answer had come, and how
	// far below it one was that was told later.
	serverTime   int64
	serverTimeAt instant
	wentBack     time.Duration
}

// sameClock is how far servers with one wall clock may be apart: what the steady
// clock runs ahead of it.
const sameClock = 20 * time.Millisecond

func newObserver(quarantine time.Duration) *observer {
	return &observer{
		quarantine: quarantine, back: sameClock, byInstance: map[string]*grant{},
		latest: map[nodeKey]*grant{},
		lapses: map[string][]string{}, calls: map[nodeKey][]porcupine.Operation{},
	}
}

// called records a call about a lease, and its outcome.
func (o *observer) called(g *grant, call history.Call, sent, received instant, out history.Output) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.note(g, call, sent, received, out)
}

func (o *observer) note(g *grant, call history.Call, sent, received instant, out history.Output) {
	if out.Unknown {
		received = never // it may be done later
	}
	in := history.Input{Call: call, Epoch: g.epoch}
	if out.Good {
		out.Epoch = g.epoch
	}
	o.calls[g.nodeKey] = append(o.calls[g.nodeKey],
		porcupine.Operation{Input: in, Output: out, Call: int64(sent), Return: int64(received)})
}

// enough is how many violations are reported.
const enough = 20

func (o *observer) violated(format string, args ...any) {
	if len(o.violations) < enough {
		o.violations = append(o.violations, fmt.Sprintf(format, args...))
	}
}

// wrong records a violation that a client found.
func (o *observer) wrong(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.violated(format, args...)
}

// failed reports whether there are violations.
func (o *observer) failed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.violations) > 0
}

// granted records an Acquire that succeeded. asked is when the instance was first
// asked for, sent when the request was sent that this is the answer to.
func (o *observer) granted(asked, sent, received instant, l *cirrusv1.Lease) *grant {
	o.mu.Lock()
	defer o.mu.Unlock()
	g := o.byInstance[l.InstanceId]
	if g == nil {
		g = &grant{
			nodeKey: nodeKey{l.Pool, l.NodeId}, epoch: l.Epoch, app: l.AppId,
			instance: l.InstanceId,
			floor:    l.FloorMs, asked: asked, answered: received, ceiling: l.CeilingMs,
			releaseSent: never, released: never, revokeSent: never, revoked: never, lost: never,
		}
		o.grants = append(o.grants, g)
		o.byInstance[g.instance] = g
		if old := o.latest[g.nodeKey]; old == nil || old.epoch < g.epoch {
			o.latest[g.nodeKey] = g
		}
	}
	o.note(g, history.Acquire, o.asOf(g, sent), received, history.Output{Good: true})
	o.promised(g, sent, received, l)
	return g
}

// heartbeaten records a heartbeat that succeeded.
func (o *observer) heartbeaten(g *grant, sent, received instant, l *cirrusv1.Lease) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.heartbeats++
	if sent > g.deadline {
		o.revived++
	}
	o.note(g, history.Heartbeat, o.asOf(g, sent), received, history.Output{Good: true})
	o.promised(g, sent, received, l)
}

// asOf is the earliest instant whose state may have kept a lease.
func (o *observer) asOf(g *grant, sent instant) instant {
	if sent > min(g.releaseSent, g.revokeSent) {
		return sent.add(-o.stale)
	}
	return sent
}

// promised checks a lease in an answer that arrived at an instant.
func (o *observer) promised(g *grant, sent, received instant, l *cirrusv1.Lease) {
	if l.NodeId != g.node || l.Epoch != g.epoch || l.Pool != g.pool || l.FloorMs != g.floor ||
		l.InstanceId != g.instance || l.AppId != g.app {
		o.violated("%v: the same lease is told differently: %v", g, l)
	}
	if l.FloorMs > l.ServerTimeMs+o.back.Milliseconds() || l.ServerTimeMs > l.CeilingMs {
		o.violated("%v: server time %d is outside of the window, %d to %d", g, l.ServerTimeMs,
			l.FloorMs, l.CeilingMs)
	}
	o.lookAtServerTime(g, sent, received, l)
	for _, end := range []struct {
		what string
		at   instant
	}{{"was released", g.released}, {"was revoked", g.revoked}, {"was told lost", g.lost}} {
		if end.at != never && sent > end.at.add(o.stale) {
			o.violated("%v: kept by a request sent at %v although it %s at %v", g, sent, end.what,
				end.at)
		}
	}
	if sent > min(g.releaseSent, g.lost) {
		return // its holder has stopped
	}
	deadline := sent.add(l.Ttl.AsDuration())
	g.ceiling = max(g.ceiling, l.CeilingMs)
	g.deadline = max(g.deadline, deadline)
	if n := len(g.live); n > 0 && received <= g.live[n-1].to {
		g.live[n-1].to = max(g.live[n-1].to, deadline)
	} else if received < deadline {
		g.live = append(g.live, span{received, deadline})
	}
}

// lookAtServerTime: one server's never goes back, and the next one's begins no
// more than a stride below (S8).
func (o *observer) lookAtServerTime(g *grant, sent, received instant, l *cirrusv1.Lease) {
	if l.ServerTimeMs > o.serverTime {
		o.serverTime, o.serverTimeAt = l.ServerTimeMs, received
		return
	}
	if sent < o.serverTimeAt {
		return
	}
	back := time.Duration(o.serverTime-l.ServerTimeMs) * time.Millisecond
	o.wentBack = max(o.wentBack, back)
	if back > o.back {
		o.violated("%v: server time went back by %v, to %d", g, back, l.ServerTimeMs)
	}
}

// stopped records that the holder mints nothing more under this lease.
func (o *observer) stopped(g *grant, at instant) {
	o.mu.Lock()
	defer o.mu.Unlock()
	g.stop(at)
}

func (g *grant) stop(at instant) {
	if n := len(g.live); n > 0 {
		g.live[n-1].to = min(g.live[n-1].to, at)
	}
}

// releasing records a release before it is sent; last is nil if the holder does not say
// what it used.
func (o *observer) releasing(g *grant, at instant, last *int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	g.stop(at)
	g.releaseSent, g.last = min(g.releaseSent, at), last
}

// wasReleased records a release that was acknowledged.
func (o *observer) wasReleased(g *grant, received instant) {
	o.mu.Lock()
	defer o.mu.Unlock()
	g.released = min(g.released, received)
}

// revoking records a revoke before it is sent.
func (o *observer) revoking(g *grant, at instant) {
	o.mu.Lock()
	defer o.mu.Unlock()
	g.revokeSent = min(g.revokeSent, at)
}

// wasRevoked records a revoke that was acknowledged.
func (o *observer) wasRevoked(g *grant, received instant) {
	o.mu.Lock()
	defer o.mu.Unlock()
	g.revoked = min(g.revoked, received)
}

// wasLost records an answer LEASE_LOST.
func (o *observer) wasLost(g *grant, sent, received instant) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.note(g, history.Heartbeat, sent, received, history.Output{})
	g.stop(received)
	g.lost = min(g.lost, received)
}

// hasLapsed notes a deadline that passed although its holder was at work, and what
// had become of its last tries.
func (o *observer) hasLapsed(g *grant, trouble string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lapses[g.pool] = append(o.lapses[g.pool],
		fmt.Sprintf("%v, at %v; its tries: %s", g, now(), trouble))
}

// lapsed are those of a pool.
func (o *observer) lapsed(pool string) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.lapses[pool])
}

// nearest is the deadline in a pool that comes first, of the leases that are
// held.
func (o *observer) nearest(pool string) instant {
	o.mu.Lock()
	defer o.mu.Unlock()
	first := never
	for _, g := range o.latest {
		if g.pool == pool && g.releaseSent == never && g.lost == never {
			first = min(first, g.deadline)
		}
	}
	return first
}

// lostIn returns how many leases of a pool were lost.
func (o *observer) lostIn(pool string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for _, g := range o.grants {
		if g.pool == pool {
			n += known(g.lost)
		}
	}
	return n
}

// counts says how much has happened.
type counts struct {
	grants, changes, changedIDs, heartbeats, revived, released, revoked, lost int
	// server time, from one answer to one that was asked for later
	wentBack time.Duration
}

func (o *observer) count() counts {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := counts{grants: len(o.grants), heartbeats: o.heartbeats, revived: o.revived,
		wentBack: o.wentBack}
	holders := map[nodeKey]int{}
	for _, g := range o.grants {
		holders[g.nodeKey]++
		c.released += known(g.released)
		c.revoked += known(g.revoked)
		c.lost += known(g.lost)
	}
	for _, n := range holders {
		c.changes += n - 1
		if n > 1 {
			c.changedIDs++
		}
	}
	return c
}

// known returns 1 for an instant at which something has happened.
func known(at instant) int {
	if at == never {
		return 0
	}
	return 1
}

// expectation is what a listing has to show of a node ID that is asked for
// after this was taken.
type expectation struct {
	*grant
	ceiling  int64
	deadline instant
	released bool
	revoked  bool
}

// expect returns what is acknowledged now.
func (o *observer) expect(pool string) []expectation {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all []expectation
	for key, g := range o.latest {
		if key.pool == pool {
			all = append(all, expectation{g, g.ceiling, g.deadline, g.released != never,
				g.revoked != never})
		}
	}
	return all
}

// audit compares a listing with what was acknowledged before it was asked for.
func (o *observer) audit(want []expectation, received instant,
	rows map[uint32]*cirrusv1.LeaseStatus) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range want {
		row := rows[e.node]
		switch {
		case row == nil || row.Epoch < e.epoch:
			o.violated("%v: an acknowledged grant is gone: the listing shows %v", e.grant, row)
		case row.Epoch == e.epoch:
			o.auditRow(e, received, row)
		}
	}
}

func (o *observer) auditRow(e expectation, received instant, row *cirrusv1.LeaseStatus) {
	held := row.State == cirrusv1.LeaseState_LEASE_STATE_HELD
	untouched := e.releaseSent == never && e.revokeSent == never // to this moment
	switch {
	case row.AppId != e.app || row.FloorMs != e.floor:
		o.violated("%v: the listing shows another app or floor: %v", e.grant, row)
	case e.releaseSent == never && row.CeilingMs < e.ceiling:
		o.violated("%v: ceiling %d was promised, the listing shows %v", e.grant, e.ceiling, row)
	case untouched && e.deadline > received && !held:
		o.violated("%v: held, but the listing, at %v, shows %v", e.grant, received, row)
	case (e.released || e.revoked) && held:
		o.violated("%v: released or revoked, but the listing shows it held: %v", e.grant, row)
	case e.released && row.CeilingMs < e.used():
		o.violated("%v: released with %d used, the listing shows %v", e.grant, e.used(), row)
	}
}

// verdict checks the whole history.
func (o *observer) verdict() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	outside := oracle.Outside{Quarantine: o.quarantine,
		Violated: func(p oracle.Promise, text string) { o.violated("%s: %s", p, text) }}
	outside.Judge(o.known())
	for key, calls := range o.calls {
		o.checkHistory(key, calls)
	}
	return o.violations
}

// historyTime bounds the check of one node ID's history.
const historyTime = 30 * time.Second

// checkHistory: the calls about a node ID could have happened one after the
// other.
func (o *observer) checkHistory(key nodeKey, calls []porcupine.Operation) {
	switch history.Possible(calls, historyTime) {
	case porcupine.Illegal:
		o.violated(
			"the %d calls about node ID %d of pool %q can't have happened one after the other",
			len(calls), key.node, key.pool)
	case porcupine.Unknown:
		o.violated(
			"whether the %d calls about node ID %d of pool %q can have happened one after the other could not be told within %v", len(calls), key.node, key.pool, historyTime)
	}
}

// known is what the oracle is told of the grants.
func (o *observer) known() []event.Grant {
	grants := make([]event.Grant, len(o.grants))
	for i, g := range o.grants {
		e := event.Grant{
			Key: event.Key{Pool: g.pool, Node: int(g.node)}, Epoch: g.epoch, Floor: g.floor,
			Asked: time.Duration(g.asked), Answered: time.Duration(g.answered),
			Ceiling: g.ceiling, Deadline: time.Duration(g.deadline), Last: g.last,
			ReleaseSent: time.Duration(g.releaseSent), RevokeSent: time.Duration(g.revokeSent),
			Lost: time.Duration(g.lost),
		}
		for _, s := range g.live {
			e.Live = append(e.Live,
				event.Span{From: time.Duration(s.from), To: time.Duration(s.to)})
		}
		grants[i] = e
	}
	return grants
}

// duplicates returns the IDs that occur more than once. It sorts ids.
func duplicates(ids []uint64) []uint64 {
	slices.Sort(ids)
	var twice []uint64
	for i := 1; i < len(ids); i++ {
		if ids[i] == ids[i-1] {
			twice = append(twice, ids[i])
		}
	}
	return slices.Compact(twice)
}
