package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/etcd"
	"github.com/cirrus-id/cirrus/store/etcd/etcdsim"
	"github.com/cirrus-id/cirrus/store/storetest"
)

const prefix = "/cirrus/"

var (
	ctx    = context.Background()
	errCut = errors.New("no answer came")
)

// world is an etcd in memory, and the replicas that use it.
type world struct {
	t    *testing.T
	etcd etcdsim.Store
	n    int
}

// replica is a cluster and its connection to etcd.
type replica struct {
	*etcd.Cluster
	*wire
}

// wire is a replica's connection to etcd, which a test can intercept. It is also an
// election that elects each replica that campaigns, even while another one is elected.
type wire struct {
	etcd *etcdsim.Store
	self store.Member

	mu        sync.Mutex
	txns      []etcd.Txn      // all that were sent
	ctx       context.Context // of the last one
	elections int
	// onTxn and onRange, if not nil, are called instead of etcd.
	onTxn   func(etcd.Txn) (bool, error)
	onRange func(etcd.Range) (etcd.Page, error)
}

func newWorld(t *testing.T) *world { return &world{t: t} }

func (w *world) replica(change ...func(*etcd.Options)) *replica {
	w.t.Helper()
	w.n++
	self := store.Member{ID: fmt.Sprintf("r%d", w.n), Address: fmt.Sprintf("http://r%d:50051", w.n)}
	opts := etcd.Options{Prefix: prefix, Self: self}
	for _, f := range change {
		f(&opts)
	}
	r := &replica{wire: &wire{etcd: &w.etcd, self: self}}
	var err error
	if r.Cluster, err = etcd.New(kv{r.wire}, election{r.wire}, opts); err != nil {
		w.t.Fatal(err)
	}
	return r
}

// replicaAt returns a replica of a store under another prefix.
func (w *world) replicaAt(prefix string) *replica {
	return w.replica(func(o *etcd.Options) { o.Prefix = prefix })
}

// kv and election keep the names of the wire's methods apart from a cluster's.
type (
	kv       struct{ *wire }
	election struct{ *wire }
)

func (k kv) Txn(ctx context.Context, t etcd.Txn) (bool, error) {
	k.mu.Lock()
	k.ctx = ctx
	k.txns = append(k.txns, t)
	do := k.onTxn
	k.mu.Unlock()
	if do == nil {
		do = k.etcd.Txn
	}
	return do(t)
}

func (k kv) Range(_ context.Context, r etcd.Range) (etcd.Page, error) {
	if k.onRange != nil {
		return k.onRange(r)
	}
	return k.etcd.Range(r)
}

func (k kv) Cluster() string { return "sim" }

func (e election) Campaign(context.Context) (etcd.Elected, error) {
	e.mu.Lock()
	e.elections++
	l := &leadership{etcd: e.etcd,
		key:  fmt.Sprintf("%sleader/%s-%d", prefix, e.self.ID, e.elections),
		lost: make(chan struct{})}
	e.mu.Unlock()
	value := fmt.Sprintf(`{"id":%q,"address":%q}`, e.self.ID, e.self.Address)
	_, err := e.etcd.Txn(etcd.Txn{Ops: []etcd.Op{{Key: l.key, Value: []byte(value)}}})
	l.revision = e.etcd.Revision()
	return l, err
}

func (e election) Leader() (store.Member, <-chan struct{}) { return store.Member{}, nil }

func (e election) Close() error { return nil }

type leadership struct {
	etcd     *etcdsim.Store
	key      string
	revision int64
	once     sync.Once
	lost     chan struct{}
}

func (l *leadership) Key() string           { return l.key }
func (l *leadership) Revision() int64       { return l.revision }
func (l *leadership) Lost() <-chan struct{} { return l.lost }

func (l *leadership) Resign(context.Context) error {
	l.once.Do(func() { close(l.lost) })
	_, err := l.etcd.Txn(etcd.Txn{Ops: []etcd.Op{{Key: l.key, Delete: true}}})
	return err
}

// sent returns how many transactions the replica has sent.
func (w *wire) sent() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.txns)
}

func (r *replica) campaign(t *testing.T) store.Leadership {
	t.Helper()
	o, err := r.Campaign(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// term campaigns and takes over.
func (r *replica) term(t *testing.T) store.Term {
	t.Helper()
	term, err := r.campaign(t).TakeOver(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return term
}

// filled returns a world with a store in it, which has the pool "p".
func filled(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	create(t, w.replica().term(t))
	w.resignAll()
	return w
}

func create(t *testing.T, term store.Term) {
	t.Helper()
	if err := term.Create(ctx, first()); err != nil {
		t.Fatal(err)
	}
}

// first returns a store's first batch.
func first() fencing.Batch {
	meta := storetest.Meta()
	return fencing.Batch{Meta: &meta, Pools: []fencing.Pool{storetest.Pool("p")}}
}

// resignAll ends all sessions.
func (w *world) resignAll() {
	w.t.Helper()
	for key := range w.under(prefix + "leader/") {
		if _, err := w.etcd.Txn(etcd.Txn{Ops: []etcd.Op{{Key: key, Delete: true}}}); err != nil {
			w.t.Fatal(err)
		}
	}
}

// under returns the keys and values under a prefix.
func (w *world) under(prefix string) map[string]string {
	w.t.Helper()
	page, err := w.etcd.Range(etcd.Range{From: prefix, To: prefix + "\xff"})
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[string]string{}
	for _, kv := range page.Keys {
		out[kv.Key] = string(kv.Value)
	}
	return out
}

// data returns all that the store keeps.
func (w *world) data() map[string]string {
	w.t.Helper()
	all := w.under(prefix)
	for key := range all {
		if key == prefix+"term" || strings.HasPrefix(key, prefix+"leader/") {
			delete(all, key)
		}
	}
	return all
}

// put writes to etcd without the store.
func (w *world) put(key, value string) {
	w.t.Helper()
	if _, err := w.etcd.Txn(
		etcd.Txn{Ops: []etcd.Op{{Key: prefix + key, Value: []byte(value)}}}); err != nil {
		w.t.Fatal(err)
	}
}

// grants returns records of the pool "p", of node IDs from the first on.
func grants(first, n int, epoch fencing.Epoch) fencing.Batch {
	var b fencing.Batch
	for i := range n {
		b.Records = append(b.Records, storetest.Record("p", node(first+i), epoch))
	}
	return b
}
