package explore

import (
	"encoding/binary"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

// appendServer appends a server's fingerprint: two servers with the same one answer
// alike whatever they are told from then on. It leaves out what can make no
// difference any more: a deadline whose quarantine has ended, a mark write that
// carries no promise, and what fencing.ServerState lacks. All other times are exact.
func appendServer(b []byte, s *fencing.ServerState) []byte {
	b = num(num(b, s.ServerTime), s.Rest, s.Steady)
	b = appendMeta(b, &s.Meta)
	b = appendMark(b, &s.Mark)
	b = flags(text(b, s.LastNoted), s.Failed, s.NotesLeft)
	b = num(num(b, s.ShortestTTL), len(s.Changing))
	for _, name := range s.Changing {
		b = text(b, name)
	}
	b = num(b, len(s.Pools))
	for i := range s.Pools {
		b = appendPoolState(b, &s.Pools[i], s.Steady)
	}
	return b
}

func appendMark(b []byte, m *fencing.MarkState) []byte {
	b = flags(num(b, m.Stride, m.Configured, m.Longest), m.Writing, m.Holds)
	if m.Holds {
		b = num(b, m.Sent)
	}
	if m.Configured < m.Stride {
		b = num(b, m.Since) // until then the longer stride is stored
	}
	return b
}

func appendPoolState(b []byte, p *fencing.PoolState, steady time.Duration) []byte {
	b = appendPool(b, &p.Pool)
	b = num(num(b, p.Highest, p.Loaded), p.Fresh, p.Sweep)
	b = num(flags(b, p.Watched, p.Lags, p.Sweeping, p.Unsaved), p.EventsLeft)
	if !p.Opened {
		b = num(b, p.Since)
	}
	b = num(b, len(p.Nodes))
	for i := range p.Nodes {
		b = appendNode(b, &p.Nodes[i], steady, p.QuarantineOf(p.Nodes[i].TTL))
	}
	b = num(b, len(p.Grants))
	for _, g := range p.Grants {
		b = appendPending(num(b, g.Node), &g.Pending)
	}
	for _, list := range [][]snowflake.NodeID{p.Expiring, p.Resting, p.Cooling, p.Free, p.Unnoted} {
		b = num(num(b, len(list)), list...)
	}
	b = num(b, len(p.Alarms))
	for _, a := range p.Alarms {
		b = num(num(b, a.Node), a.Epoch)
	}
	b = num(num(b, p.Leaving[:]...), len(p.Queue))
	for _, in := range p.Queue {
		b = num(append(b, in.Instance[:]...), in.Requests)
	}
	return b
}

func appendNode(b []byte, n *fencing.NodeState, steady, quarantine time.Duration) []byte {
	b = num(appendRecord(b, &n.Record), n.Due)
	b = flags(append(b, byte(n.Part)), n.Cooling, n.ByInstance, n.ByApp)
	b = appendPending(b, &n.Pending)
	if n.Status == fencing.Ended {
		return b
	}
	if steady < n.Deadline+quarantine {
		b = num(append(b, 1), n.Deadline)
	} else {
		b = append(b, 0)
	}
	return num(b, max(n.NoteAt, steady))
}

func appendPending(b []byte, w *fencing.PendingState) []byte {
	b = num(append(b, w.Kind, byte(w.From)), w.Deadline, w.TTL)
	return append(b, w.Instance[:]...)
}

// appendWrite appends what distinguishes the write from all others.
func appendWrite(b []byte, w *fencing.Write) []byte {
	b = flags(num(b, w.Sent()), w.Grants, w.Batch.Meta != nil)
	if w.Batch.Meta != nil {
		b = appendMeta(b, w.Batch.Meta)
	}
	b = num(b, len(w.Batch.Pools))
	for i := range w.Batch.Pools {
		b = appendPool(b, &w.Batch.Pools[i])
	}
	b = num(b, len(w.Batch.Records))
	for i := range w.Batch.Records {
		b = appendRecord(b, &w.Batch.Records[i])
	}
	return b
}

func appendMeta(b []byte, m *fencing.Meta) []byte {
	b = num(num(num(b, m.Mark, m.CreatedAt), m.Stride, m.SuspectFor), m.FirstEpoch)
	return flags(append(b, m.ID[:]...), m.Vouched)
}

func appendPool(b []byte, p *fencing.Pool) []byte {
	b = num(appendLayout(text(b, p.Name), p.Layout), p.CreatedAt)
	b = num(num(b, p.First, p.Last), p.TTL, p.MaxTTL, p.Quarantine, p.LongestTTL)
	return flags(b, p.Unsafe, p.Opened)
}

func appendLayout(b []byte, l snowflake.Layout) []byte {
	return num(append(b, l.TimestampBits, l.NodeBits, l.SequenceBits), l.Origin)
}

func appendRecord(b []byte, r *fencing.Record) []byte {
	b = num(num(text(b, r.Pool), r.Node), r.Epoch)
	b = append(num(text(b, r.App), r.TTL), byte(r.Status))
	b = num(append(b, r.Instance[:]...), r.Floor, r.Ceiling)
	return num(num(flags(b, r.Silence.Noted), r.Silence.Left), r.Silence.Ceiling)
}

// appendHolder appends a holder's fingerprint at steady time at. From then on, the
// holder reads its clock only at points of a grid. Two holders with the same
// fingerprint act alike. It leaves out times that have passed, and does not
// distinguish times between two points of the grid or, if the grid is wider than
// fencing.MaxBackoff, counts of failures.
func appendHolder(b []byte, h *fencing.HolderState, at, grid time.Duration) []byte {
	b = num(text(text(b, h.Config.Pool), h.Config.App), h.Config.TTL, h.Config.Wait)
	b = flags(b, h.Config.NoReacquire, h.Live, h.Held, h.InFlight)
	b = append(b, byte(h.Phase))
	if h.Phase == fencing.HolderNew || h.Phase == fencing.HolderEnded {
		return b
	}
	b = text(b, h.Instance)
	if grid <= fencing.MaxBackoff {
		b = append(b, h.Failures)
	}
	r := h.Round
	b = num(num(flags(b, r.Works), int(r.Addresses), int(r.Tried)), r.After)
	if h.InFlight {
		b = num(appendCall(b, &h.Call), roundUp(h.GiveUp, grid))
	} else {
		b = num(append(b, byte(h.Call.Kind)), max(roundUp(h.Due, grid), at))
	}
	if h.Phase == fencing.HolderAcquiring {
		return b
	}
	b = num(appendLease(b, &h.Lease), max(h.Deadline, at))
	if h.Phase == fencing.HolderReleasing {
		b = num(num(b, max(roundUp(h.ReleaseBy, grid), at)), h.Last)
	}
	return b
}

// roundUp returns the first point of the grid at or after a time.
func roundUp(at, grid time.Duration) time.Duration {
	if below := at % grid; below > 0 {
		return at - below + grid
	}
	return at - at%grid
}

func appendLease(b []byte, l *fencing.Lease) []byte {
	b = num(text(text(b, l.Pool), l.App), l.TTL)
	b = num(num(num(b, l.Node), l.Epoch), l.ServerTime, l.Floor, l.Ceiling)
	return appendLayout(b, l.Layout)
}

func appendCall(b []byte, c *fencing.Call) []byte {
	b = num(append(b, byte(c.Kind)), c.SentAt, c.TTL, c.Wait)
	b = text(text(text(b, c.Pool), c.Instance), c.App)
	return num(num(num(b, c.Node), c.Epoch), c.Last)
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
