package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/service"
	"github.com/cirrus-id/cirrus/sim/event"
	"github.com/cirrus-id/cirrus/sim/kernel"
	"github.com/cirrus-id/cirrus/sim/plan"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/etcd"
)

// replicated reports whether the world's servers are replicas on etcd.
func (w *world) replicated() bool { return w.plan.Replicas > 0 }

// newReplicas makes the servers of a world on etcd.
func (w *world) newReplicas() {
	w.etcd = w.newEtcd()
	for i := range w.plan.Replicas {
		w.newServer(fmt.Sprintf("replica-%d", i+1))
	}
	w.primary = w.servers[0]
}

// create makes a store in etcd, as `cirrus init` does, while nobody is there.
func (e *etcdCluster) create() {
	e.w.hear(event.Created{Batch: e.initialize(etcd.DefaultPrefix, e.w.primary)})
}

// initialize makes a store by a server's clock, and returns what is in it.
func (e *etcdCluster) initialize(prefix string, s *server) fencing.Batch {
	w := e.w
	batch, err := fencing.NewStore(wallMillis(s.machine), w.stride, true, w.pool)
	if err != nil {
		panic(err)
	}
	c, err := etcd.New(e, nil, etcd.Options{Prefix: prefix, Self: store.Member{ID: "operator"},
		Random: reader{w.dice("server random", -1-s.index)}})
	if err == nil {
		err = c.Init(context.Background(), batch)
	}
	if err != nil {
		panic(err)
	}
	return batch
}

// Txn, Range and Cluster make etcd the KV of who sits beside it: an operator,
// and the replica of another store.
func (e *etcdCluster) Txn(_ context.Context, t etcd.Txn) (bool, error) { return e.state.Txn(t) }

// Range implements etcd.KV.
func (e *etcdCluster) Range(_ context.Context, r etcd.Range) (etcd.Page, error) {
	return e.state.Range(r)
}

// Cluster implements etcd.KV.
func (e *etcdCluster) Cluster() string { return "simulated" }

// serveReplica is what `cirrus serve --store etcd` does, on its own task.
func (s *server) serveReplica(p *kernel.Process) {
	w := s.w
	w.loop.Sleep(w.dice("start", s.index).Duration(time.Millisecond, 20*time.Millisecond),
		"opening")
	clk := kernel.NewClock(p)
	random := reader{w.dice("server random", s.index<<20|p.Number)}
	conn, cluster := s.reach(p, clk, random)
	var asked fencing.PoolChange
	if w.plan.Bare { // the flags of the default pool make it as it should be
		last := w.pool.Last
		asked = fencing.PoolChange{First: &w.pool.First, Last: &last, TTL: &w.plan.TTL,
			MaxTTL: &w.plan.PoolMax, Quarantine: &w.plan.Quarantine}
	}
	svc, err := service.New(context.Background(), service.Config{
		Cluster: &watchedCluster{cluster, s, p,
			conn}, Clock: clk, Steady: clk.Steady(), Stride: s.stride, DefaultPool: asked,
		Reach:  func(string) connect.HTTPClient { return transport{w: w, proc: p, peer: true} },
		Logger: slog.New(&logHandler{s, p}), Random: random, Runner: serviceRunner{p},
		Observer: s.observer(p), Version: "simulated",
	})
	if err != nil {
		panic(err)
	}
	s.service, s.cluster = svc, cluster
	s.serves(svc.Handler())
	w.loop.Block()
}

// reach connects a process to its store.
func (s *server) reach(p *kernel.Process, clk *kernel.Clock, random reader) (*etcdConn,
	*etcd.Cluster) {
	w := s.w
	conn := &etcdConn{w: w, s: s, p: p, clock: clk, limit: w.plan.EtcdTimeout}
	self := store.Member{ID: fmt.Sprintf("%s.%d", s.name(), p.Number),
		Address: "http://" + s.advertised()}
	cluster, err := etcd.New(conn, w.newElection(conn, self), etcd.Options{
		Self: self, SessionTTL: w.plan.Session, Random: random, PageSize: w.plan.PageSize,
		Wait: func(c <-chan struct{}) { w.park(func() bool { return kernel.Ready(c) }) },
	})
	if err != nil {
		panic(err)
	}
	return conn, cluster
}

// advertised is the name that the replica tells the others: its own, unless
// somebody has copied another's settings.
func (s *server) advertised() string {
	if w := s.w; s.index == 2 && w.on(plan.SameAddress) && w.countFault() {
		w.note(Record{Kind: RecordOperate, Machine: s.name(), Node: -1,
			Text: "it advertises the address of " + w.servers[0].name()})
		s.misled = true
		return w.servers[0].name()
	}
	s.misled = false
	return s.name()
}

// stop is SIGTERM: the replica resigns, answers what it has in flight, and
// ends; then change does something, and it starts again.
func (s *server) stop(change func()) {
	w, p := s.w, s.proc
	if !s.running() || s.handler == nil || s.stopping == p {
		return
	}
	s.stopping = p
	svc, cluster := s.service, s.cluster
	svc.StopRequests()
	s.machine.Touch()
	w.note(Record{Kind: RecordOperate, Machine: s.name(), Node: -1,
		Text: s.name() + " is told to stop"})
	p.Start("stop", func() {
		w.loop.Park(func() bool { return p.IdleBut("serve", "stop", "observe", "session") })
		svc.Close()
		if err := cluster.Close(); err != nil {
			panic(err)
		}
		w.loop.At(w.now(), "exit", func() {
			if s.proc != p || p.Dead {
				return
			}
			s.end(RecordExit, "stopped", 100)
			change()
			w.after(w.dice("restart", s.index).Duration(time.Millisecond, w.plan.TTL), "restart",
				s.boot)
		})
		w.loop.Block()
	})
}

// watchedCluster is a cluster as it is, with the checks looking at what goes in
// and out.
type watchedCluster struct {
	*etcd.Cluster
	s    *server
	p    *kernel.Process
	conn *etcdConn
}

// Campaign implements store.Cluster.
func (c *watchedCluster) Campaign(ctx context.Context) (store.Leadership, error) {
	o, err := c.Cluster.Campaign(ctx)
	if err != nil {
		return nil, err
	}
	return &watchedLeadership{o, c}, nil
}

type watchedLeadership struct {
	store.Leadership
	of *watchedCluster
}

// TakeOver implements store.Leadership.
func (o *watchedLeadership) TakeOver(ctx context.Context) (store.Term, error) {
	c := o.of
	w := c.s.w
	w.terms++
	t := w.terms
	w.hear(event.TakesOver{Server: c.s.index, Process: named(c.p), Term: t})
	inner, err := o.Leadership.TakeOver(ctx)
	if err != nil {
		w.hear(event.TakeoverFailed{Term: t})
		return nil, err
	}
	return &watchedTerm{inner, t, c}, nil
}

type watchedTerm struct {
	store.Term
	number int
	of     *watchedCluster
}

// Load implements store.Store.
func (t *watchedTerm) Load(ctx context.Context) (fencing.Snapshot, error) {
	snap, err := t.Term.Load(ctx)
	w := t.of.s.w
	// S6 counts from after it
	w.loop.Sleep(w.dice("load", t.of.s.index).Duration(0, w.plan.EtcdTimeout), "loading")
	if err == nil {
		w.hear(event.Loaded{Process: named(t.of.p), Term: t.number, Snapshot: snap})
	}
	return snap, err
}

// Commit implements store.Store.
func (t *watchedTerm) Commit(ctx context.Context, b fencing.Batch) error {
	return t.write(b, func() error { return t.Term.Commit(ctx, b) })
}

// Create implements store.Term.
func (t *watchedTerm) Create(ctx context.Context, b fencing.Batch) error {
	return t.write(b, func() error { return t.Term.Create(ctx, b) })
}

func (t *watchedTerm) write(b fencing.Batch, do func() error) error {
	s, p, w := t.of.s, t.of.p, t.of.s.w
	id := w.startWrite(event.Write{Process: named(p), Term: t.number, Op: w.serving(), Batch: b})
	if w.on(plan.LeaderCrash) && w.fault(plan.LeaderCrash, s.index, 20) {
		w.after(w.dice("leader crash", s.index).Duration(0, 5*time.Millisecond), "crash in a write",
			func() {
				if s.proc == p {
					s.crash("in a write")
				}
			})
	}
	err := do()
	switch {
	case err == nil:
		w.hear(event.Acknowledged{Write: id})
	case errors.Is(err, store.ErrExists):
		w.hear(event.Refused{Write: id})
	default:
		w.hear(event.Failed{Write: id})
	}
	return err
}

// Confirm implements store.Store.
func (t *watchedTerm) Confirm(ctx context.Context) error {
	w := t.of.s.w
	w.confirms++
	id := w.confirms
	w.hear(event.Confirming{Confirm: id, Term: t.number})
	err := t.Term.Confirm(ctx)
	w.hear(event.Confirmed{Confirm: id, Deposed: errors.Is(err, store.ErrDeposed)})
	return err
}

// replicaLogged hears what a replica logs.
func (s *server) replicaLogged(r slog.Record) {
	w := s.w
	if strings.HasPrefix(r.Message, "this replica can't lead") {
		w.saw("the server refused to start")
		w.after(w.plan.TTL/2, "the operator looks", s.wallWasWrong)
	}
	if misled := w.servers[len(w.servers)-1].misled; misled &&
		strings.HasPrefix(r.Message, "the replica that leads advertises the same address") {
		w.saw("a replica found its own address to be the leader's")
	}
}

func (w *world) serverNamed(name string) (*server, bool) {
	for _, s := range w.servers {
		if s.name() == name {
			return s, true
		}
	}
	return nil, false
}

// target is the addresses that an app is given: those of all replicas, that of
// one, or a name that leads to any.
func (w *world) target(app int) string {
	if !w.replicated() {
		return "http://" + serviceName
	}
	d := w.dice("target", app)
	which := d.Below(4)
	one := "http://" + w.servers[d.Below(uint64(len(w.servers)))].name()
	switch which {
	case 2:
		return one
	case 3:
		return "http://" + serviceName
	}
	var all []string
	for _, s := range w.servers {
		all = append(all, "http://"+s.name())
	}
	return strings.Join(all, ",")
}
