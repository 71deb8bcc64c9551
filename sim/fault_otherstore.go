package sim

import (
	"context"
	"log/slog"
	"time"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/service"
	"github.com/cirrus-id/cirrus/sim/kernel"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/etcd"
)

// OtherStore: an advertised address leads to a replica of another store.

// otherPrefix is where the other store's keys begin, in the same etcd.
const otherPrefix = "/another/"

// otherStore is a replica of another store, to which an advertised address
// leads for a while. It is the real service and leads its own store, which has
// the same pools: whatever it answered would be taken for the leader's word.
type otherStore struct {
	w      *world
	server *server // none of the world's
	// address is that at which it is found by the replicas, until then.
	address string
	until   time.Duration
}

func (w *world) newOtherStore() *otherStore {
	return &otherStore{w: w, server: &server{w: w, index: len(w.servers),
		machine: w.machine("other-store")}}
}

// misdirect lets the leader's advertised address lead to a replica of another
// store. The apps, which have the leader's address from elsewhere, reach it.
func (w *world) misdirect(d kernel.Dice) {
	o := w.other
	o.address = w.leader(d).name()
	o.until = w.now() + d.Tail(w.plan.TTL, 4*w.plan.TTL)
	w.note(Record{Kind: RecordNetwork, Machine: o.address, Peer: o.server.name(), Node: -1,
		Until: o.until, Text: "its advertised address leads to a replica of another store"})
	o.boot()
}

// takes reports whether a call goes to the other store's replica.
func (o *otherStore) takes(c *call) bool {
	return o != nil && c.peer && c.host == o.address && o.w.now() < o.until
}

// mend lets the address lead to its owner again.
func (o *otherStore) mend() {
	if o != nil {
		o.until = o.w.now()
	}
}

// boot makes the other store, and lets its replica serve it from now on.
func (o *otherStore) boot() {
	s := o.server
	if s.running() {
		return
	}
	o.w.etcd.initialize(otherPrefix, s)
	p := s.machine.Process()
	s.proc = p
	o.w.note(Record{Kind: RecordStart, Machine: s.name(), Process: p.Number, Node: -1})
	p.Start("serve", func() { o.serve(p) })
}

// serve is what `cirrus serve --store etcd --etcd-prefix /another/` does.
func (o *otherStore) serve(p *kernel.Process) {
	w, s := o.w, o.server
	clk, random := kernel.NewClock(p), reader{w.dice("server random", s.index<<20|p.Number)}
	self := store.Member{ID: s.name(), Address: "http://" + s.name()}
	cluster, err := etcd.New(w.etcd, &walkover{w.etcd, self}, etcd.Options{
		Prefix: otherPrefix, Self: self, SessionTTL: w.plan.Session, Random: random,
		Wait: func(c <-chan struct{}) { w.park(func() bool { return kernel.Ready(c) }) },
	})
	if err != nil {
		panic(err)
	}
	svc, err := service.New(context.Background(), service.Config{
		Cluster: cluster, Clock: clk, Steady: clk.Steady(), Stride: w.plan.Stride,
		Reach:  func(string) connect.HTTPClient { return transport{w: w, proc: p, peer: true} },
		Logger: slog.New(&logHandler{s, p}), Random: random, Runner: serviceRunner{p},
		Observer: s.observer(p), Version: "simulated",
	})
	if err != nil {
		panic(err)
	}
	s.service, s.handler = svc, svc.Handler()
	w.loop.Block()
}

// arrive is the arrival of what a replica passes on.
func (o *otherStore) arrive(c *call) {
	w, s := o.w, o.server
	c.to = s
	if s.handler == nil {
		w.loop.At(w.now()+w.net.latency(c), "refused", func() { w.net.fail(c, errRefused) })
		return
	}
	w.note(Record{Kind: RecordArrive, Machine: s.name(), Process: s.proc.Number,
		Peer: c.from.Machine.Name, Message: c.number, Call: c.procedure, Pool: c.request.Pool,
		Node: c.request.Node, Epoch: c.request.Epoch})
	s.proc.Start(c.procedure, func() { o.reply(c, c.serve(s.handler)) })
}

// reply looks at the answer that leaves it: it may be nothing but a refusal.
func (o *otherStore) reply(c *call, a *answer) {
	w, s := o.w, o.server
	said := readReply(c, a)
	w.note(Record{Kind: RecordReply, Machine: s.name(), Process: s.proc.Number,
		Peer: c.from.Machine.Name, Message: c.number, Call: c.procedure, Pool: c.request.Pool,
		Node: said.Node, Epoch: said.Epoch, Floor: said.Floor, Ceiling: said.Ceiling,
		Text: said.Code})
	if a.reason() == "WRONG_STORE" {
		w.saw("a replica refused what a replica of another store passed on")
	} else {
		w.violate(PromiseForward,
			"%s answers %s #%d, which %s passes on to the leader of its own store", s.name(),
			c.procedure, c.number, c.from.Machine.Name)
	}
	w.net.leave(c, a, said, s.name())
}

// walkover is an election in which nobody else stands.
type walkover struct {
	etcd *etcdCluster
	self store.Member
}

// Campaign implements etcd.Election.
func (e *walkover) Campaign(context.Context) (etcd.Elected, error) {
	l := &walkedOver{lost: make(chan struct{})}
	if _, err := e.etcd.state.Txn(etcd.Txn{Ops: []etcd.Op{{Key: l.Key(),
		Value: writeMember(e.self)}}}); err != nil {
		return nil, err
	}
	page, err := e.etcd.state.Range(etcd.Range{From: l.Key()})
	if err != nil {
		return nil, err
	}
	l.revision = page.Keys[0].CreateRevision
	return l, nil
}

// Leader implements etcd.Election.
func (e *walkover) Leader() (store.Member, <-chan struct{}) { return e.self, nil }

// Close implements etcd.Election.
func (e *walkover) Close() error { return nil }

// walkedOver is such an election won.
type walkedOver struct {
	revision int64
	lost     chan struct{}
	resigned bool
}

// Key implements etcd.Elected.
func (l *walkedOver) Key() string { return otherPrefix + "leader/1" }

// Revision implements etcd.Elected.
func (l *walkedOver) Revision() int64 { return l.revision }

// Lost implements etcd.Elected.
func (l *walkedOver) Lost() <-chan struct{} { return l.lost }

// Resign implements etcd.Elected.
func (l *walkedOver) Resign(context.Context) error {
	if !l.resigned {
		l.resigned = true
		close(l.lost)
	}
	return nil
}
