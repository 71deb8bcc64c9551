package sim

import (
	"context"
	"encoding/json"
	"time"

	"github.com/cirrus-id/cirrus/sim/kernel"
	"github.com/cirrus-id/cirrus/sim/plan"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/etcd"
)

// election is a process's part in the election: sessions, keys in the order of
// their creation, and watches, as etcd's own library has them. It is told late,
// in a wrong order, or not at all; that may cost time, and nothing else.
type election struct {
	conn   *etcdConn
	self   store.Member
	leader store.Member
	change chan struct{} // closed and replaced when leader changes
	// news counts what the watch has told.
	news    int
	closed  bool
	running int // tasks beside the callers
}

var _ etcd.Election = (*election)(nil)

func (w *world) newElection(k *etcdConn, self store.Member) *election {
	el := &election{conn: k, self: self, change: make(chan struct{})}
	w.etcd.watchers = append(w.etcd.watchers, el)
	el.run("observe", el.observe)
	return el
}

// run runs a task beside the callers, which Close waits for.
func (el *election) run(name string, f func()) {
	el.running++
	el.conn.p.Start(name, func() {
		defer func() { el.running-- }()
		f()
	})
}

// Close implements etcd.Election.
func (el *election) Close() error {
	el.closed = true
	el.touch()
	w := el.conn.w
	w.etcd.forget(el)
	w.park(func() bool { return el.running == 0 })
	return nil
}

func (e *etcdCluster) forget(el *election) {
	for i, other := range e.watchers {
		if other == el {
			e.watchers = append(e.watchers[:i], e.watchers[i+1:]...)
			return
		}
	}
}

func (el *election) touch() { el.conn.p.Machine.Touch() }

// Leader implements etcd.Election.
func (el *election) Leader() (store.Member, <-chan struct{}) { return el.leader, el.change }

func (el *election) hear(m store.Member) {
	if m == el.leader {
		return
	}
	el.leader = m
	close(el.change)
	el.change = make(chan struct{})
	el.touch()
}

// observe keeps the leader up to date.
func (el *election) observe() {
	w, i := el.conn.w, el.conn.s.index
	for !el.closed {
		seen := el.news
		keys, err := el.standing(context.Background())
		if err != nil {
			el.wait(context.Background(), seen, w.plan.Session/5)
			continue
		}
		if n := len(w.etcd.chosen); n > 1 && w.on(plan.Election) &&
			w.fault(plan.Election, 10+i, 100) {
			el.hear(w.etcd.chosen[n-2]) // what it is told comes in a wrong order
			el.wait(context.Background(), el.news, w.dice("stale leader", i).Duration(0,
				w.plan.Session))
		}
		m := store.Member{}
		if len(keys) > 0 {
			m = readMember(keys[0].Value)
		}
		el.hear(m)
		el.wait(context.Background(), seen, 2*w.plan.Session)
	}
}

// wait waits for news since seen, but not longer than d.
func (el *election) wait(ctx context.Context, seen int, d time.Duration) {
	timer := el.conn.clock.NewTimer(d)
	defer timer.Stop()
	el.conn.w.park(func() bool {
		return el.news != seen || el.closed || ctx.Err() != nil ||
			kernel.Ready(timer.Chan())
	})
}

// standing reads who stands for election, the oldest first.
func (el *election) standing(ctx context.Context) ([]etcd.KeyValue, error) {
	var keys []etcd.KeyValue
	e := el.conn.w.etcd
	err := el.conn.ask(ctx, &question{why: etcd.ForElection, do: func(*question) error {
		keys = e.candidates()
		return nil
	}})
	return keys, err
}

// Campaign implements etcd.Election.
func (el *election) Campaign(ctx context.Context) (etcd.Elected, error) {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		l, err := el.campaign(ctx)
		if err == nil {
			return l, nil
		}
		if el.closed {
			return nil, errEtcdClosing
		}
		if !el.conn.sleep(ctx, pause/2+el.conn.w.dice("campaign", el.conn.s.index).Duration(0,
			pause/2)) {
			return nil, ctx.Err()
		}
	}
}

// campaign makes a session and campaigns with it, until it wins, loses the
// session, or ctx ends.
func (el *election) campaign(ctx context.Context) (*leadership, error) {
	w, k := el.conn.w, el.conn
	l := &leadership{el: el, lost: make(chan struct{})}
	heard := k.p.Machine.Steady()
	if err := k.ask(ctx, &question{why: etcd.ForElection, writes: true, do: func(*question) error {
		l.session = w.etcd.grant(w.plan.Session)
		return nil
	}}); err != nil {
		return nil, err
	}
	el.run("session", func() { l.keepAlive(heard) })
	if err := l.enter(ctx); err != nil {
		_ = l.drop(ctx)
		return nil, err
	}
	for {
		seen := el.news
		keys, err := el.standing(ctx)
		if err != nil || l.ended || el.closed {
			_ = l.drop(ctx)
			if err == nil {
				err = errNoSession
			}
			return nil, err
		}
		// Whether its own key is still there, it doesn't ask: nor does etcd's
		// library.
		if len(keys) == 0 || keys[0].CreateRevision >= l.revision {
			return l, nil
		}
		if w.on(plan.Election) && w.fault(plan.Election, 20+k.s.index, 60) {
			w.flood()
			k.sleep(ctx, w.dice("chosen too soon", k.s.index).Duration(time.Millisecond,
				8*time.Millisecond))
			return l, nil // it is told of an election that it has not won
		}
		el.wait(ctx, seen, 2*w.plan.Session)
	}
}

// leadership is a session, and the place in the election that it has.
type leadership struct {
	el       *election
	session  *session
	revision int64
	lost     chan struct{}
	ended    bool // lost is closed
}

var _ etcd.Elected = (*leadership)(nil)

// enter puts the key.
func (l *leadership) enter(ctx context.Context) error {
	e := l.el.conn.w.etcd
	return l.el.conn.ask(ctx, &question{why: etcd.ForElection, writes: true,
		do: func(*question) error {
			if l.session.ended {
				return errNoSession
			}
			put := []etcd.Op{{Key: l.session.key, Value: writeMember(l.el.self)}}
			if _, err := e.state.Txn(etcd.Txn{Ops: put}); err != nil {
				return err
			}
			l.revision = e.state.Revision()
			e.changed(put)
			return nil
		}})
}

// keepAlive keeps the session alive, and finds out, late, when it isn't.
func (l *leadership) keepAlive(heard time.Duration) {
	el, k := l.el, l.el.conn
	w, m, i := k.w, k.p.Machine, k.s.index
	for !l.ended && !el.closed {
		timer := k.clock.NewTimer(l.session.ttl / 3)
		w.park(func() bool { return kernel.Ready(timer.Chan()) || l.ended || el.closed })
		timer.Stop()
		if l.ended || el.closed {
			return
		}
		err := k.ask(context.Background(), &question{why: etcd.ForElection,
			do: func(*question) error {
				if l.session.ended {
					return errNoSession
				}
				w.etcd.extend(l.session)
				return nil
			}})
		early := w.on(plan.Election) && w.fault(plan.Election, 30+i, 15)
		switch {
		case err == nil && !early:
			heard = m.Steady() // it counts from the answer, not from the question
			continue
		case err != errNoSession && !early && m.Steady()-heard < l.session.ttl: //nolint:errorlint // our own
			continue
		}
		if late := w.dice("lost late", i).Tail(w.plan.Session/4, 3*w.plan.Session); !early &&
			w.on(plan.Election) && w.fault(plan.Election, 40+i, 500) {
			timer := k.clock.NewTimer(late)
			w.park(func() bool { return kernel.Ready(timer.Chan()) || l.ended || el.closed })
			timer.Stop()
		}
		l.lose()
	}
}

func (l *leadership) lose() {
	if !l.ended {
		l.ended = true
		close(l.lost)
		l.el.touch()
	}
}

// Key implements etcd.Elected.
func (l *leadership) Key() string { return l.session.key }

// Revision implements etcd.Elected.
func (l *leadership) Revision() int64 { return l.revision }

// Lost implements etcd.Elected.
func (l *leadership) Lost() <-chan struct{} { return l.lost }

// Resign implements etcd.Elected.
func (l *leadership) Resign(ctx context.Context) error { return l.drop(ctx) }

// drop ends the session, here and, if it can, in etcd.
func (l *leadership) drop(ctx context.Context) error {
	l.lose()
	e := l.el.conn.w.etcd
	return l.el.conn.ask(context.WithoutCancel(ctx),
		&question{why: etcd.ForElection, do: func(*question) error {
			e.revoke(l.session)
			return nil
		}})
}

// wireMember is how a replica stands in its key, as the store has it.
type wireMember struct {
	ID      string `json:"id"`
	Address string `json:"address"`
}

func writeMember(m store.Member) []byte {
	b, err := json.Marshal(wireMember(m))
	if err != nil {
		panic(err)
	}
	return b
}

func readMember(b []byte) store.Member {
	var m wireMember
	if err := json.Unmarshal(b, &m); err != nil {
		panic(err)
	}
	return store.Member(m)
}
