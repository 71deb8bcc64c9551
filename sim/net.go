package sim

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/cirrus-id/cirrus/service"
	"github.com/cirrus-id/cirrus/sim/event"
	"github.com/cirrus-id/cirrus/sim/kernel"
	"github.com/cirrus-id/cirrus/sim/plan"
)

// network carries requests from machines to the server, and answers back. It
// loses, doubles, delays and reorders them, and cuts machines off.
type network struct {
	w     *world
	calls int
	// toServer and fromServer are when the cuts of apps end, by machine.
	toServer, fromServer map[string]time.Duration
	open                 []*call
	// links are cuts between machines, of replicas' worlds.
	links map[link]time.Duration
	// delivered are the last answers that reached each machine, by RPC.
	delivered map[string]delivered
	// heartbeat is the last one that an app has sent.
	heartbeat *call
}

// link is the path from one machine to another.
type link struct{ from, to string }

// cutOff reports whether the path between two machines is cut.
func (n *network) cutOff(from, to string) bool {
	now := n.w.now()
	return now < n.toServer[from] || now < n.fromServer[to] || len(n.links) > 0 &&
		now < n.links[link{from, to}]
}

// delivered is an answer that has reached its call.
type delivered struct {
	call   *call
	answer *answer
	said   *event.Reply
	from   string
}

// call is one request of a client, and all that becomes of it.
type call struct {
	w         *world
	number    int
	procedure string // the RPC's name: Acquire, Heartbeat, …
	from      *kernel.Process
	ctx       context.Context
	method    string
	host      string // whom it is for: serviceName, or a machine's name
	path      string
	to        *server // that it reached last; nil: none yet
	header    http.Header
	body      []byte
	request   *event.Request // what it says
	// answer is what has arrived, with err in its place if the connection
	// broke.
	answer *answer
	err    error
	// hit are the kinds of faults that it met.
	hit map[plan.Kind]bool
	// serving are what cancels its handlers.
	serving []context.CancelFunc
	gaveUp  bool
	// peer: one replica passes it on to another, for parent; lost: nobody will
	// answer it.
	peer, lost bool
	parent     int // the operation
	ping       *kernel.Event
	// sent is the sender's steady time.
	sent time.Duration
}

// answer is a reply as it is carried.
type answer struct {
	status int
	header http.Header
	body   []byte
}

var (
	errRefused = &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	errReset   = errors.New("connection reset by peer")
)

func (n *network) close(c *call) {
	n.w.loop.Cancel(c.ping)
	for i, other := range n.open {
		if other == c {
			n.open = append(n.open[:i], n.open[i+1:]...)
			return
		}
	}
}

// dice is the stream of a purpose for the machine that a call came from.
func (n *network) dice(purpose string, c *call) kernel.Dice {
	return n.w.dice(purpose, n.w.machineIndex(c.from.Machine))
}

// latency is how long a message takes.
func (n *network) latency(c *call) time.Duration {
	d := n.dice("latency", c).Duration(200*time.Microsecond, 3*time.Millisecond)
	if n.w.faulty() && n.w.plan.Slow > 0 {
		if s := n.dice("delay", c); s.Chance(n.w.plan.Slow) && n.w.countFault() {
			c.hit[plan.Delay] = true
			d += s.Tail(n.w.plan.TTL/20, 2*n.w.plan.TTL)
		}
	}
	if n.w.on(plan.Reorder) && n.w.fault(plan.Reorder, n.w.machineIndex(c.from.Machine), 200) {
		c.hit[plan.Reorder] = true
		d += n.dice("reorder", c).Duration(0, n.w.plan.TTL/3)
	}
	return d
}

// send lets a request leave its machine.
func (n *network) send(c *call) {
	if c.procedure == event.CallHeartbeat && !c.peer {
		n.heartbeat = c
	}
	w := n.w
	n.open = append(n.open, c)
	to := n.address(c)
	w.note(Record{Kind: RecordSend, Machine: c.from.Machine.Name, Process: c.from.Number, Peer: to,
		Message: c.number, Call: c.procedure, Pool: c.request.Pool, Node: c.request.Node,
		Epoch: c.request.Epoch})
	n.replay(c)
	if c.peer {
		n.watch(c)
	}
	if n.cutOff(c.from.Machine.Name, to) {
		c.hit[plan.Cut] = true
		n.drop(c, c.from.Machine.Name, to, "cut off")
		return
	}
	if n.intercept(c) {
		c.lost = true
		return
	}
	lost := n.dice("loss", c).Chance(w.plan.Loss)
	doubled := n.dice("duplicate", c).Chance(w.plan.Duplicate)
	if lost && w.faulty() && w.countFault() {
		c.hit[plan.Loss] = true
		n.drop(c, c.from.Machine.Name, to, "lost")
	} else {
		w.loop.At(w.now()+n.latency(c), "request", func() { n.arrive(c) })
	}
	if doubled && w.faulty() && w.countFault() {
		c.hit[plan.Duplicate] = true
		again := n.latency(c)
		if d := n.dice("long duplicate", c); d.Below(3) == 2 {
			again += d.Tail(w.plan.TTL/4, 4*w.plan.TTL)
		}
		w.loop.At(w.now()+again, "request again", func() { n.arrive(c) })
	}
}

// minds reports whether a call can tell that an answer is not its own: between
// replicas none is misdirected, and a client without an instance ID can't tell.
func (c *call) minds() bool {
	return !c.peer && (c.procedure != event.CallAcquire || c.request.Instance != "")
}

// replay lets a call meet the answer to one of an earlier incarnation's, as
// where a port is used again, or where a proxy mixes up its connections.
func (n *network) replay(c *call) {
	old, ok := n.delivered[c.from.Machine.Name+c.procedure]
	w := n.w
	if !c.minds() || !w.on(plan.StrayAnswer) ||
		!w.fault(plan.StrayAnswer, 100+w.machineIndex(c.from.Machine), 100) || !ok ||
		old.call.from == c.from {
		return
	}
	w.loop.At(w.now()+n.latency(c), "stray answer", func() {
		if c.answer == nil && c.err == nil && !c.from.Dead {
			w.saw("an answer reached another call than its own")
			n.take(old.call, c, old.answer, old.said, old.from)
		}
	})
}

func (n *network) drop(c *call, from, to, why string) {
	c.lost = true
	n.w.note(Record{Kind: RecordDrop, Machine: from, Peer: to, Message: c.number, Call: c.procedure,
		Node: -1, Text: why})
}

// serviceName leads to any server that runs.
const serviceName = "server"

// address is where a call goes: of replicas it is decided on when it leaves.
func (n *network) address(c *call) string {
	w := n.w
	if w.replicated() && c.host == serviceName {
		c.host = w.servers[n.dice("route", c).Below(uint64(len(w.servers)))].name()
		for i := range w.servers { // a load balancer looks who is there
			if s, _ := w.serverNamed(c.host); s.handler != nil {
				break
			}
			c.host = w.servers[i].name()
		}
	}
	return c.host
}

// peerTimeout is how long a replica takes to notice that the connection to
// another is dead: by pings that bring no answer.
const peerTimeout = 3 * time.Second

// watch breaks a call between replicas whose other end has gone silent.
func (n *network) watch(c *call) {
	w := n.w
	c.ping = w.after(min(peerTimeout, w.plan.TTL), "ping", func() {
		to, _ := w.serverNamed(c.host)
		from := c.from.Machine.Name
		if c.lost || to.machine.IsFrozen() || n.cutOff(from, c.host) || n.cutOff(c.host, from) {
			n.fail(c, errReset)
			return
		}
		n.watch(c)
	})
}

// route finds the server that a request reaches: where several run, its name
// leads now to one, now to another.
func (n *network) route(c *call) *server {
	w := n.w
	if c.host != serviceName {
		for _, s := range w.servers {
			if s.name() == c.host {
				return s
			}
		}
	}
	if running := w.running(); len(running) > 1 {
		return running[n.dice("route", c).Below(uint64(len(running)))]
	}
	return w.primary
}

// arrive is a request's arrival at a server.
func (n *network) arrive(c *call) {
	w := n.w
	if w.other.takes(c) {
		w.other.arrive(c)
		return
	}
	s := n.route(c)
	c.to = s
	p := s.proc
	if !s.running() || s.handler == nil {
		w.loop.At(w.now()+n.latency(c), "refused", func() { n.fail(c, errRefused) })
		return
	}
	if c.peer && w.replicated() && len(c.request.Items) > 1 {
		w.saw("heartbeats were gathered")
	}
	w.note(Record{Kind: RecordArrive, Machine: s.name(), Process: p.Number,
		Peer: c.from.Machine.Name, Message: c.number, Call: c.procedure, Pool: c.request.Pool,
		Node: c.request.Node, Epoch: c.request.Epoch})
	handler := s.handler
	p.Start(c.procedure, func() {
		op := w.nextOp()
		w.hear(event.Arrived{Op: op, Process: named(p), Call: c.asNews()})
		w.loop.Running.Errand = op
		n.reply(c, p, op, c.serve(handler))
	})
}

// serving is the operation that the running task answers; 0: none.
func (w *world) serving() int {
	if w.loop.Running == nil {
		return 0
	}
	op, _ := w.loop.Running.Errand.(int)
	return op
}

// serve lets a handler answer.
func (c *call) serve(handler http.Handler) *answer {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.serving = append(c.serving, cancel)
	rec := &responseWriter{header: http.Header{}, status: http.StatusOK}
	handler.ServeHTTP(rec, c.serverRequest(ctx))
	return &answer{status: rec.status, header: rec.header, body: rec.body.Bytes()}
}

func (c *call) serverRequest(ctx context.Context) *http.Request {
	r := &http.Request{
		Method: c.method, URL: &url.URL{Scheme: "http", Host: "server", Path: c.path},
		Host:  "server",
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: c.header.Clone(),
		Body: io.NopCloser(bytes.NewReader(c.body)), ContentLength: int64(len(c.body)),
	}
	return r.WithContext(ctx)
}

// reply lets an answer leave the server.
func (n *network) reply(c *call, p *kernel.Process, op int, a *answer) {
	w := n.w
	said := readReply(c, a)
	w.hear(event.Replied{Op: op, Reply: said, Call: c.asNews(),
		Forwarded:  a.header.Get(service.LeaderHeader) != "",
		LostWrites: w.serverOf(p).countedLost()})
	from := p.Machine.Name
	until, rest := w.oracle.Deadline(named(p), c.request.Pool, said)
	w.note(Record{Kind: RecordReply, Machine: from, Process: p.Number, Peer: c.from.Machine.Name,
		Message: c.number, Call: c.procedure, Pool: c.request.Pool, Node: said.Node,
		Epoch: said.Epoch, Floor: said.Floor, Ceiling: said.Ceiling, Text: said.Code, Until: until,
		RestUntil: rest})
	n.noteItems(c, p, said)
	n.leave(c, a, said, from)
}

// noteItems notes until when a server waits for the holders whose heartbeats came
// together.
func (n *network) noteItems(c *call, p *kernel.Process, said *event.Reply) {
	for i, item := range said.Items {
		pool := c.request.Items[i].Pool
		if until, rest := n.w.oracle.Deadline(named(p), pool, item); until > 0 {
			n.w.note(Record{Kind: RecordDeadline, Machine: p.Machine.Name, Process: p.Number,
				Pool: pool, Node: item.Node, Epoch: item.Epoch, Until: until, RestUntil: rest})
		}
	}
}

// leave sends an answer.
func (n *network) leave(c *call, a *answer, said *event.Reply, from string) {
	w := n.w
	if n.cutOff(from, c.from.Machine.Name) {
		c.hit[plan.Cut] = true
		n.drop(c, from, c.from.Machine.Name, "cut off")
		w.hear(event.AnswerLost{Call: c.asNews(), Reply: said})
		return
	}
	lost := n.dice("answer loss", c).Chance(w.plan.Loss)
	eaten := n.dice("answer eaten", c).Chance(w.plan.LostAnswer) && said.Good
	if (lost || eaten) && w.faulty() && w.countFault() {
		kind := plan.Loss
		if eaten {
			kind = plan.LostAnswer
		}
		c.hit[kind] = true
		n.drop(c, from, c.from.Machine.Name, "lost")
		w.hear(event.AnswerLost{Call: c.asNews(), Reply: said})
		return
	}
	w.loop.At(w.now()+n.latency(c), "answer", func() { n.answer(c, a, said, from) })
}

// answer is an answer's arrival at the machine that asked, or at the process
// that has taken its place.
func (n *network) answer(c *call, a *answer, said *event.Reply, from string) {
	w := n.w
	to := c
	stray := c.minds() && w.on(plan.StrayAnswer) &&
		w.fault(plan.StrayAnswer, w.machineIndex(c.from.Machine), 500)
	if (c.from.Dead || c.answer != nil || c.gaveUp) && stray {
		for _, other := range n.open {
			if other.from.Machine == c.from.Machine && other.procedure == c.procedure &&
				other.minds() && other.from != c.from && other.answer == nil && !other.from.Dead {
				to = other
				w.saw("an answer reached another call than its own")
				break
			}
		}
	}
	if to.from.Dead || to.answer != nil || to.err != nil {
		return
	}
	n.take(c, to, a, said, from)
}

// take gives an answer to a call, its own or another.
func (n *network) take(c, to *call, a *answer, said *event.Reply, from string) {
	w := n.w
	w.note(Record{Kind: RecordAnswer, Machine: to.from.Machine.Name, Process: to.from.Number,
		Peer: from, Message: c.number, Call: c.procedure, Pool: c.request.Pool, Node: said.Node,
		Epoch: said.Epoch, Floor: said.Floor, Ceiling: said.Ceiling, Text: said.Code})
	if app := w.appIndex(to.from); app >= 0 || c.peer {
		w.hear(event.Answered{Call: c.asNews(), To: to.asNews(), App: app, SentAt: to.sent,
			Reply: said})
	}
	n.delivered[c.from.Machine.Name+c.procedure] = delivered{c, a, said, from}
	to.answer = a
	to.from.Machine.Touch()
}

// fail breaks a call's connection.
func (n *network) fail(c *call, err error) {
	if c.answer == nil && c.err == nil && !c.from.Dead {
		c.err = err
		c.from.Machine.Touch()
	}
}

// giveUp tells the server that nobody waits any more, as far as the network
// lets it know.
func (n *network) giveUp(c *call) {
	c.gaveUp = true
	n.w.hear(event.GaveUp{Number: c.number})
	if n.cutOff(c.from.Machine.Name, c.host) {
		return
	}
	n.w.loop.At(n.w.now()+n.latency(c), "hang up", func() {
		for _, cancel := range c.serving {
			cancel()
		}
		for _, s := range n.w.servers {
			s.machine.Touch()
		}
	})
}

// serverDied breaks all connections to a server, after a while, where the
// network still works.
func (n *network) serverDied(s *server) {
	for _, c := range n.open {
		if c.to != nil && c.to != s || n.w.replicated() && c.host != s.name() {
			continue
		}
		c.hit[plan.ServerCrash] = true
		n.w.loop.At(n.w.now()+n.latency(c), "reset", func() { n.fail(c, errReset) })
	}
}

// clientDied hangs up for a process that was killed.
func (n *network) clientDied(p *kernel.Process) {
	kept := n.open[:0]
	var gone []*call
	for _, c := range n.open {
		if c.from == p {
			gone = append(gone, c)
		} else {
			kept = append(kept, c)
		}
	}
	clear(n.open[len(kept):])
	n.open = kept
	for _, c := range gone {
		n.giveUp(c)
	}
}
