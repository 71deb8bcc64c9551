package sim

import (
	"fmt"
	"runtime/debug"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
	"github.com/cirrus-id/cirrus/sim/kernel"
	"github.com/cirrus-id/cirrus/sim/oracle"
	"github.com/cirrus-id/cirrus/sim/plan"
)

// Result is what became of a run.
type Result struct {
	Config  plan.Config
	Profile plan.Profile // the one that was drawn
	// Kinds are the kinds of faults that were on.
	Kinds map[plan.Kind]bool
	// Violation is the first promise that was broken; nil: none was.
	Violation *Violation
	// Broken counts, where nothing is promised, what broke all the same, and
	// Alarms how often the server told of it.
	Broken map[Promise]int
	Alarms int
	// Hash sums up all that happened: the same for the same Config, always.
	Hash uint64
	// Situations counts what came about.
	Situations map[string]int
	Stats      Stats
	// Trace is there if Config.Trace is set.
	Trace []Record
}

// Stats are numbers about a run.
type Stats struct {
	Events  int
	Faults  int // that happened
	Apps    int
	Calls   int // requests that left a client
	Grants  int
	IDs     int
	Crashes int // of the server
	// Moved: a node ID changed its holder.
	Moved bool
	// Time is how long the world lived, Heal when its faults stopped.
	Time, Heal time.Duration
}

// Violation is a promise that was broken.
type Violation struct {
	Promise Promise       `json:"promise"`
	Event   int           `json:"event"` // the number of the event
	At      time.Duration `json:"at"`    // true time since the run began
	Text    string        `json:"text"`
}

// Error says what was broken, where.
func (v *Violation) Error() string {
	return fmt.Sprintf("%s at event %d (%v): %s", v.Promise.Broken(), v.Event, v.At, v.Text)
}

// world is a run in progress.
type world struct {
	config  plan.Config
	plan    *plan.Plan
	choices kernel.Choices
	entropy kernel.Choices
	loop    *kernel.Loop
	net     *network
	// servers are the machines that can serve; primary is the one that has the
	// store's volume.
	servers []*server
	primary *server
	// etcd is where replicas keep their store; nil: there is one server.
	etcd *etcdCluster
	// other is a replica of another store; nil: there is none.
	other *otherStore
	// pool is the default pool, and stride the stride, as the operator last
	// described them.
	pool   fencing.Pool
	stride time.Duration
	apps   []*app
	oracle *oracle.Oracle
	// leads is the server whose term etcd began last; nil: none.
	leads *server
	rec   recorder
	stats Stats
	// violation ends the run.
	violation   *Violation
	situations  map[string]int
	machines    []*kernel.Machine
	operator    *kernel.Machine
	dices       map[diceKey]kernel.Dice
	faultDices  map[faultKey]kernel.Dice // spares the making of names
	faultsEnded bool
	faults      int
	fumbles     int
	longLeases  int
	doubles     int
	// held are the ends of what blocks; see hangs.
	held []*kernel.Event
	// broken counts, where nothing is promised, what broke all the same.
	broken map[Promise]int
	// ops, writes, terms, txns and confirms number what the oracle hears of.
	ops, writes, terms, txns, confirms int
}

// diceKey names a stream of choices.
type diceKey struct {
	purpose string
	entity  int
}

// maxSteps ends a run that would go on for ever.
const maxSteps = 2_000_000

// Run lives through one world. It panics if the config is not valid; see
// Config.Validate. A panic in the run is a promise that is broken, unless
// Config.Choices are given, which may end a run by one.
func Run(c plan.Config) Result {
	if err := c.Validate(); err != nil {
		panic(err)
	}
	ws := &kernel.Workers{}
	defer ws.Close()
	return run(c, ws)
}

func run(c plan.Config, ws *kernel.Workers) Result {
	return newWorld(c, ws).live()
}

// live is the world's whole life.
func (w *world) live() Result {
	if w.config.Choices != nil {
		defer w.close()
		w.run()
		return w.result()
	}
	// What panicked may hold locks, so its world is left where it stands.
	if !w.panics(w.run) {
		w.panics(w.close)
	}
	return w.result()
}

// panics reports whether do does, and notes what it died of.
func (w *world) panics(do func()) (did bool) {
	defer func() {
		if p := recover(); p != nil {
			did = true
			w.violation = &Violation{Promise: PromiseNoPanic, Event: w.loop.Steps, At: w.now(),
				Text: whatPanicked(p)}
			w.note(Record{Kind: RecordViolated, Machine: "world", Node: -1,
				Promise: string(PromiseNoPanic), Text: PromiseNoPanic.Broken()})
		}
	}()
	do()
	return false
}

// whatPanicked is a panic's value, and where it comes from.
func whatPanicked(p any) string {
	if t, ok := p.(kernel.TaskPanic); ok {
		return string(t)
	}
	return fmt.Sprintf("%v\n%s", p, debug.Stack())
}

func newWorld(c plan.Config, ws *kernel.Workers) *world {
	w := &world{
		config: c, choices: c.Choices, loop: kernel.NewLoop(ws), situations: map[string]int{},
		dices: map[diceKey]kernel.Dice{}, faultDices: map[faultKey]kernel.Dice{},
		broken: map[Promise]int{},
	}
	if w.choices == nil {
		w.choices = kernel.Seed(c.Seed).Choices()
	}
	w.entropy = kernel.Seed(c.Seed).Choices()
	w.rec.keep = c.Trace
	w.plan = plan.Draw(c, w.choices)
	w.oracle = w.newOracle()
	w.net = &network{w: w, links: map[link]time.Duration{}, toServer: map[string]time.Duration{},
		fromServer: map[string]time.Duration{}, delivered: map[string]delivered{}}
	w.pool, w.stride = w.newPool(fencing.DefaultPool), w.plan.Stride
	if w.replicated() {
		w.newReplicas()
	} else {
		w.primary = w.newServer("server")
		w.primary.disk = newDisk()
	}
	w.operator = w.machine("operator")
	for i := range w.plan.Apps {
		w.apps = append(w.apps, newApp(w, i))
	}
	if !w.replicated() {
		w.newServer("server-2")
	}
	if w.plan.On[plan.OtherStore] {
		w.other = w.newOtherStore()
	}
	return w
}

func (w *world) newPool(name fencing.PoolName) fencing.Pool {
	p := fencing.NewPool(name)
	p.TTL, p.MaxTTL, p.Quarantine = w.plan.TTL, w.plan.PoolMax, w.plan.Quarantine
	p.Last = p.First + nodeID(w.plan.Nodes) - 1
	return p
}

func (w *world) machine(name string) *kernel.Machine {
	m := kernel.NewMachine(w.loop, name)
	w.machines = append(w.machines, m)
	return m
}

// run lives through both phases: faults, and then their end.
func (w *world) run() {
	w.setClocks()
	w.begin()
	for _, a := range w.apps {
		w.after(w.dice("first start", a.index).Duration(0, w.plan.TTL), "start", a.boot)
	}
	w.startFaults()
	w.liveUntil(w.plan.FaultsFor)
	w.busy()
	if w.violation == nil {
		w.endFaults()
	}
	if w.violation == nil {
		w.hear(event.Finished{})
	}
	if w.config.Canary != 0 && w.config.Canary == w.config.Seed {
		w.violate(PromiseCanary, "nothing was broken: this seed was named as the canary")
	}
}

// begin makes the store, and lets who serves it start.
func (w *world) begin() {
	w.hear(event.Described{MaxTTL: w.pool.MaxTTL})
	if !w.replicated() {
		if err := w.primary.create(true); err != nil {
			panic(err)
		}
		w.primary.boot()
		return
	}
	if !w.plan.Bare {
		w.etcd.create()
	}
	for _, s := range w.servers {
		w.after(w.dice("first start", 1000+s.index).Duration(0, w.plan.TTL/3), "start", s.boot)
	}
}

// liveUntil lets events happen up to a true time, and checks the world after
// each.
func (w *world) liveUntil(end time.Duration) {
	for w.violation == nil {
		if !w.loop.Due(end) {
			break
		}
		e := w.loop.Step()
		w.rec.add(uint64(e.At))
		w.rec.add(e.Seq)
		w.checkAll()
		if w.loop.Steps > maxSteps {
			w.violate(PromiseLiveness, "the world has come to %d events by %v, and to no end",
				w.loop.Steps, w.now())
		}
	}
	w.loop.Now = max(w.loop.Now, end)
}

// running are the servers that run, the primary first.
func (w *world) running() []*server {
	only := w.servers[w.primary.index : w.primary.index+1]
	for _, s := range w.servers {
		if s != w.primary && s.running() {
			return []*server{w.primary, s}
		}
	}
	return only
}

// checkAll checks the world after an event.
func (w *world) checkAll() {
	for _, s := range w.servers {
		if s.machine.Ran {
			s.machine.Ran = false
			w.checkServer(s)
		}
	}
	for _, a := range w.apps {
		if a.machine.Ran {
			a.machine.Ran = false
			w.tellLive(a)
		}
	}
}

func (w *world) now() time.Duration { return w.loop.Now }

func (w *world) park(wanted func() bool) { w.loop.Park(wanted) }

// after plans an event.
func (w *world) after(d time.Duration, what string, run func()) *kernel.Event {
	return w.loop.At(w.now()+d, what, run)
}

// dice returns the stream of a purpose and an entity.
func (w *world) dice(purpose string, entity int) kernel.Dice {
	k := diceKey{purpose, entity}
	d, ok := w.dices[k]
	if !ok {
		from := w.choices
		if purpose == "holder" || purpose == "server random" {
			// Instance IDs must differ whoever makes the choices.
			from = w.entropy
		}
		d = kernel.NewDice(from.Stream(purpose, entity))
		w.dices[k] = d
	}
	return d
}

func (w *world) machineIndex(m *kernel.Machine) int {
	for i, other := range w.machines {
		if other == m {
			return i
		}
	}
	return -1
}

func (w *world) serverOf(p *kernel.Process) *server {
	for _, s := range w.servers {
		if s.machine == p.Machine {
			return s
		}
	}
	return nil
}

func (w *world) appOf(p *kernel.Process) *app {
	for _, a := range w.apps {
		if a.proc == p {
			return a
		}
	}
	return nil
}

func (w *world) appIndex(p *kernel.Process) int {
	if a := w.appOf(p); a != nil {
		return a.index
	}
	return -1
}

// note takes a record of what happens now.
func (w *world) note(r Record) {
	r.At, r.N = w.now(), w.loop.Steps
	w.rec.note(r)
}

// saw counts a situation.
func (w *world) saw(what string) { w.situations[what]++ }

// violate notes that a promise is broken. Where nothing is promised it is
// counted, and the run goes on.
func (w *world) violate(p Promise, format string, args ...any) {
	holds := w.plan.Promises(p)
	if !holds {
		w.broken[p]++
		if w.broken[p] > 1 {
			return
		}
	} else if w.violation != nil {
		return
	}
	v := &Violation{Promise: p, Event: w.loop.Steps, At: w.now(),
		Text: fmt.Sprintf(format, args...)}
	w.note(Record{Kind: RecordViolated, Machine: "world", Node: -1,
		Promise: string(p), Text: v.Text})
	if holds {
		w.violation = v
	}
}

func (w *world) close() {
	for _, m := range w.machines {
		m.KillAll()
	}
	for _, s := range w.servers {
		s.closeStore()
	}
}

func (w *world) result() Result {
	w.stats.Events, w.stats.Faults, w.stats.Apps = w.loop.Steps, w.faults, len(w.apps)
	w.stats.Calls, w.stats.Grants = w.net.calls, w.oracle.Grants()
	w.stats.Moved, w.stats.Time = w.situations[oracle.ChangedHolder] > 0, w.now()
	return Result{
		Config: w.config, Profile: w.plan.Profile, Kinds: w.plan.On, Violation: w.violation,
		Broken: w.broken, Alarms: w.oracle.Alarms(),
		Hash: w.rec.hash, Situations: w.situations, Stats: w.stats, Trace: w.rec.trace,
	}
}
