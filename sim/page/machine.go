package page

import (
	"fmt"
	"time"

	"github.com/cirrus-id/cirrus/sim"
)

// machine is a lane that fills.
type machine struct {
	lane    *lane
	index   int
	running bool
	since   time.Duration
	process int
	hold    *hold
	// leads: it is a replica that has led since then.
	leads bool
	led   time.Duration
}

// hold is a lease that a machine's app was told of.
type hold struct {
	lease    string
	label    string
	hue      int
	epoch    uint64
	from     time.Duration
	deadline time.Duration
}

// happens adds what a record tells of its own machine.
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
		m.leads, m.led = true, r.At
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
	case sim.RecordSend, sim.RecordArrive, sim.RecordReply, sim.RecordAnswer, sim.RecordDrop, sim.RecordDurable, sim.RecordDeadline, sim.RecordSettings:
		return // messages are lines, and what concerns a node ID shows there
	}
	m.mark(b, r)
}

// mark puts a sign into the lane.
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

// lasts adds what has an end from its beginning.
func (m *machine) lasts(r *sim.Record) {
	kind := map[sim.RecordKind]barKind{sim.RecordPause: barPause, sim.RecordNetwork: barCut, sim.RecordDisk: barSlow}[r.Kind]
	m.lane.Bars = append(m.lane.Bars, bar{Kind: kind, From: micros(r.At), To: micros(r.Until), Text: sentence(r), Hue: -1})
}

// deposed ends what a replica led.
func (m *machine) deposed(at time.Duration) {
	if m.leads {
		m.lane.Bars = append(m.lane.Bars, bar{Kind: barLead, From: micros(m.led), To: micros(at), Text: m.lane.Name + " leads", Hue: -1})
	}
	m.leads = false
}

// dies ends a process, and what it held.
func (m *machine) dies(at time.Duration) {
	m.lapses(at)
	m.deposed(at)
	if m.running {
		m.lane.Bars = append(m.lane.Bars, bar{Kind: barLife, From: micros(m.since), To: micros(at), Text: fmt.Sprintf("%s, process %d", m.lane.Name, m.process), Hue: -1})
	}
	m.running = false
}

// holds begins a hold.
func (b *builder) holds(m *machine, r *sim.Record) {
	m.lapses(r.At)
	h := &hold{lease: leaseKey(r), label: fmt.Sprintf("node ID %d", r.Node), hue: -1, epoch: r.Epoch, from: r.At, deadline: r.Until}
	if n := b.nodeOf(r); n != nil {
		h.hue = n.lane.Hue
	}
	m.hold = h
}

// extends moves the deadline of what is held.
func (m *machine) extends(at, deadline time.Duration) {
	h := m.hold
	if h == nil || deadline == h.deadline {
		return
	}
	if h.deadline < at { // it was over for a while
		m.show(at)
		h.from = at
	}
	h.deadline = deadline
}

// lapses ends what is held.
func (m *machine) lapses(at time.Duration) {
	if m.hold != nil {
		m.show(at)
		m.hold = nil
	}
}

// show draws a hold up to a time: what of it was live, and what was not.
func (m *machine) show(at time.Duration) {
	h := m.hold
	live := min(at, h.deadline)
	b := bar{Kind: barLive, From: micros(h.from), To: micros(live), Label: h.label, Lease: h.lease, Hue: h.hue}
	b.Text = fmt.Sprintf("%s holds %s, epoch %s, and may use it", m.lane.Name, h.label, shortEpoch(h.epoch))
	m.lane.Bars = append(m.lane.Bars, b)
	if at > h.deadline {
		b.Kind, b.From, b.To, b.Label = barStale, micros(max(h.deadline, h.from)), micros(at), ""
		b.Text = fmt.Sprintf("the deadline of %s for %s is over: it mints no more", m.lane.Name, h.label)
		m.lane.Bars = append(m.lane.Bars, b)
	}
}
