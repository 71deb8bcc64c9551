package fencing

import (
	"fmt"
	"slices"
	"time"
)

// twin checks the promises of docs/design.md. It observes what is asked, decided, made
// durable, promised and minted in a world with one pool. It is simple on purpose: it
// keeps everything, searches linearly, and shares neither code nor types with the rules
// that it checks. Nor does it share any with the simulator's oracle (sim/oracle): two
// judges that were written independently don't miss the same mistake.
//
// Each method returns an error that names the broken promise or rule, or nil.
type twin struct {
	// exclusive says that the clocks are within what P1 assumes.
	exclusive          bool
	quarantine, maxTTL time.Duration
	// opened says that the pool is durably open.
	opened bool
	leases []*twinLease
	// onDisk is the epoch and status of the durable record of a node ID.
	onDisk  map[int]twinRecord
	mark    int64
	minted  map[twinID]uint64
	highest uint64
	// stopped holds instances that will never mint again.
	stopped map[string]bool
	// servers are the processes that ever ran.
	servers map[int]*twinServer
	// line is the instances that wait for a free ID, in order of arrival, with
	// their requests.
	line []twinPlace
	seen twinCounts
}

// twinCounts counts what happened, so that a test can check that enough did.
type twinCounts struct {
	grants, reissues, revivals, takenOver, released, noted, silent, heard, lost, refused, minted,
	queued, shared, disasters int
}

type twinID struct {
	node int
	ms   int64
}

type twinRecord struct {
	epoch    uint64
	instance string
	live     bool // neither ended nor revoked
	ended    bool
	silence  twinSilence
}

// twinSilence is the content of a record's silence note.
type twinSilence struct {
	noted bool
	left  time.Duration
}

type twinServer struct {
	stride time.Duration
	// since is its steady clock when it had loaded.
	since time.Duration
	// loaded are the leases that were not ended then, with the deadlines that
	// they must get.
	loaded map[*twinLease]time.Duration
	// markSent is its steady clock before its last acknowledged mark was sent,
	// and mark what that mark was; marked says that there is one.
	markSent time.Duration
	mark     int64
	marked   bool
	// decided is the highest epoch that it ever decided on.
	decided uint64
	// last is the highest server time that it ever showed.
	last int64
}

type twinLease struct {
	node     int
	epoch    uint64
	instance string
	ttl      time.Duration
	// floor and top bound what may be minted under it, as promised so far.
	floor, top int64
	// used is the highest timestamp minted, 0 if none.
	used int64
	// deadlines are, for each server process, the deadline that it promised,
	// on its own clock.
	deadlines map[int]time.Duration
	// clock is the holder's steady clock, until what it counts as its
	// deadline if every reply reached it at once.
	clock func() time.Duration
	until time.Duration
}

func newTwin(quarantine, maxTTL time.Duration, exclusive, opened bool) *twin {
	return &twin{
		exclusive: exclusive, quarantine: quarantine, maxTTL: maxTTL, opened: opened,
		onDisk: map[int]twinRecord{}, minted: map[twinID]uint64{},
		stopped: map[string]bool{}, servers: map[int]*twinServer{},
	}
}

func (w *twin) lease(node int, epoch uint64) *twinLease {
	for _, l := range w.leases {
		if l.node == node && l.epoch == epoch {
			return l
		}
	}
	return nil
}

// started reports that a server process has loaded what is durable.
func (w *twin) started(server int, steady, stride time.Duration) {
	s := &twinServer{stride: stride, since: steady, loaded: map[*twinLease]time.Duration{}}
	for node, rec := range w.onDisk {
		if l := w.lease(node, rec.epoch); l != nil && !rec.ended {
			s.loaded[l] = steady + stride + l.ttl
			if rec.silence.noted {
				s.loaded[l] = steady + rec.silence.left
			}
		}
	}
	w.servers[server] = s
}

// showed reports a server time that a server process has shown.
func (w *twin) showed(server int, ms int64) error {
	s := w.servers[server]
	if ms < s.last {
		return fmt.Errorf("S8: server time went back from %d to %d", s.last, ms)
	}
	s.last = ms
	return nil
}

// granting reports that the leading server has decided on a grant, which is not
// durable yet.
func (w *twin) granting(server int, steady time.Duration, g twinLease) error {
	s := w.servers[server]
	if len(w.line) > 0 && w.line[0].instance != g.instance {
		return fmt.Errorf("queue: %s was served before %s", g.instance, w.line[0].instance)
	}
	if highest := max(w.highest, s.decided); g.epoch <= highest {
		return fmt.Errorf("P3: epoch %d was granted after %d, want it higher", g.epoch, highest)
	}
	s.decided = g.epoch
	if g.floor > s.mark {
		return fmt.Errorf("S10: a grant was decided on at server time %d, above the mark, %d",
			g.floor, s.mark)
	}
	if !w.opened {
		return fmt.Errorf("S7: a grant was decided on in a pool that is not durably opened")
	}
	if g.top != g.floor+g.ttl.Milliseconds() {
		return fmt.Errorf("S2: a grant has window %d to %d, which does not suit its TTL, %v",
			g.floor, g.top, g.ttl)
	}
	if !s.marked || steady >= s.markSent+s.stride {
		return fmt.Errorf("S10: a grant at steady %v, after a mark sent at %v (%v) with stride %v",
			steady, s.markSent, s.marked, s.stride)
	}
	for _, l := range w.leases {
		if l.node != g.node {
			continue
		}
		if g.floor <= l.top {
			return fmt.Errorf(
				"P2: node ID %d granted from %d under epoch %d, but promised to %d under %d",
				g.node, g.floor, g.epoch, l.top, l.epoch)
		}
		if w.exclusive && !w.stopped[l.instance] && l.clock() < l.until {
			return fmt.Errorf(
				"P1: node ID %d granted under epoch %d, but its holder under %d lives until %v, and it is %v there", g.node, g.epoch, l.epoch, l.until, l.clock())
		}
		if err := w.rested(s, server, l, steady); err != nil {
			return err
		}
	}
	w.seen.grants++
	return nil
}

// rested checks that the quarantine of a lease's node ID has passed, as this server must
// count it.
func (w *twin) rested(s *twinServer, server int, l *twinLease, steady time.Duration) error {
	if rec := w.onDisk[l.node]; rec.epoch != l.epoch || rec.ended {
		return nil
	}
	if d, ok := l.deadlines[server]; ok && steady < d+w.quarantine {
		return fmt.Errorf(
			"S2: node ID %d taken from epoch %d at %v, within deadline %v + quarantine %v", l.node,
			l.epoch, steady, d, w.quarantine)
	}
	if d, ok := s.loaded[l]; ok && steady < d+w.quarantine {
		return fmt.Errorf(
			"S6: node ID %d taken from epoch %d at %v, within deadline %v of a start at %v with stride %v, + quarantine %v",
			l.node, l.epoch, steady, d, s.since, s.stride, w.quarantine)
	}
	return nil
}

// granted reports that a grant has become durable.
func (w *twin) granted(g twinLease) {
	for _, l := range w.leases {
		if l.node == g.node {
			w.seen.reissues++
			break
		}
	}
	g.deadlines = map[int]time.Duration{}
	w.leases = append(w.leases, &g)
	w.highest = max(w.highest, g.epoch)
	w.onDisk[g.node] = twinRecord{epoch: g.epoch, instance: g.instance, live: true}
}

// promised reports that a server is about to answer an Acquire or a heartbeat
// that was sent when the holder's clock showed sentAt.
func (w *twin) promised(server int, leads bool, steady time.Duration, sentAt time.Duration,
	at int64, p twinLease) error {
	s, l := w.servers[server], w.lease(p.node, p.epoch)
	if l == nil || l.instance != p.instance {
		return fmt.Errorf("S1: node ID %d promised under epoch %d to %q, which is not durable",
			p.node, p.epoch, p.instance)
	}
	if rec := w.onDisk[p.node]; leads && (rec.epoch != p.epoch || !rec.live) {
		return fmt.Errorf("S3: node ID %d promised under epoch %d, but the record is %+v", p.node,
			p.epoch, rec)
	}
	if rec := w.onDisk[p.node]; rec.epoch == p.epoch && rec.silence.noted &&
		(leads || w.exclusive) {
		return fmt.Errorf("S5: node ID %d promised under epoch %d, whose record has a silence note",
			p.node, p.epoch)
	}
	if at > s.mark {
		return fmt.Errorf("S10: a promise at server time %d, above the mark %d", at, s.mark)
	}
	if !s.marked || steady >= s.markSent+s.stride {
		return fmt.Errorf(
			"S10: a promise at steady %v, after a mark sent at %v (%v) with stride %v", steady,
			s.markSent, s.marked, s.stride)
	}
	if p.floor != l.floor || p.ttl != l.ttl {
		return fmt.Errorf("S3: floor %d and TTL %v became %d and %v, want them unchanged", l.floor,
			l.ttl, p.floor, p.ttl)
	}
	if p.top < at+l.ttl.Milliseconds() {
		return fmt.Errorf("S3: ceiling %d was promised at server time %d with a TTL of %v", p.top,
			at, l.ttl)
	}
	if w.stopped[l.instance] {
		return nil // nobody will use it
	}
	if l.until != 0 && l.clock() >= l.until {
		w.seen.revivals++
	}
	if _, ok := l.deadlines[server]; !ok && len(l.deadlines) > 0 {
		w.seen.takenOver++
	}
	l.top = max(l.top, p.top)
	l.deadlines[server] = max(l.deadlines[server], steady+l.ttl)
	l.until = max(l.until, sentAt+l.ttl)
	return w.apart(l)
}

// apart checks that no other lease of this node ID has a window that overlaps this one's
// (P2), or a holder that may be live now (P1).
func (w *twin) apart(l *twinLease) error {
	for _, o := range w.leases {
		if o == l || o.node != l.node {
			continue
		}
		if o.floor <= l.top && l.floor <= o.top {
			return fmt.Errorf("P2: node ID %d has windows %d-%d under epoch %d and %d-%d under %d",
				l.node, l.floor, l.top, l.epoch, o.floor, o.top, o.epoch)
		}
		live := func(l *twinLease) bool { return !w.stopped[l.instance] && l.clock() < l.until }
		if w.exclusive && live(o) && live(l) {
			return fmt.Errorf("P1: node ID %d has live holders under epochs %d and %d", l.node,
				o.epoch, l.epoch)
		}
	}
	return nil
}

// losing reports that the leading server is about to answer LEASE_LOST.
func (w *twin) losing(node int, epoch uint64, instance string) error {
	w.seen.lost++
	if rec := w.onDisk[node]; rec.live && rec.epoch == epoch && rec.instance == instance {
		return fmt.Errorf("S3: LEASE_LOST for node ID %d under epoch %d, whose record is live",
			node, epoch)
	}
	return nil
}

// stops reports that an instance has minted its last ID (C6), at the latest now.
func (w *twin) stops(instance string) { w.stopped[instance] = true }

// released reports that a release has become durable, with the last timestamp that the
// holder gave (0: none) and the ceiling that the store keeps.
func (w *twin) released(node int, epoch uint64, last, ceiling int64) error {
	w.seen.released++
	l := w.lease(node, epoch)
	w.onDisk[node] = twinRecord{epoch: epoch, instance: l.instance, ended: true}
	if last > 0 {
		l.top = min(l.top, max(last, l.floor-1))
	}
	if ceiling < l.top || ceiling < l.used {
		return fmt.Errorf(
			"S4: node ID %d released with ceiling %d, but used to %d and promised to %d", node,
			ceiling, l.used, l.top)
	}
	return nil
}

// revoked reports that a revocation has become durable.
func (w *twin) revoked(node int) {
	rec := w.onDisk[node]
	rec.live = false
	w.onDisk[node] = rec
}

// noting reports that the leading server has decided to note a record as ended.
func (w *twin) noting(server int, steady time.Duration, node int, epoch uint64, ceiling,
	at int64) error {
	l, rec := w.lease(node, epoch), w.onDisk[node]
	if l == nil || rec.epoch != epoch || rec.ended {
		return fmt.Errorf("S5: node ID %d noted as ended under epoch %d, but the record is %+v",
			node, epoch, rec)
	}
	if at <= ceiling || ceiling < l.top {
		return fmt.Errorf("S5: node ID %d noted with ceiling %d at %d, but promised to %d", node,
			ceiling, at, l.top)
	}
	return w.rested(w.servers[server], server, l, steady)
}

// silencing reports that the leading server has decided to note a record as silent,
// together with a mark.
func (w *twin) silencing(server int, steady time.Duration, node int, epoch uint64,
	left time.Duration, ceiling, mark int64) error {
	s, l, rec := w.servers[server], w.lease(node, epoch), w.onDisk[node]
	if l == nil || rec.epoch != epoch || rec.ended {
		return fmt.Errorf("S5: node ID %d noted as silent under epoch %d, but the record is %+v",
			node, epoch, rec)
	}
	if ceiling < l.top || ceiling > mark+l.ttl.Milliseconds() {
		return fmt.Errorf("S5: node ID %d noted with ceiling %d under mark %d, but promised to %d",
			node, ceiling, mark, l.top)
	}
	deadline, ok := s.loaded[l]
	if d, told := l.deadlines[server]; told && (!ok || d > deadline) {
		deadline = d
	}
	if steady+left < deadline {
		return fmt.Errorf("S5: node ID %d noted at %v with %v left, but its deadline is %v", node,
			steady, left, deadline)
	}
	return nil
}

// silenced reports that such a note, or its removal, has become durable.
func (w *twin) silenced(node int, noted bool, left time.Duration) {
	if noted {
		w.seen.silent++
	} else {
		w.seen.heard++
	}
	rec := w.onDisk[node]
	rec.silence = twinSilence{noted, left}
	w.onDisk[node] = rec
}

// noted reports that such a note has become durable.
func (w *twin) noted(node int) {
	w.seen.noted++
	rec := w.onDisk[node]
	rec.live, rec.ended, rec.silence = false, true, twinSilence{}
	w.onDisk[node] = rec
}

// marking reports that the leading server has decided to write the mark.
func (w *twin) marking(ms int64) error {
	if ms < w.mark {
		return fmt.Errorf("S1: the mark was lowered from %d to %d", w.mark, ms)
	}
	return nil
}

// marked reports that a mark has become durable.
func (w *twin) marked(ms int64) { w.mark = ms }

// acknowledged reports that the write of a mark was acknowledged to a server.
func (w *twin) acknowledged(server int, sent time.Duration, ms int64) {
	s := w.servers[server]
	s.markSent, s.mark, s.marked = sent, ms, true
}

// opening reports that the leading server has decided to open the pool.
func (w *twin) opening(server int, steady time.Duration) error {
	s := w.servers[server]
	if opens := s.since + w.maxTTL + w.quarantine + s.stride; steady < opens {
		return fmt.Errorf("S7: the pool was opened at %v, before %v", steady, opens)
	}
	return nil
}

// mints reports that a holder puts a timestamp into an ID.
func (w *twin) mints(node int, epoch uint64, ms int64) error {
	w.seen.minted++
	l := w.lease(node, epoch)
	if ms < l.floor || ms > l.top {
		return fmt.Errorf("P2: node ID %d minted %d under epoch %d, outside %d-%d", node, ms, epoch,
			l.floor, l.top)
	}
	l.used = max(l.used, ms)
	if other, ok := w.minted[twinID{node, ms}]; ok && other != epoch {
		return fmt.Errorf("P2: node ID %d minted %d under epochs %d and %d", node, ms, other, epoch)
	}
	w.minted[twinID{node, ms}] = epoch
	return nil
}

// twinPlace is an instance's place in the queue.
type twinPlace struct {
	instance string
	requests []int
}

// queues, leaves and served keep the queue for a free node ID: an instance has one
// place, until the last of its requests leaves or it is served.
func (w *twin) queues(waiter int, instance string) {
	w.seen.queued++
	for i := range w.line {
		if p := &w.line[i]; p.instance == instance {
			p.requests = append(p.requests, waiter)
			w.seen.shared++
			return
		}
	}
	w.line = append(w.line, twinPlace{instance, []int{waiter}})
}

func (w *twin) leaves(waiter int) {
	for i := range w.line {
		w.line[i].requests = slices.DeleteFunc(w.line[i].requests,
			func(other int) bool { return other == waiter })
	}
	w.line = slices.DeleteFunc(w.line, func(p twinPlace) bool { return len(p.requests) == 0 })
}

func (w *twin) served(instance string) {
	w.line = slices.DeleteFunc(w.line, func(p twinPlace) bool { return p.instance == instance })
}

// single checks that no instance has two live records (S2).
func (w *twin) single() error {
	nodes := map[string]int{}
	for node, rec := range w.onDisk {
		if other, ok := nodes[rec.instance]; rec.live && ok {
			return fmt.Errorf("S2: instance %q holds node IDs %d and %d", rec.instance, other, node)
		}
		if rec.live {
			nodes[rec.instance] = node
		}
	}
	return nil
}
