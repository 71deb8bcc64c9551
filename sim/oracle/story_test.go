package oracle

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/sim/event"
	"github.com/cirrus-id/cirrus/snowflake"
)

// The timings of all stories.
const (
	ttl, quarantine, stride = 10 * time.Second, 10 * time.Second, 5 * time.Second
	// origin is server time, in Unix ms, at the beginning.
	origin = 1_800_000_000_000
	// loadedBase is the base of the store that is loaded, and base that of who loads it.
	loadedBase = fencing.Epoch(1) << 50
	base       = loadedBase + epochsPerSecond
)

// one and two are processes that serve, alice's and bob's are clients.
var (
	one   = event.Process{Machine: "one", Number: 1}
	two   = event.Process{Machine: "two", Number: 1}
	alice = event.Process{Machine: "alice", Number: 1}
	bob   = event.Process{Machine: "bob", Number: 1}
)

// story is a list of news, told to an oracle as it is written.
type story struct {
	oracle     *Oracle
	at         event.Instant
	number     int // of writes, operations and calls
	promises   []Promise
	texts      []string
	situations []string
}

// Violated, Saw and Note make a story the sink of its oracle.
func (s *story) Violated(p Promise, text string) {
	if !slices.Contains(s.promises, p) {
		s.promises = append(s.promises, p)
	}
	s.texts = append(s.texts, string(p)+": "+text)
}
func (s *story) Saw(situation string) { s.situations = append(s.situations, situation) }
func (s *story) Note(event.Record)    {}

func newStory(replicated bool) *story {
	s := &story{}
	s.oracle = New(Config{
		Replicated: replicated, Exclusive: true, Judged: true, TTL: ttl, Longest: ttl,
		Quarantine: quarantine, Stride: stride,
		Session: time.Second, EtcdTimeout: time.Second, PeerTimeout: time.Second, Apps: 2,
	}, s)
	s.after(time.Second)
	return s
}

// hear tells the oracle all of these, at one instant.
func (s *story) hear(news ...event.News) {
	for _, n := range news {
		s.oracle.Hear(s.at, n)
	}
}

// after lets time pass.
func (s *story) after(d time.Duration) {
	s.at.Now += d
	for i := range s.at.Clocks {
		c := &s.at.Clocks[i]
		c.Steady += d
		c.Wall = s.serverTime()
	}
}

func (s *story) serverTime() int64 { return origin + s.at.Now.Milliseconds() }

func (s *story) next() int {
	s.number++
	return s.number
}

// defaultPool has two node IDs.
func defaultPool() fencing.Pool {
	p := fencing.NewPool(fencing.DefaultPool)
	p.TTL, p.MaxTTL, p.Quarantine, p.Last, p.Opened = ttl, ttl, quarantine, 1, true
	return p
}

// store is what the server finds.
func (s *story) store(records ...fencing.Record) fencing.Snapshot {
	return fencing.Snapshot{Meta: fencing.Meta{Mark: origin, Stride: stride,
		FirstEpoch: loadedBase}, Pools: []fencing.Pool{defaultPool()}, Records: records}
}

// serve lets a server load the store and serve it.
func (s *story) serve(snap fencing.Snapshot) *story {
	s.hear(event.Server{Name: "one"}, event.Server{Index: 1, Name: "two"},
		event.Described{MaxTTL: ttl}, event.StoreIs{Snapshot: snap})
	s.start(snap)
	return s
}

// start starts a process on the server; it may have had others.
func (s *story) start(snap fencing.Snapshot) {
	s.hear(event.Started{Process: one, Stride: stride}, event.StoreOpened{},
		event.Loaded{Process: one, Snapshot: snap}, event.Serves{On: true})
	s.mark(snap.Meta.FirstEpoch + epochsPerSecond)
}

// mark writes the next mark.
func (s *story) mark(base fencing.Epoch) {
	s.write(
		one, 0, fencing.Batch{Meta: &fencing.Meta{Mark: snowflake.Millis(s.serverTime()).Add(
			stride), Stride: stride, FirstEpoch: base}})
}

// write writes a batch, and lets it be acknowledged.
func (s *story) write(by event.Process, term int, b fencing.Batch) {
	n := s.next()
	s.hear(event.Write{Write: n, Process: by, Term: term, Batch: b}, event.Reached{Write: n},
		event.Acknowledged{Write: n})
}

// record is a live one, granted now.
func (s *story) record(node int, epoch fencing.Epoch, instance string) fencing.Record {
	floor := snowflake.Millis(s.serverTime())
	return fencing.Record{
		Pool: fencing.DefaultPool, Node: snowflake.NodeID(node), Epoch: epoch,
		App: fencing.AppID(instance), Instance: fencing.InstanceID(instance).Hash(),
		TTL: ttl, Status: fencing.Live, Floor: floor, Ceiling: floor.Add(ttl),
	}
}

// lease is the lease of a record, as a reply promises it now.
func (s *story) lease(r fencing.Record, instance string) *event.Reply {
	now := s.serverTime()
	return &event.Reply{
		Good: true, Lease: true, Node: int(r.Node), Epoch: uint64(r.Epoch), Instance: instance,
		App: string(r.App), TTL: ttl,
		Server: now, Floor: int64(r.Floor), Ceiling: now + ttl.Milliseconds(),
	}
}

// call is a request about a lease.
func (s *story) call(procedure string, from event.Process, node int, epoch fencing.Epoch,
	instance string) event.Call {
	return event.Call{Number: s.next(), Procedure: procedure, From: from, FromApp: true,
		Request: &event.Request{Pool: string(fencing.DefaultPool), Node: node,
			Epoch: uint64(epoch), App: from.Machine, Instance: instance}}
}

// answer lets a request arrive and be answered at once.
func (s *story) answer(at event.Process, c event.Call, a *event.Reply) {
	n := s.next()
	s.hear(event.Arrived{Op: n, Process: at, Call: c},
		event.Replied{Op: n, Call: c, Reply: a, LostWrites: -1})
}

// grant grants a node ID to an instance, whose Acquire is answered.
func (s *story) grant(node int, epoch fencing.Epoch, instance string) fencing.Record {
	r := s.record(node, epoch, instance)
	s.write(one, 0, fencing.Batch{Records: []fencing.Record{r}})
	s.answer(one, s.call(event.CallAcquire, alice, -1, 0, instance), s.lease(r, instance))
	return r
}

// hold grants a node ID to an app's process, which hears of it.
func (s *story) hold(app int, by event.Process, node int, epoch fencing.Epoch) fencing.Record {
	s.hear(event.AppStarted{App: app, Process: by, Pool: fencing.DefaultPool}, event.Asks{App: app})
	r := s.record(node, epoch, by.Machine)
	s.write(one, 0, fencing.Batch{Records: []fencing.Record{r}})
	c := s.call(event.CallAcquire, by, -1, 0, by.Machine)
	a := s.lease(r, by.Machine)
	s.answer(one, c, a)
	s.hear(event.Answered{Call: c, To: c, App: app, SentAt: s.at.Now, Reply: a})
	return r
}

// heartbeat is answered with the lease.
func (s *story) heartbeat(r fencing.Record, instance string) {
	s.answer(one, s.call(event.CallHeartbeat, alice, int(r.Node), r.Epoch, instance),
		s.lease(r, instance))
}

// id is one with a timestamp that lies so far behind the floor of a record.
func id(r fencing.Record, after time.Duration) snowflake.ID {
	l := snowflake.DefaultLayout
	return snowflake.ID(r.Floor.Add(after)-l.Origin)<<(l.NodeBits+l.SequenceBits) | snowflake.ID(
		r.Node)<<l.SequenceBits
}

// replicas lets two replicas start on etcd, of which the first takes over.
func (s *story) replicas() *story {
	s.hear(event.Server{Name: "one"}, event.Server{Index: 1, Name: "two"},
		event.Described{MaxTTL: ttl})
	snap := s.store()
	s.hear(event.Created{Batch: fencing.Batch{Meta: &snap.Meta, Pools: snap.Pools}})
	s.hear(event.Started{Process: one, Stride: stride},
		event.Started{Server: 1, Process: two, Stride: stride}, event.Serves{On: true},
		event.Serves{Server: 1, On: true})
	s.takesOver(0, one, 1)
	s.tookOver(1)
	s.hear(event.Loaded{Process: one, Term: 1, Snapshot: snap},
		event.Checked{Leads: true, Leaders: 1})
	s.etcdWrite(
		one, 1, fencing.Batch{Meta: &fencing.Meta{Mark: snowflake.Millis(s.serverTime()).Add(
			stride), Stride: stride, FirstEpoch: base}}, 1)
	return s
}

// takesOver lets a replica send a takeover, and tookOver lets etcd do it.
func (s *story) takesOver(server int, by event.Process, term int) {
	s.hear(event.TakesOver{Server: server, Process: by, Term: term},
		event.TxnSent{Txn: -term, Process: by, TakeOver: true, Value: fmt.Sprint("term ", term),
			Keys: 1})
}

func (s *story) tookOver(term int) { s.hear(event.TxnDone{Txn: -term, Done: true}) }

// etcdWrite lets a replica write keys, which etcd does and acknowledges.
func (s *story) etcdWrite(by event.Process, term int, b fencing.Batch, keys int) {
	n := s.next()
	s.hear(event.Write{Write: n, Process: by, Term: term, Batch: b},
		event.TxnSent{Txn: n, Process: by, Guarded: true, Guard: fmt.Sprint("term ", term),
			Keys: keys},
		event.TxnDone{Txn: n, Done: true}, event.Acknowledged{Write: n})
}

// served is a story of one server that serves, and led one of replicas.
func served() *story { s := newStory(false); return s.serve(s.store()) }
func led() *story    { return newStory(true).replicas() }

func TestWrongs(t *testing.T) {
	// the world itself says these
	covered := map[Promise]bool{PromiseCanary: true, PromiseNoPanic: true}
	for _, w := range wrongs {
		covered[w.promise] = true
		t.Run(fmt.Sprintf("%s/%s", w.promise, w.what), func(t *testing.T) {
			s := w.tell()
			if len(s.promises) != 1 || s.promises[0] != w.promise {
				t.Errorf("the oracle found %q, want one sentence about %s",
					strings.Join(s.texts, "; "), w.promise)
			}
		})
	}
	for _, p := range Promises() {
		if !covered[p] {
			t.Errorf("no story breaks %s", p)
		}
	}
}

// TestRights: of a life that is as it should be, the oracle has nothing to say.
func TestRights(t *testing.T) {
	s := served()
	r := s.hold(0, alice, 0, base+1)
	s.hear(event.Live{App: 0, Lease: fencing.Lease{Node: r.Node, Epoch: r.Epoch}, Left: ttl,
		Clock: s.at.Clocks[0]})
	s.hear(event.Minted{App: 0, IDs: []snowflake.ID{id(r, 0), id(r, ttl)}})
	s.after(time.Second)
	s.mark(base)
	s.heartbeat(r, "alice")
	s.after(ttl + quarantine + time.Second)
	s.mark(base)
	s.hold(1, bob, 0, base+2)
	s.answer(one, s.call(event.CallHeartbeat, alice, 0, base+1, "alice"),
		&event.Reply{Code: "failed_precondition", Lost: true, Epoch: uint64(base + 1)})
	s.hear(event.FaultsEnded{}, event.Checked{}, event.Passed{}, event.Finished{})
	if texts := append(s.texts, led().texts...); len(texts) > 0 {
		t.Error(strings.Join(texts, "\n"))
	}
	for _, want := range []string{ChangedHolder,
		"an expired node ID was granted after its quarantine",
		"a stale holder was told that its lease is lost"} {
		if !slices.Contains(s.situations, want) {
			t.Errorf("the situation %q is not seen, only %q", want, s.situations)
		}
	}
}
