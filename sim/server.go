package sim

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/service"
	"github.com/cirrus-id/cirrus/sim/event"
	"github.com/cirrus-id/cirrus/sim/kernel"
	"github.com/cirrus-id/cirrus/sim/plan"
	"github.com/cirrus-id/cirrus/snowflake"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/etcd"
	"github.com/cirrus-id/cirrus/store/pebble"
)

func nodeID(n int) snowflake.NodeID { return snowflake.NodeID(n) }

// dataDir is where the server's store is, on its disk.
const dataDir = "data"

// server is a machine that can serve, with its disk.
type server struct {
	w       *world
	index   int // among the servers
	machine *kernel.Machine
	proc    *kernel.Process
	disk    *vfs.MemFS // nil: it has no volume
	faulty  *faultyFS
	// opening is the crash that comes while the store is opened; nil: none.
	opening *crash
	store   *pebble.Store
	service *service.Service
	handler http.Handler
	// term is what its process answers requests by; nil: by none. lostWrites is
	// how many lost writes the process has counted (S12).
	term       *service.ObservedTerm
	lostWrites int
	// copies are old states of the disk.
	copies []*vfs.MemFS
	// stride is what its process was told at its start; other replicas may have
	// been told another.
	stride time.Duration
	// flags are what its next process is told of the default pool.
	flags fencing.PoolChange
	// failsAfter is when a commit fails whose volume is gone; 0: never.
	failsAfter time.Duration
	// stopping is the process that ends in an orderly way.
	stopping *kernel.Process
	// cluster is a replica's; misled: it advertises another's address.
	cluster *etcd.Cluster
	misled  bool
}

// newServer makes a machine that can serve, once it gets a volume.
func (w *world) newServer(name string) *server {
	s := &server{w: w, index: len(w.servers), machine: w.machine(name)}
	w.servers = append(w.servers, s)
	w.hear(event.Server{Index: s.index, Name: name})
	return s
}

func (s *server) name() string { return s.machine.Name }

// wallMillis reads a machine's wall clock.
func wallMillis(m *kernel.Machine) snowflake.Millis {
	return snowflake.Millis(m.Wall() / time.Millisecond)
}

func (s *server) running() bool { return s.proc != nil && !s.proc.Dead }

var quiet = slog.New(slog.DiscardHandler)

func (s *server) options() pebble.Options {
	f := &faultyFS{FS: s.disk, disk: s.disk, crash: s.opening}
	s.faulty = f
	return pebble.Options{FS: f, Logger: quiet, Brief: true,
		Fatal: func(error) { panic(errStoreFailed) }}
}

// create makes a store on the server's empty disk.
func (s *server) create(vouched bool) error {
	batch, err := fencing.NewStore(wallMillis(s.machine), s.w.stride, vouched, s.w.pool)
	if err != nil {
		return err
	}
	if err := pebble.Create(dataDir, *batch.Meta, batch.Pools, s.options()); err != nil {
		return err
	}
	s.w.hear(event.StoreIs{Snapshot: fencing.Snapshot{Meta: *batch.Meta, Pools: batch.Pools}})
	return nil
}

// boot starts a process that serves.
func (s *server) boot() {
	if s.running() || s.disk == nil && !s.w.replicated() {
		return
	}
	p := s.machine.Process()
	s.proc, s.handler, s.stride = p, nil, s.w.stride
	s.w.hear(event.Started{Server: s.index, Process: named(p), Stride: s.stride})
	s.w.note(Record{Kind: RecordStart, Machine: s.name(), Process: p.Number, Node: -1})
	if s.w.replicated() {
		p.Start("serve", func() { s.serveReplica(p) })
	} else {
		p.Start("serve", func() { s.serve(p) })
	}
	if s.w.on(plan.CrashLoop) && s.w.fault(plan.CrashLoop, 0, 300) {
		s.w.after(s.w.dice("crash loop", s.index).Duration(0, s.w.plan.Stride), "crash soon",
			func() {
				if s.proc == p {
					s.crash("soon after its start")
				}
			})
	}
}

// serve is what `cirrus serve` does, on its own task.
func (s *server) serve(p *kernel.Process) {
	w := s.w
	w.loop.Sleep(w.dice("start", s.index).Duration(time.Millisecond, 20*time.Millisecond),
		"opening")
	if err := s.opens(p); err != nil {
		w.note(Record{Kind: RecordLog, Machine: s.name(), Process: p.Number, Node: -1,
			Text: "does not start: " + err.Error()})
		w.saw("the server refused to start")
		if errors.Is(err, store.ErrLostWrites) {
			w.hear(event.StoreRefused{Server: s.index})
			s.recoverLater(p)
			return
		}
		s.exit(p, w.plan.TTL/2)
		return
	}
	w.hear(event.StoreOpened{Server: s.index})
	clk, flags := kernel.NewClock(p), s.flags
	s.flags = fencing.PoolChange{} // whoever sees that they are refused drops them
	svc, err := service.New(context.Background(), service.Config{
		Store: &disk{s, p, s.store}, Clock: clk, Steady: clk.Steady(), Stride: s.stride,
		DefaultPool: flags,
		Logger:      slog.New(&logHandler{s, p}), Random: reader{w.dice("server random",
			s.index<<20|p.Number)}, Runner: serviceRunner{p},
		Observer: s.observer(p), Version: "simulated",
	})
	if err != nil {
		w.note(Record{Kind: RecordLog, Machine: s.name(), Process: p.Number, Node: -1,
			Text: "does not serve: " + err.Error()})
		w.saw("the server refused to start")
		s.wallWasWrong()
		s.exit(p, w.plan.TTL/2)
		return
	}
	s.service = svc
	s.serves(svc.Handler())
	w.loop.Park(func() bool { return kernel.Ready(svc.Failed()) })
	// The process has until here to answer what it has in flight; then it ends.
	w.saw("a write failed, and the server ended")
	w.loop.Sleep(w.dice("exit", s.index).Duration(0, 50*time.Millisecond), "exiting")
	s.serves(nil)
	s.exit(p, w.dice("restart", s.index).Duration(10*time.Millisecond, w.plan.TTL))
}

// observer takes what a process's service shows beside its answers.
func (s *server) observer(p *kernel.Process) service.Observer {
	s.term, s.lostWrites = nil, 0
	return service.Observer{
		Term: func(t *service.ObservedTerm) {
			if s.proc == p && !p.Dead {
				s.term = t
			}
		},
		LostWrites: func(total int) {
			if s.proc == p && !p.Dead {
				s.lostWrites = total
			}
		},
	}
}

// opens opens the store, and may die of it.
func (s *server) opens(p *kernel.Process) error {
	w := s.w
	if !w.on(plan.WriteCrash) || !w.fault(plan.WriteCrash, 1+s.index, 60) {
		return s.open()
	}
	d := w.dice("open crash", s.index)
	s.opening = &crash{left: int(d.Below(40)), unsynced: 100 * int(d.Below(2))}
	err := s.open()
	s.opening = nil
	c := s.faulty.calm()
	if c.disk == nil {
		return err // it was open before
	}
	w.loop.At(w.now(), "crash in opening", func() {
		if s.proc == p && !p.Dead && s.disk != nil {
			s.disk = c.disk
			w.saw("a crash came while a store was opened")
			s.crash("while it opens its store")
		}
	})
	w.loop.Block()
	return nil
}

// serves lets the process take requests, or take them no more.
func (s *server) serves(h http.Handler) {
	s.handler = h
	s.w.hear(event.Serves{Server: s.index, On: h != nil})
}

// open opens the store; an empty disk gets one, as `serve` does it.
func (s *server) open() error {
	st, err := pebble.Open(dataDir, s.options())
	if errors.Is(err, store.ErrNoStore) {
		s.wallWasWrong() // a new store reckons by the wall clock (S7)
		if err := s.create(false); err != nil {
			return err
		}
		st, err = pebble.Open(dataDir, s.options())
	}
	if err != nil {
		return err
	}
	s.store = st
	return nil
}

// exit ends the server's process, from a task of its own, and starts another
// after a while.
func (s *server) exit(p *kernel.Process, after time.Duration) {
	w := s.w
	w.loop.At(w.now(), "exit", func() {
		if s.proc == p && !p.Dead {
			s.end(RecordExit, "", 100)
			w.after(after, "restart", s.boot)
		}
	})
	w.loop.Block()
}

// crash ends the process without warning, and starts another after a while.
func (s *server) crash(why string) {
	if s.proc == nil || s.proc.Dead {
		return
	}
	d := s.w.dice("server crash", s.index)
	unsynced := 0
	if d.Below(2) == 1 {
		unsynced = 100
	}
	after := d.Duration(time.Millisecond, 2*s.w.plan.TTL)
	if d.Below(2) == 0 {
		after = d.Duration(time.Millisecond, s.w.plan.TTL/5)
	}
	s.end(RecordCrash, why, unsynced)
	s.w.stats.Crashes++
	s.w.after(after, "restart", s.boot)
}

// end ends the process, and leaves the disk as it is then.
func (s *server) end(kind RecordKind, why string, unsynced int) {
	w, p := s.w, s.proc
	w.note(Record{Kind: kind, Machine: s.name(), Process: p.Number, Node: -1, Text: why})
	if s.disk != nil {
		s.disk = cloneDisk(s.disk, unsynced)
	}
	p.Kill()
	s.closeStore()
	s.handler, s.service, s.term = nil, nil, nil
	w.hear(event.Stopped{Server: s.index, Process: named(p)})
	w.net.serverDied(s)
	if w.replicated() {
		s.cluster = nil
		w.net.clientDied(p) // of what it has passed on
		w.etcd.died(p)
	}
}

// closeStore gives back what the dead process's store took of memory.
func (s *server) closeStore() {
	if s.store != nil {
		_ = s.store.Close() // its disk is gone
	}
	s.store = nil
}

// restart stops the server in an orderly way, lets change do something while
// it is down, and starts it again.
func (s *server) restart(change func()) {
	w, p := s.w, s.proc
	if w.replicated() {
		s.stop(change)
		return
	}
	if p == nil || p.Dead || s.handler == nil || s.stopping == p {
		return
	}
	s.stopping = p
	svc := s.service
	svc.StopRequests()
	s.machine.Touch()
	p.Start("stop", func() {
		w.loop.Park(func() bool { return p.TaskCount() <= 2 }) // this one, and serve
		svc.Close()
		w.loop.At(w.now(), "exit", func() {
			if s.proc != p || p.Dead {
				return
			}
			s.end(RecordExit, "restarted", 100)
			change()
			w.after(w.dice("restart", s.index).Duration(time.Millisecond, w.plan.TTL/5), "restart",
				s.boot)
		})
		w.loop.Block()
	})
}

// recover does what `cirrus recover` does to the store on the server's disk,
// while no process serves it.
func (s *server) recover() error {
	st, err := pebble.OpenToRecover(dataDir, s.options())
	if err != nil {
		return err
	}
	defer func() { _ = st.Close() }() // nothing is written after the commit
	snap, err := st.Load(context.Background())
	if err != nil {
		return err
	}
	batch, err := fencing.Recover(snap, wallMillis(s.machine), s.w.stride, s.w.pool.MaxTTL)
	if err != nil {
		return err
	}
	if err := st.Commit(context.Background(), batch); err != nil {
		return err
	}
	before := snap.Meta
	if snap, err = st.Load(context.Background()); err != nil {
		return err
	}
	s.w.hear(event.Recovered{Before: before, After: snap, Told: s.w.stride})
	s.w.hear(event.StoreIs{Snapshot: snap})
	return nil
}

// wallWasWrong is the operator who finds that the clock is wrong, and sets it.
func (s *server) wallWasWrong() {
	s.machine.Offset = 0
	s.w.note(Record{Kind: RecordClock, Machine: s.name(), Node: -1,
		Text: "the wall clock is set right"})
}

// serviceRunner runs a service as tasks of a process.
type serviceRunner struct{ p *kernel.Process }

// Go implements service.Runner.
func (r serviceRunner) Go(f func()) { r.p.Start("service", f) }

// Wait implements service.Runner.
func (r serviceRunner) Wait(timer <-chan time.Time, a, b, c <-chan struct{}) {
	r.p.Machine.Loop.Park(func() bool {
		return kernel.Ready(timer) || kernel.Ready(a) ||
			kernel.Ready(b) || kernel.Ready(c)
	})
}

// reader is a source of random bytes.
type reader struct{ kernel.Dice }

func (r reader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r.Below(256))
	}
	return len(p), nil
}

// logHandler takes the server's log.
type logHandler struct {
	s *server
	p *kernel.Process
}

func (h *logHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

// Handle implements slog.Handler.
func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	h.s.w.note(Record{Kind: RecordLog, Machine: h.s.name(), Process: h.p.Number, Node: -1,
		Text: r.Message})
	h.s.w.hear(event.Logged{Machine: h.s.name(), Message: r.Message})
	defer h.blocks(r)
	if h.s.w.replicated() {
		h.s.replicaLogged(r)
	}
	return nil
}

// WithAttrs implements slog.Handler; nothing is logged with any.
func (h *logHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

// WithGroup implements slog.Handler.
func (h *logHandler) WithGroup(string) slog.Handler { return h }
