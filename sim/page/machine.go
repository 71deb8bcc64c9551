package page

import (
	"fmt"
	"time"

	"github.com/cirrus-id/cirrus/sim"
)

// machine is a machine's lane, and what has started on the machine and not ended.
type machine struct {
	lane  *lane
	index int
	// running says that a process runs, since then.
	running bool
	since   time.Duration
	process int // its number
	hold    *hold
	// leads says that it is a replica that leads, since then.
	leads    bool
	ledSince time.Duration
}

// hold is a lease that an app believes it has.
type hold struct {
	lease    string
	label    string
	hue      int
	epoch    uint64
	from     time.Duration
	deadline time.Duration
}

// happens adds a record to the lane of its machine.
func (b *builder) happens(m *machine, r *sim.Record) {
	switch r.Kind {
	case sim.RecordStart:
		m.dies(r.At)
		m.running, m.since, m.process = true, r.At, r.Process
	case sim.RecordExit, sim.RecordCrash:
		m.dies(r.At)
		b.serverEnds(r)
	case sim.RecordTerm:
		m.deposed(r.At)
		m.leads, m.ledSince = true, r.At
		b.tookOver(r)
	case sim.RecordDeposed:
		m.deposed(r.At)
	case sim.RecordHold:
		b.holds(m, r)
	case sim.RecordExtend:
		m.extends(r.At, r.Until)
		return
	case sim.RecordLapse:
		m.lapses(r.At)
	case sim.RecordPause, sim.RecordNetwork:
		m.lasts(r)
		return
	case sim.RecordDisk:
		if r.Until > r.At {
			m.lasts(r)
			return
		}
	case sim.RecordSend, sim.RecordArrive, sim.RecordReply, sim.RecordAnswer, sim.RecordDrop,
		sim.RecordDurable, sim.RecordDeadline, sim.RecordSettings:
		return // a message is a line between lanes, and the rest shows in the node ID's lane
	}
	m.mark(b, r)
}

// mark adds a sign to the lane.
func (m *machine) mark(b *builder, r *sim.Record) {
	s := mark{Kind: string(r.Kind), At: micros(r.At), Text: sentence(r), Hue: -1}
	if n := b.nodeOf(r); n != nil {
		s.Hue = n.lane.Hue
		if r.Epoch != 0 {
			s.Lease = leaseKey(r)
		}
		if r.Kind == sim.RecordMint {
			n.minted(r)
			if m.hold != nil {
				s.Lease = m.hold.lease
			}
		}
	}
	m.lane.Marks = append(m.lane.Marks, s)
}

// lasts adds a bar for a record that says when it ends.
func (m *machine) lasts(r *sim.Record) {
	kind := map[sim.RecordKind]barKind{
		sim.RecordPause: barPause, sim.RecordNetwork: barCut, sim.RecordDisk: barSlow,
	}[r.Kind]
	m.lane.Bars = append(m.lane.Bars,
		bar{Kind: kind, From: micros(r.At), To: micros(r.Until), Text: sentence(r), Hue: -1})
}

// deposed ends the bar of a replica that leads.
func (m *machine) deposed(at time.Duration) {
	if m.leads {
		text := m.lane.Name + " leads"
		m.lane.Bars = append(m.lane.Bars,
			bar{Kind: barLead, From: micros(m.ledSince), To: micros(at), Text: text, Hue: -1})
	}
	m.leads = false
}

// dies ends a process and what it holds.
func (m *machine) dies(at time.Duration) {
	m.lapses(at)
	m.deposed(at)
	if m.running {
		text := fmt.Sprintf("%s, process %d", m.lane.Name, m.process)
		m.lane.Bars = append(m.lane.Bars,
			bar{Kind: barLife, From: micros(m.since), To: micros(at), Text: text, Hue: -1})
	}
	m.running = false
}

// holds starts a hold.
func (b *builder) holds(m *machine, r *sim.Record) {
	m.lapses(r.At)
	h := &hold{lease: leaseKey(r), label: fmt.Sprintf("node ID %d", r.Node), hue: -1,
		epoch: r.Epoch,
		from:  r.At, deadline: r.Until}
	if n := b.nodeOf(r); n != nil {
		h.hue = n.lane.Hue
	}
	m.hold = h
}

// extends moves the deadline of the hold.
func (m *machine) extends(at, deadline time.Duration) {
	h := m.hold
	if h == nil || deadline == h.deadline {
		return
	}
	if h.deadline < at { // it had passed for a while
		m.show(at)
		h.from = at
	}
	h.deadline = deadline
}

// lapses ends the hold.
func (m *machine) lapses(at time.Duration) {
	if m.hold != nil {
		m.show(at)
		m.hold = nil
	}
}

// show draws a hold up to a time: the part in which the holder was live, and the
// part after its deadline.
func (m *machine) show(at time.Duration) {
	h := m.hold
	live := min(at, h.deadline)
	b := bar{Kind: barLive, From: micros(h.from), To: micros(live), Label: h.label, Lease: h.lease,
		Hue: h.hue}
	b.Text = fmt.Sprintf("%s holds %s, epoch %s, and may use it",
		m.lane.Name, h.label, shortEpoch(h.epoch))
	m.lane.Bars = append(m.lane.Bars, b)
	if at > h.deadline {
		b.Kind, b.From, b.To, b.Label = barStale, micros(max(h.deadline, h.from)), micros(at), ""
		b.Text = fmt.Sprintf("the deadline of %s for %s has passed: it mints no more",
			m.lane.Name, h.label)
		m.lane.Bars = append(m.lane.Bars, b)
	}
}
