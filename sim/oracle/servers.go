package oracle

import (
	"slices"
	"time"

	"github.com/cirrus-id/cirrus/sim/event"
)

// server is what is known of a machine that can serve.
type server struct {
	name    string
	index   int
	clock   event.Clock // as it is now
	proc    *process    // the last one that started
	running bool
	serving bool          // it takes requests
	leads   bool          // a replica's term serves
	stride  time.Duration // that its process was told
}

// tolerance is what two readings of the server's clock may be off.
func (s *server) tolerance() time.Duration { return s.clock.Resolution + time.Microsecond }

// process is one of a machine's.
type process struct {
	event.Process
	server *server // on which it runs; nil: it is a client's
	dead   bool
	// terms are those that a replica's process began, in their order.
	terms []*term
}

func (o *Oracle) process(p event.Process) *process {
	known := o.processes[p]
	if known == nil {
		known = &process{Process: p}
		o.processes[p] = known
	}
	return known
}

// hearOfServer takes news of servers and their processes.
func (o *Oracle) hearOfServer(news event.News) {
	switch n := news.(type) {
	case event.Server:
		o.servers = append(o.servers, &server{name: n.Name, index: n.Index,
			clock: o.at.Clocks[n.Index]})
		if o.primary == nil {
			o.primary = o.servers[0]
		}
	case event.Started:
		s := o.servers[n.Server]
		s.proc, s.running, s.serving, s.stride = o.process(n.Process), true, false, n.Stride
		s.proc.server = s
	case event.Serves:
		o.servers[n.Server].serving = n.On
	case event.Stopped:
		o.stopped(o.servers[n.Server], o.process(n.Process))
	case event.Moved:
		o.primary = o.servers[n.To]
		o.supersede(o.term(o.process(n.From)))
	case event.Logged:
		o.logged(n)
	case event.ClockChanged:
		o.noteDeadlines(o.servers[n.Server])
	}
}

// stopped keeps what the process had in flight for the next load.
func (o *Oracle) stopped(s *server, p *process) {
	p.dead = true
	s.running, s.serving, s.leads = false, false, false
	kept := o.pending[:0]
	for _, f := range o.pending {
		if f.ended = f.ended || f.proc == p; !f.ended || !f.settled {
			kept = append(kept, f)
		}
	}
	clear(o.pending[len(kept):])
	o.pending = kept
	o.asking = slices.DeleteFunc(o.asking, func(op *operation) bool { return op.proc == p })
	for _, op := range o.history {
		if op.proc == p && op.answeredAt == 0 {
			op.unknown = true
		}
	}
}
