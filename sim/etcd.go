package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cirrus-id/cirrus/sim/kernel"
	"github.com/cirrus-id/cirrus/sim/plan"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/etcd"
	"github.com/cirrus-id/cirrus/store/etcd/etcdsim"
)

// etcdName is etcd's among the machines. How its members keep each other right
// is etcd's own business: here they are one, which stands still when they have
// no majority, and forgets nothing.
const etcdName = "etcd"

// What a replica hears of etcd when it hears no answer.
var (
	errEtcdSilent  = errors.New("etcd did not answer in time")
	errEtcdGone    = errors.New("the connection to etcd broke")
	errEtcdFull    = errors.New("etcd is out of space")
	errNoSession   = errors.New("etcd knows no such session")
	errEtcdClosing = errors.New("the election is closed")
)

// etcdCluster is etcd: a linearizable state, the sessions that stand in it, and
// who watches.
type etcdCluster struct {
	w       *world
	machine *kernel.Machine
	state   etcdsim.Store
	// down, slow and full say until when it has no majority, takes its time,
	// and has no space.
	down, slow, full time.Duration
	// waiting are the questions that came while it had no majority.
	waiting []*question
	// silent says until when a member answers nothing.
	silent   time.Duration
	member   int
	asked    []*question // and have no answer yet
	sessions []*session
	number   int // of sessions, ever
	watchers []*election
	// chosen are those whom the election chose, one after the other.
	chosen []store.Member
}

// session is a lease of etcd's own kind, which takes its key with it when it
// ends. It counts by etcd's clock.
type session struct {
	key     string
	ttl     time.Duration
	expires time.Duration
	due     bool // it has run out while etcd had no majority
	ended   bool
}

// question is a request to etcd, and what becomes of it.
type question struct {
	conn *etcdConn
	why  etcd.Purpose
	// writes: it changes the state, or would.
	writes bool
	// do happens at the instant at which etcd does it, if ever.
	do func(q *question) error
	// mute: no answer will come; swallowed: since its member is silent.
	mute, swallowed bool
	done            bool // it is answered
	err             error
	gaveUp          bool // nobody waits any more
}

// etcdConn is a process's connection to etcd: the KV of its store.
type etcdConn struct {
	w     *world
	s     *server
	p     *kernel.Process
	clock *kernel.Clock
	// limit is how long an answer is waited for.
	limit time.Duration
	// heard: etcd has answered once.
	heard bool
	// moved counts how often it turned to another member.
	moved int
}

var _ etcd.KV = (*etcdConn)(nil)

func (w *world) newEtcd() *etcdCluster {
	return &etcdCluster{w: w, machine: w.machine(etcdName)}
}

func (e *etcdCluster) note(until time.Duration, text string) {
	e.w.note(Record{Kind: RecordDisk, Machine: etcdName, Node: -1, Until: until, Text: text})
}

// ask sends a question and waits for the answer, as long as the connection allows.
func (k *etcdConn) ask(ctx context.Context, q *question) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	q.conn = k
	e := k.w.etcd
	e.asked = append(e.asked, q)
	e.send(q)
	timer, late := k.clock.NewTimer(k.limit), false
	k.w.park(func() bool {
		late = late || kernel.Ready(timer.Chan())
		return q.done || late || ctx.Err() != nil
	})
	timer.Stop()
	for i, other := range e.asked {
		if other == q {
			e.asked = append(e.asked[:i], e.asked[i+1:]...)
			break
		}
	}
	switch {
	// Of a machine that stood still, nobody knows what it looks at first.
	case q.done && late && k.w.on(plan.EtcdUnknown) &&
		k.w.dice("late or not", k.s.index).Below(2) == 1:
		q.gaveUp = true
		return errEtcdSilent
	case q.done:
		return q.err
	case ctx.Err() != nil:
		q.gaveUp = true
		return ctx.Err()
	}
	q.gaveUp = true
	if k.moved++; q.swallowed {
		k.w.saw("a replica turned away from a silent member of etcd")
	}
	return fmt.Errorf("%w (%v)", errEtcdSilent, k.limit)
}

// send lets a question leave its machine.
func (e *etcdCluster) send(q *question) {
	w, k := e.w, q.conn
	i, name := k.s.index, k.s.name()
	d := w.dice("to etcd", i).Duration(200*time.Microsecond, 1500*time.Microsecond)
	if w.on(plan.EtcdDelay) && w.fault(plan.EtcdDelay, i, 100) {
		d += w.dice("etcd delay", i).Tail(k.limit/4, 2*k.limit)
	}
	late := uint64(40)
	switch {
	case q.why == etcd.ForCreate:
		late = 500 // there is one of them in a world
	case q.why == etcd.ForTakeOver && q.writes:
		late = 100 // there are few
	}
	if w.on(plan.EtcdLate) && w.fault(plan.EtcdLate, i, late) {
		d += k.limit + w.dice("etcd late", i).Tail(k.limit, 3*w.plan.TTL)
	}
	if w.on(plan.EtcdUnknown) && w.fault(plan.EtcdUnknown, i, 30) {
		q.mute = true
		if w.dice("etcd unknown", i).Below(2) == 0 {
			return // it is the question that gets lost
		}
	}
	if w.net.cutOff(name, etcdName) {
		return
	}
	if k.isSilent() {
		e.swallow(q)
		return
	}
	w.after(d, "at etcd", func() { e.arrive(q) })
}

// arrive is a question's arrival.
func (e *etcdCluster) arrive(q *question) {
	w := e.w
	switch {
	case w.now() < e.down:
		e.waiting = append(e.waiting, q)
	case w.now() < e.slow && q.writes:
		w.after(w.dice("etcd slow", 0).Tail(min(200*time.Millisecond, q.conn.limit/2),
			2*q.conn.limit), "slow", func() { e.does(q) })
	default:
		e.does(q)
	}
}

// does is the instant at which etcd does what it is asked.
func (e *etcdCluster) does(q *question) {
	w := e.w
	if w.now() < e.down {
		e.waiting = append(e.waiting, q)
		return
	}
	var err error
	if q.writes && w.now() < e.full {
		w.saw("etcd was out of space and refused a write")
		err = errEtcdFull
	} else {
		err = q.do(q)
	}
	e.answer(q, err)
}

// died forgets what a process that was killed has watched. Its sessions last
// until their time has come, and what it has asked may still be done.
func (e *etcdCluster) died(p *kernel.Process) {
	kept := e.watchers[:0]
	for _, el := range e.watchers {
		if el.conn.p != p {
			kept = append(kept, el)
		}
	}
	clear(e.watchers[len(kept):])
	e.watchers = kept
	for i := 0; i < len(e.asked); i++ {
		if q := e.asked[i]; q.conn.p == p {
			q.gaveUp = true
			e.asked = append(e.asked[:i], e.asked[i+1:]...)
			i--
		}
	}
}

// answer lets an answer leave etcd.
func (e *etcdCluster) answer(q *question, err error) {
	w, k := e.w, q.conn
	if q.mute || w.net.cutOff(etcdName, k.s.name()) {
		return
	}
	d := w.dice("from etcd", k.s.index).Duration(200*time.Microsecond, 1500*time.Microsecond)
	if w.on(plan.EtcdDelay) && w.fault(plan.EtcdDelay, 10+k.s.index, 150) {
		d += w.dice("etcd's answer delay", k.s.index).Tail(k.limit/2, 2*k.limit)
	}
	w.after(d, "etcd's answer", func() {
		if q.done || k.p.Dead {
			return
		}
		q.done, q.err = true, err
		k.heard = true
		k.p.Machine.Touch()
	})
}

// Txn implements etcd.KV.
func (k *etcdConn) Txn(ctx context.Context, t etcd.Txn) (done bool, err error) {
	id := k.w.sendTxn(k, t)
	q := &question{why: t.For, writes: true}
	q.do = func(q *question) error {
		did, err := k.w.etcd.state.Txn(t)
		if err != nil {
			return err
		}
		done = did
		k.w.txnDone(k, t, id, did, q.gaveUp)
		k.w.etcd.changed(t.Ops)
		return nil
	}
	if err := k.ask(ctx, q); err != nil {
		return false, err
	}
	return done, nil
}

// Range implements etcd.KV.
func (k *etcdConn) Range(ctx context.Context, r etcd.Range) (etcd.Page, error) {
	var page etcd.Page
	q := &question{why: r.For}
	q.do = func(q *question) (err error) {
		if q.gaveUp {
			k.w.saw("a read was done after its reader had given up")
		}
		page, err = k.w.etcd.state.Range(r)
		return err
	}
	if err := k.ask(ctx, q); err != nil {
		return etcd.Page{}, err
	}
	return page, nil
}

// Cluster implements etcd.KV.
func (k *etcdConn) Cluster() string {
	if !k.heard {
		return ""
	}
	return "simulated"
}

// sleep waits by the machine's timers, and reports whether ctx still lasts.
func (k *etcdConn) sleep(ctx context.Context, d time.Duration) bool {
	timer := k.clock.NewTimer(d)
	defer timer.Stop()
	k.w.park(func() bool { return kernel.Ready(timer.Chan()) || ctx.Err() != nil })
	return ctx.Err() == nil
}

// The sessions.

// grant begins a session.
func (e *etcdCluster) grant(ttl time.Duration) *session {
	e.number++
	s := &session{key: fmt.Sprintf("%sleader/%x", etcd.DefaultPrefix, e.number), ttl: ttl}
	e.sessions = append(e.sessions, s)
	e.extend(s)
	return s
}

// extend lets a session last for another TTL.
func (e *etcdCluster) extend(s *session) {
	first := s.expires == 0
	s.expires = e.w.now() + s.ttl
	if first {
		e.expire(s)
	}
}

// expire ends a session when its time has come.
func (e *etcdCluster) expire(s *session) {
	e.w.loop.At(s.expires, "session", func() {
		switch {
		case s.ended:
		case e.w.now() < s.expires:
			e.expire(s)
		case e.w.now() < e.down:
			s.due = true // nobody can decide on it; it gets another TTL then
		default:
			e.revoke(s)
		}
	})
}

// revoke ends a session, and its key.
func (e *etcdCluster) revoke(s *session) {
	if s.ended {
		return
	}
	s.ended = true
	for i, other := range e.sessions {
		if other == s {
			e.sessions = append(e.sessions[:i], e.sessions[i+1:]...)
			break
		}
	}
	gone := []etcd.Op{{Key: s.key, Delete: true}}
	if _, err := e.state.Txn(etcd.Txn{Ops: gone}); err != nil {
		panic(err)
	}
	e.changed(gone)
}

// candidates are the keys of the election, the oldest first.
func (e *etcdCluster) candidates() []etcd.KeyValue {
	page, err := e.state.Range(etcd.Range{From: etcd.DefaultPrefix + "leader/",
		To: etcd.DefaultPrefix + "leader0"})
	if err != nil {
		panic(err)
	}
	keys := page.Keys
	for i := range keys {
		for j := i; j > 0 && keys[j].CreateRevision < keys[j-1].CreateRevision; j-- {
			keys[j], keys[j-1] = keys[j-1], keys[j]
		}
	}
	return keys
}

// changed tells those who watch the election, if it is that which changed.
func (e *etcdCluster) changed(ops []etcd.Op) {
	for _, op := range ops {
		if len(op.Key) > len(electionKeys) && op.Key[:len(electionKeys)] == electionKeys {
			if keys := e.candidates(); len(keys) > 0 {
				if m := readMember(keys[0].Value); len(e.chosen) == 0 ||
					e.chosen[len(e.chosen)-1] != m {
					e.chosen = append(e.chosen, m)
				}
			}
			for _, el := range e.watchers {
				e.tell(el)
			}
			return
		}
	}
}

// electionKeys is what the keys of the election begin with.
const electionKeys = etcd.DefaultPrefix + "leader/"

// tell lets a watcher know that something has changed: soon, late, or not at
// all, until it looks again of its own.
func (e *etcdCluster) tell(el *election) {
	w, i := e.w, el.conn.s.index
	d := w.dice("watch", i).Duration(200*time.Microsecond, 3*time.Millisecond)
	if w.on(plan.Election) && w.fault(plan.Election, i, 250) {
		if w.dice("watch lost", i).Below(3) == 0 {
			return
		}
		d += w.dice("watch late", i).Tail(w.plan.Session/2, 3*w.plan.Session)
	}
	if w.net.cutOff(etcdName, el.conn.s.name()) || el.conn.isSilent() {
		return
	}
	w.after(d, "watch", func() {
		if !el.conn.p.Dead && !w.net.cutOff(etcdName, el.conn.s.name()) {
			el.news++
			el.conn.p.Machine.Touch()
		}
	})
}
