package service

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store"
)

// testCluster is a store in memory that several replicas share. Its election
// does what the test says, its operations can be held, fail, and land late.
type testCluster struct {
	mu      sync.Mutex
	data    *testStore // nil: there is no store
	id      string
	term    int // the last one that began
	members []*testMember
	leader  store.Member
	news    chan struct{}
	hold    func(*clusterOp) bool
	held    []*clusterOp // not taken yet
	all     []*clusterOp
	fail    func(*clusterOp) error // not nil: the operation is not done, and errs so
	count   map[string]int         // operations begun, by name
}

func newTestCluster(data *testStore) *testCluster {
	return &testCluster{data: data, id: "store-1", news: make(chan struct{}),
		count: map[string]int{}}
}

// clusterOp is an operation that waits for the test's word.
type clusterOp struct {
	who, op string
	batch   fencing.Batch
	answer  chan error
	// do is what it does to the store, whoever waits for it.
	do func() error
}

// let ends the operation: it is done, and answered with what comes of it.
func (o *clusterOp) let() { o.end(o.do()) }

// end answers, whatever the operation did.
func (o *clusterOp) end(err error) {
	select {
	case o.answer <- err:
	default:
	}
}

// run is an operation of a member.
func (c *testCluster) run(ctx context.Context, o *clusterOp) error {
	c.mu.Lock()
	c.count[o.op]++
	if c.fail != nil {
		if err := c.fail(o); err != nil {
			defer c.mu.Unlock()
			return err
		}
	}
	if c.hold == nil || !c.hold(o) {
		defer c.mu.Unlock()
		return o.do()
	}
	o.answer = make(chan error, 1)
	do := o.do
	o.do = func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		return do()
	}
	c.held, c.all = append(c.held, o), append(c.all, o)
	c.mu.Unlock()
	select {
	case err := <-o.answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// holdIf holds the operations that the condition is true of, from now on.
func (c *testCluster) holdIf(condition func(*clusterOp) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hold = condition
}

// failIf lets those operations fail, undone, that the condition is true of.
func (c *testCluster) failIf(condition func(*clusterOp) bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = func(o *clusterOp) error {
		if condition(o) {
			return err
		}
		return nil
	}
}

// takeHeld hands over what is held.
func (c *testCluster) takeHeld() []*clusterOp {
	c.mu.Lock()
	defer c.mu.Unlock()
	held := c.held
	c.held = nil
	return held
}

// letAll holds nothing any more.
func (c *testCluster) letAll() {
	c.mu.Lock()
	c.hold, c.fail = nil, nil
	all := c.all
	c.all, c.held = nil, nil
	c.mu.Unlock()
	for _, o := range all {
		o.let()
	}
}

func (c *testCluster) ops(op string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count[op]
}

// resignations is how often a member has resigned.
func (c *testCluster) resignations(m *testMember) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return m.resigned
}

// lead makes a member the leader, as the election has it, and tells everyone.
// The one before is not told that it has lost the leadership: see lose.
func (c *testCluster) lead(m *testMember) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.elect(m)
}

func (c *testCluster) elect(m *testMember) {
	c.say(m.self)
	o := &testLeadership{m: m, lost: make(chan struct{})}
	m.leadership = o
	select {
	case m.chosen <- o:
	default:
	}
}

func (c *testCluster) say(leader store.Member) {
	c.leader = leader
	close(c.news)
	c.news = make(chan struct{})
}

// lose takes the leadership from a member.
func (c *testCluster) lose(m *testMember) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leave(m)
}

func (c *testCluster) leave(m *testMember) {
	if o := m.leadership; o != nil {
		m.leadership = nil
		close(o.lost)
		if c.leader == m.self {
			c.say(store.Member{})
		}
	}
}

// next chooses the first in line, if nobody is chosen.
func (c *testCluster) next() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leader != (store.Member{}) {
		return
	}
	for _, m := range c.members {
		if m.standing {
			c.elect(m)
			return
		}
	}
}

// testMember is the cluster as one replica sees it.
type testMember struct {
	c          *testCluster
	self       store.Member
	session    time.Duration
	chosen     chan *testLeadership
	standing   bool
	leadership *testLeadership
	id         string // of the store, where it is another one
	unborn     bool   // the store has not been reached yet
	resigned   int
	view       *store.Member // who leads, if it sees another one than the others do
}

// sees makes a member see another leader than the others do.
func (c *testCluster) sees(m *testMember, leader store.Member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m.view = &leader
	c.say(c.leader)
}

func (c *testCluster) join(self store.Member) *testMember {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := &testMember{c: c, self: self, session: 5 * time.Second, chosen: make(chan *testLeadership, 1)}
	c.members = append(c.members, m)
	return m
}

var _ store.Cluster = (*testMember)(nil)

func (m *testMember) Campaign(ctx context.Context) (store.Leadership, error) {
	m.stand(true)
	defer m.stand(false)
	select {
	case o := <-m.chosen:
		return o, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (m *testMember) stand(standing bool) {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	m.standing = standing
	m.c.members = slices.DeleteFunc(m.c.members, func(o *testMember) bool { return o == m })
	m.c.members = append(m.c.members, m) // last in line
}

func (m *testMember) Leader() (store.Member, <-chan struct{}) {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	if m.view != nil {
		return *m.view, m.c.news
	}
	return m.c.leader, m.c.news
}

func (m *testMember) Self() store.Member        { return m.self }
func (m *testMember) SessionTTL() time.Duration { return m.session }

func (m *testMember) ID() string {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	if m.unborn {
		return ""
	}
	if m.id != "" {
		return m.id
	}
	return m.c.id
}

type testLeadership struct {
	m    *testMember
	lost chan struct{}
}

func (o *testLeadership) Lost() <-chan struct{} { return o.lost }

func (o *testLeadership) TakeOver(ctx context.Context) (store.Term, error) {
	t := &testTerm{m: o.m}
	err := o.m.c.run(ctx, &clusterOp{who: o.m.self.ID, op: "take over", do: func() error {
		o.m.c.term++
		t.number = o.m.c.term
		return nil
	}})
	return t, err
}

func (o *testLeadership) Resign(ctx context.Context) error {
	return o.m.c.run(ctx, &clusterOp{who: o.m.self.ID, op: "resign", do: func() error {
		o.m.resigned++
		if o.m.leadership == o {
			o.m.c.leave(o.m)
		}
		return nil
	}})
}

// testTerm is the store as one term sees it.
type testTerm struct {
	m      *testMember
	number int
}

func (t *testTerm) run(ctx context.Context, op string, b fencing.Batch, do func() error) error {
	return t.m.c.run(ctx, &clusterOp{who: t.m.self.ID, op: op, batch: b, do: do})
}

func (t *testTerm) Load(ctx context.Context) (snap fencing.Snapshot, err error) {
	err = t.run(ctx, "load", fencing.Batch{}, func() error {
		if t.m.c.data == nil {
			return store.ErrNoStore
		}
		var err error
		snap, err = t.m.c.data.Load(ctx)
		return err
	})
	return snap, err
}

func (t *testTerm) Create(ctx context.Context, b fencing.Batch) error {
	return t.run(ctx, "create", b, func() error {
		switch {
		case t.number != t.m.c.term:
			return store.ErrDeposed
		case t.m.c.data != nil:
			return store.ErrExists
		}
		t.m.c.data = newTestStore(b)
		return nil
	})
}

func (t *testTerm) Commit(ctx context.Context, b fencing.Batch) error {
	return t.run(ctx, "commit", b, func() error {
		if t.number != t.m.c.term {
			return store.ErrDeposed
		}
		return t.m.c.data.Commit(context.Background(), b)
	})
}

func (t *testTerm) Confirm(ctx context.Context) error {
	return t.run(ctx, "confirm", fencing.Batch{}, func() error {
		if t.number != t.m.c.term {
			return store.ErrDeposed
		}
		return nil
	})
}

// errTimeout is an outcome that nobody knows.
var errTimeout = errors.New("etcd: request timed out")

// Conditions for holdIf.

func opIs(ops ...string) func(*clusterOp) bool {
	return func(o *clusterOp) bool { return slices.Contains(ops, o.op) }
}

func grantOf(o *clusterOp) bool { return o.op == "commit" && anyRecord(o.batch) }
