package oracle

import (
	"fmt"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
)

// Config is what the oracle is told of the world that it judges.
type Config struct {
	// Replicated: servers are replicas on etcd.
	Replicated bool
	// Exclusive: clocks are good enough for P1.
	Exclusive bool
	// Judged: P4 and the order of the calls are checked. Where somebody breaks
	// what they vouch for, they need not hold.
	Judged bool
	// TTL is a typical lease's, Longest the longest that is asked for, Quarantine
	// the shortest of a pool, and Stride the longest of a server.
	TTL, Longest, Quarantine, Stride time.Duration
	// Session is the TTL of the election's sessions, EtcdTimeout how long a replica
	// waits for etcd, and PeerTimeout how long it takes to notice that another is
	// gone.
	Session, EtcdTimeout, PeerTimeout time.Duration
	// Apps is how many there may be.
	Apps int
}

// Sink takes what an oracle has to say.
type Sink interface {
	// Violated takes a promise that is broken, and how.
	Violated(p Promise, text string)
	// Saw takes a situation that came about.
	Saw(situation string)
	// Note takes a record for the trace.
	Note(r event.Record)
}

// Oracle judges one run.
type Oracle struct {
	config      Config
	sink        Sink
	at          event.Instant // of the news that it hears
	faultsEnded bool
	// faultsEndedAt is when faults ended.
	faultsEndedAt time.Duration

	servers   []*server
	primary   *server // that has the volume
	processes map[event.Process]*process
	apps      map[int]*app

	nodes  map[event.Key]*node
	pools  map[fencing.PoolName]*pool
	meta   fencing.Meta // as acknowledged
	writes map[int]*write
	// pending are the writes that were started and neither acknowledged nor known to
	// be gone.
	pending []*write
	ids     idSet
	// terms are the last ones of processes, byNumber those of replicas.
	terms    map[*process]*term
	byNumber map[int]*term
	history  []*operation
	byOp     map[int]*operation
	// asking are those that ask for a lease and have no answer yet.
	asking []*operation
	gaveUp map[int]bool // calls whose answer nobody waits for
	ticks  int
	// order is that of the node IDs' first mention; last is who was asked for last.
	order []event.Key
	last  *node
	// alarms counts the lost writes that a server told of (S12), and grants the
	// grants.
	alarms, grants int
	// damaged: the store's log is; lostWrites: it has lost a mark, and its
	// high-water file tells.
	damaged, lostWrites bool
	forged              bool // somebody has made up an epoch, so an alarm (S12) may be false
	instances           map[string]*instance
	promisedAt          int64 // the highest server time of a promise
	// maxTTL is the default pool's, as the operator last described it.
	maxTTL     time.Duration
	byInstance map[string]*lease
	// heardOf is when each server has last heard of an instance.
	heardOf   map[hearing]time.Duration
	decidedAt time.Duration // true time of the last grant
	// generation counts the stores: what one held means nothing in the next. story
	// counts those that could not know the epochs of the ones before.
	generation, story int
	// host is the server that loaded the store last, and hosts counts how often it
	// was another one than before.
	host  *server
	hosts int
	// softened: P1 is broken, and would only be so again.
	softened bool

	// Of replicas: leader is the last term that etcd has begun, stored what etcd
	// holds, and fromLeader what leaders told those who follow.
	leader     *term
	stored     stored
	txns       map[int]*txn
	confirms   map[int]*confirm
	fromLeader map[*process]map[answerKey]time.Duration
}

// New returns an oracle that has heard of nothing.
func New(c Config, sink Sink) *Oracle {
	return &Oracle{
		config: c, sink: sink, ids: newIDSet(), stored: stored{},
		processes: map[event.Process]*process{}, apps: map[int]*app{},
		nodes: map[event.Key]*node{}, pools: map[fencing.PoolName]*pool{}, writes: map[int]*write{},
		terms: map[*process]*term{}, byNumber: map[int]*term{}, byOp: map[int]*operation{},
		gaveUp:    map[int]bool{},
		instances: map[string]*instance{}, byInstance: map[string]*lease{},
		heardOf: map[hearing]time.Duration{},
		txns:    map[int]*txn{}, confirms: map[int]*confirm{},
		fromLeader: map[*process]map[answerKey]time.Duration{},
	}
}

// Hear takes a piece of news.
func (o *Oracle) Hear(at event.Instant, news event.News) {
	o.at = at
	for _, s := range o.servers {
		s.clock = at.Clocks[s.index]
	}
	switch n := news.(type) {
	case event.Passed, event.FaultsEnded, event.Finished, event.Waits, event.Checked:
		o.hearOfTime(news)
	case event.Server, event.Started, event.Serves, event.Stopped, event.Moved, event.Logged,
		event.ClockChanged:
		o.hearOfServer(news)
	case event.Write, event.Reached, event.Acknowledged, event.Refused, event.Failed, event.Loaded:
		o.hearOfWrite(news)
	case event.StoreIs, event.StoreOpened, event.StoreRefused, event.StoreDamaged,
		event.StoreShrunk, event.Planted, event.Recovered:
		o.hearOfDisk(news)
	case event.Created, event.TakesOver, event.TakeoverFailed, event.TxnSent, event.TxnDone,
		event.Confirming, event.Confirmed:
		o.hearOfEtcd(news)
	case event.Sent, event.Arrived, event.Held, event.Replied, event.AnswerLost, event.Answered,
		event.GaveUp, event.ClientEnded:
		o.hearOfWire(news)
	case event.Described:
		o.maxTTL = n.MaxTTL
	case event.Forged:
		o.forged = true
	default:
		o.hearOfHolder(news)
	}
}

// hearOfTime takes news of time that has passed.
func (o *Oracle) hearOfTime(news event.News) {
	switch n := news.(type) {
	case event.FaultsEnded:
		o.faultsEnded, o.faultsEndedAt = true, o.at.Now
	case event.Checked:
		o.checked(n)
		if o.faultsEnded {
			o.waiting()
			o.opened()
			o.listens()
		}
	case event.Waits:
		o.late(n.Apps)
	case event.Passed:
		o.answeredInTime()
	case event.Finished:
		o.linearizable()
	}
}

func (o *Oracle) now() time.Duration { return o.at.Now }

func (o *Oracle) violate(p Promise, format string, args ...any) {
	o.sink.Violated(p, fmt.Sprintf(format, args...))
}

func (o *Oracle) saw(situation string) { o.sink.Saw(situation) }

func (o *Oracle) note(r event.Record) { o.sink.Note(r) }

// Alarms returns how many lost writes servers have told of (S12).
func (o *Oracle) Alarms() int { return o.alarms }

// Grants returns how many grants servers have decided on.
func (o *Oracle) Grants() int { return o.grants }

// Meta returns the store's, as it was last acknowledged.
func (o *Oracle) Meta() fencing.Meta { return o.meta }

// Pool returns a pool as it was last acknowledged; false: there is none.
func (o *Oracle) Pool(name fencing.PoolName) (fencing.Pool, bool) {
	if p := o.pools[name]; p != nil {
		return p.Pool, p.known
	}
	return fencing.Pool{}, false
}

// WasSent reports whether an answer has brought a lease of the pool with that epoch.
func (o *Oracle) WasSent(name fencing.PoolName, epoch uint64) bool {
	_, was := o.pool(name).nodes[epoch]
	return was
}

// InstanceOf returns the instance of a lease that an answer has brought; "": none
// has.
func (o *Oracle) InstanceOf(k event.Key, epoch uint64) string {
	if l := o.node(k).lease(epoch); l != nil {
		return l.instance
	}
	return ""
}
