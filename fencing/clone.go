package fencing

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// Clone returns a server that goes on from the same state on its own: nothing
// that one of the two is told changes the other. A Write that either of them
// asked for before may be acknowledged to both.
func (s *Server) Clone() *Server {
	c := *s
	c.pools = make(map[PoolName]*pool, len(s.pools))
	for name, p := range s.pools {
		c.pools[name] = p.clone()
	}
	c.changing = maps.Clone(s.changing)
	c.events = slices.Clone(s.events)
	return &c
}

func (p *pool) clone() *pool {
	c := *p
	c.slots = p.slots.clone()
	c.granting = make(map[snowflake.NodeID]*pendingWrite, len(p.granting))
	for node, under := range p.granting {
		c.granting[node] = under.clone()
	}
	c.quiet, c.silent = quietHeap(slotHeap(p.quiet).in(&c.slots)), slotHeap(p.silent).in(&c.slots)
	c.expiring, c.resting, c.cooling = p.expiring.in(&c.slots), p.resting.in(&c.slots), p.cooling.in(&c.slots)
	c.free = slotList{}
	for l := p.free.first; l != nil; l = l.next {
		c.free.push(c.slots.at(l.node))
	}
	c.nodes, c.unnoted, c.queue = p.nodes.clone(), slices.Clone(p.unnoted), slices.Clone(p.queue)
	c.byInstance, c.byApp, c.alarms = p.byInstance.clone(), p.byApp.clone(), p.alarms.clone()
	return &c
}

func (l *slot) clone() *slot {
	c := *l
	c.pending, c.prev, c.next = l.pending.clone(), nil, nil
	return &c
}

func (c *pendingWrite) clone() *pendingWrite {
	if c == nil {
		return nil
	}
	copied := *c
	return &copied
}

// in is the heap over the leases that stand for the same node IDs.
func (h slotHeap) in(leases *slotTable) slotHeap {
	if h == nil {
		return nil
	}
	c := make(slotHeap, len(h))
	for i, l := range h {
		c[i] = leases.at(l.node)
	}
	return c
}

// AppendFingerprint appends what tells the server's state from all others: two
// servers of equal fingerprints answer alike whatever they are told from then
// on. Left out is what can make no difference any more (a deadline whose
// quarantine is over, a mark write that carries no promise), and what is only
// for show: events not yet taken, the text of a failure, the clock offset as
// last seen; the numbers of tickets, of which only the order counts as long as
// nobody keeps one; and the order in which leases that are silent at once are
// noted, since all of them are. All other times are exact.
func (s *Server) AppendFingerprint(b []byte) []byte {
	b = num(num(b, s.time.ms), s.time.rest, s.time.steady)
	b = s.meta.appendFingerprint(b)
	b = s.mark.appendFingerprint(b, s.time.steady)
	b = flags(text(b, s.lastNoted), s.failed != nil, s.notesLeft)
	b = num(num(b, s.shortestTTL), len(s.changing))
	for _, name := range sorted(s.changing, cmp.Compare[PoolName]) {
		b = text(b, name)
	}
	b = num(b, len(s.pools))
	for _, name := range s.PoolNames() {
		b = s.pools[name].appendFingerprint(b, s.time.steady)
	}
	return b
}

func (m *markLease) appendFingerprint(b []byte, steady time.Duration) []byte {
	b = flags(num(b, m.stride, m.configured), m.writing, m.holds(steady))
	if m.holds(steady) {
		b = num(b, m.sent)
	}
	if m.configured < m.stride {
		b = num(b, m.since) // shorten
	}
	return b
}

func (p *pool) appendFingerprint(b []byte, steady time.Duration) []byte {
	b = p.Pool.appendFingerprint(b)
	b = num(num(b, p.highest), p.fresh)
	b = num(num(flags(b, p.watched, p.lags, p.sweeping, p.unsaved), p.sweep), p.eventsLeft)
	if !p.Opened {
		b = num(b, p.since)
	}
	b = num(b, p.nodes.len)
	for l := range p.slots.all() {
		b = l.appendFingerprint(b)
		b = flags(b, p.byInstance.has(hashOfInstance(&l.instance), l.node), p.byApp.has(hashOfApp(l.app), l.node))
		if l.status != Ended && steady < l.deadline+p.QuarantineOf(l.ttl) {
			b = num(b, l.deadline)
		}
		if l.status != Ended {
			b = num(b, max(l.noteAt, steady))
		}
	}
	b = num(b, len(p.granting))
	for _, node := range sorted(p.granting, cmp.Compare[snowflake.NodeID]) {
		b = p.granting[node].appendFingerprint(num(b, node))
	}
	for _, h := range []slotHeap{p.expiring, p.resting, p.cooling} {
		b = num(b, len(h))
		for _, l := range h {
			b = num(b, l.node)
		}
	}
	b = num(b, p.free.len)
	for l := p.free.first; l != nil; l = l.next {
		b = num(b, l.node)
	}
	b = num(nodes(b, p.unnoted), len(p.alarms.order), p.alarms.oldest)
	for _, a := range p.alarms.order {
		b = num(num(b, a.node), a.epoch)
	}
	b = num(b, p.loaded)
	b = num(b, p.leaving[:]...)
	b = num(b, len(p.queue))
	for _, in := range p.queue {
		b = num(append(b, in.instance[:]...), in.requests)
	}
	return b
}

// appendFingerprint leaves prev, next and the slots to the list and the heaps,
// and the deadline and noteAt to the pool.
func (l *slot) appendFingerprint(b []byte) []byte {
	b = num(b, l.node)
	b = append(b, byte(l.status), byte(l.indexedAs))
	b = flags(b, l.cooling)
	b = num(text(num(b, l.epoch), l.app), l.ttl, l.due)
	b = num(append(b, l.instance[:]...), l.floor, l.ceiling)
	if b = flags(b, l.note != nil); l.note != nil {
		b = num(num(b, l.note.Left), l.note.Ceiling)
	}
	return l.pending.appendFingerprint(b)
}

func (c *pendingWrite) appendFingerprint(b []byte) []byte {
	if c == nil {
		return append(b, 0)
	}
	b = num(append(b, byte(c.kind), byte(c.from)), c.deadline, c.ttl)
	return append(b, c.instance[:]...)
}

// AppendFingerprint appends what tells the write from all others.
func (w *Write) AppendFingerprint(b []byte) []byte {
	b = num(b, w.sent)
	b = flags(b, w.Grants, w.Batch.Meta != nil)
	if w.Batch.Meta != nil {
		b = w.Batch.Meta.appendFingerprint(b)
	}
	b = num(b, len(w.Batch.Pools))
	for i := range w.Batch.Pools {
		b = w.Batch.Pools[i].appendFingerprint(b)
	}
	b = num(b, len(w.Batch.Records))
	for i := range w.Batch.Records {
		b = w.Batch.Records[i].appendFingerprint(b)
	}
	return b
}

func (m *Meta) appendFingerprint(b []byte) []byte {
	b = num(num(num(b, m.Mark, m.CreatedAt), m.Stride, m.SuspectFor), m.FirstEpoch)
	return flags(append(b, m.ID[:]...), m.Vouched)
}

func (p *Pool) appendFingerprint(b []byte) []byte {
	b = text(b, p.Name)
	b = num(append(b, p.Layout.TimestampBits, p.Layout.NodeBits, p.Layout.SequenceBits), p.Layout.Origin, p.CreatedAt)
	b = num(num(b, p.First, p.Last), p.TTL, p.MaxTTL, p.Quarantine, p.LongestTTL)
	return flags(b, p.Unsafe, p.Opened)
}

func (r *Record) appendFingerprint(b []byte) []byte {
	b = num(num(text(b, r.Pool), r.Node), r.Epoch)
	b = append(num(text(b, r.App), r.TTL), byte(r.Status))
	b = num(append(b, r.Instance[:]...), r.Floor, r.Ceiling)
	return num(num(flags(b, r.Silence.Noted), r.Silence.Left), r.Silence.Ceiling)
}

// AppendFingerprint appends what tells the holder, at steady time at, from all
// others that from then on are told of times on a grid only: such holders of
// equal fingerprints act alike. Left out is what has passed. Times between two
// points of the grid are one, and so are, where the grid is wider than
// MaxBackoff, all counts of failures.
func (h Holder) AppendFingerprint(b []byte, at, grid time.Duration) []byte {
	b = num(text(text(b, h.cfg.Pool), h.cfg.App), h.cfg.TTL, h.cfg.Wait)
	b = flags(b, h.cfg.NoReacquire, h.live, h.held, h.inFlight)
	b = append(b, byte(h.phase))
	if h.phase == HolderNew || h.phase == HolderEnded {
		return b
	}
	b = text(b, h.instance)
	if grid <= MaxBackoff {
		b = append(b, h.failures)
	}
	b = num(flags(b, h.round.works), int64(h.round.addresses), int64(h.round.tried), int64(h.round.after))
	if h.inFlight {
		b = num(h.call.AppendFingerprint(b), up(h.giveUp, grid))
	} else {
		b = num(append(b, byte(h.call.Kind)), max(up(h.due, grid), at))
	}
	if h.phase == HolderAcquiring {
		return b
	}
	b = num(h.lease.AppendFingerprint(b), max(h.deadline, at))
	if h.phase == HolderReleasing {
		b = num(num(b, max(up(h.releaseBy, grid), at)), h.last)
	}
	return b
}

// up is the first point of the grid at or after a time.
func up(at, grid time.Duration) time.Duration {
	if below := at % grid; below > 0 {
		return at - below + grid
	}
	return at - at%grid
}

// AppendFingerprint appends what tells the lease from all others.
func (l Lease) AppendFingerprint(b []byte) []byte {
	b = num(text(text(b, l.Pool), l.App), l.TTL)
	b = num(num(num(b, l.Node), l.Epoch), l.ServerTime, l.Floor, l.Ceiling, l.Layout.Origin)
	return append(b, l.Layout.TimestampBits, l.Layout.NodeBits, l.Layout.SequenceBits)
}

// AppendFingerprint appends what tells the call from all others.
func (c Call) AppendFingerprint(b []byte) []byte {
	b = num(append(b, byte(c.Kind)), c.SentAt, c.TTL, c.Wait)
	b = text(text(text(b, c.Pool), c.Instance), c.App)
	return num(num(num(b, c.Node), c.Epoch), c.Last)
}

// AppendFingerprint appends what tells the answer from all others.
func (a Answer) AppendFingerprint(b []byte) []byte {
	b = append(a.Call.AppendFingerprint(b), byte(a.Verdict))
	return flags(num(a.Lease.AppendFingerprint(b), a.RetryAfter), a.Elsewhere)
}

func num[T ~int | ~int64 | ~uint32 | ~uint64](b []byte, values ...T) []byte {
	for _, v := range values {
		b = binary.AppendVarint(b, int64(v))
	}
	return b
}

func flags(b []byte, values ...bool) []byte {
	for _, v := range values {
		if v {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
	}
	return b
}

func text[T ~string](b []byte, s T) []byte { return append(num(b, len(s)), s...) }

func nodes(b []byte, list []snowflake.NodeID) []byte { return num(num(b, len(list)), list...) }

func sorted[K comparable, V any](m map[K]V, compare func(a, b K) int) []K {
	return slices.SortedFunc(maps.Keys(m), compare)
}
