package fencing

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/cirrus-id/cirrus/snowflake"
)

// TestTranscripts plays the scenarios in testdata/server, which show the life of a node
// ID to a reader. Instants are in seconds after the start of the world, epochs are #1,
// #2, … from the store's first one.
//
//	store [ids=0-1] [ttl=30s] [max-ttl=60s] [quarantine=20s] [stride=10s] [suspicious]
//	start [stride=10s]       start a server on the store, in place of the one before
//	recover                  what `cirrus recover` does to the store
//	copy, restore            keep a copy of the store; put it back
//	pass 5s [no-ticks]       both clocks advance, with a Tick every second
//	wall 5s                  the wall clock is set forward, or back
//	acquire APP [ttl=5s] [wait] [slow]
//	heartbeat APP [epoch=N] [instance=APP] [slow]
//	release APP [last=S] [slow]
//	revoke APP [slow]
//	tick [slow]
//	land [unheard]           the first slow write becomes durable (and is acknowledged)
//	fail                     a write failed
//	pool [quarantine=…] [ids=…] [layout=…]   an update
//	ls, mark, alarm          listings, the mark and the clock alarm
//
// A slow write is in progress until it lands.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/server", func(t *testing.T, path string) {
		s := &transcript{leases: map[string]Lease{}, tickets: map[string]Ticket{}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.t, s.d = t, d
			return strings.TrimRight(s.run(), "\n") + "\n"
		})
	})
}

type transcript struct {
	rig
	d       *datadriven.TestData
	pool    Pool
	stride  time.Duration
	first   Epoch
	kept    *memStore
	leases  map[string]Lease // by app
	tickets map[string]Ticket
	slow    []*Write
}

func (s *transcript) run() string {
	app := ""
	if len(s.d.CmdArgs) > 0 {
		app = s.d.CmdArgs[0].Key
	}
	switch s.d.Cmd {
	case "store":
		return s.create()
	case "start":
		return s.start()
	case "recover":
		b, err := Recover(s.store.load(), s.now.Wall, s.stride, s.duration("longest-ttl", 0))
		if err != nil {
			return err.Error()
		}
		s.store.commit(b)
		return s.batch(b)
	case "copy":
		s.kept = s.store.copied()
		return "ok"
	case "restore":
		s.store = s.kept.copied()
		return "ok"
	case "pass":
		return s.passTime(app)
	case "wall":
		by, err := time.ParseDuration(app)
		if err != nil {
			return err.Error()
		}
		s.now.Wall = s.now.Wall.Add(by)
		return "the wall clock shows " + s.at(s.now.Wall)
	case "acquire":
		return s.acquire(app)
	case "heartbeat":
		return s.heartbeat(app)
	case "release":
		return s.release(app)
	case "revoke":
		l := s.leases[app]
		return s.decided(s.s.Revoke(s.now, DefaultPool, l.Node, l.Epoch))
	case "tick":
		w, _ := s.s.Tick(s.now)
		if w == nil {
			return "nothing to write"
		}
		return s.write(w)
	case "land":
		return s.land()
	case "fail":
		s.s.Fail(errTest)
		return "ok"
	case "pool":
		return s.update()
	case "ls":
		return s.ls()
	case "mark":
		s.s.Settle(s.now, DefaultPool)
		return fmt.Sprintf("mark %s, server time %s, wall clock %s, steady %v, alarm: %v",
			s.at(s.s.Mark()), s.at(s.s.time.ms), s.at(s.now.Wall), s.now.Steady, s.s.ClockAlarm())
	}
	return "unknown command"
}

// at returns an instant in seconds.
func (s *transcript) at(ms snowflake.Millis) string {
	return fmt.Sprintf("%.3f", float64(ms-startOfWorld)/1000)
}

func (s *transcript) epoch(e Epoch) string {
	if e >= s.first && e < s.first+1000 {
		return fmt.Sprintf("#%d", e-s.first+1)
	}
	d := int64(e - s.first)
	return fmt.Sprintf("#%d%+d×2^20", d&(epochsPerSecond-1)+1, d>>20)
}

func (s *transcript) duration(name string, or time.Duration) time.Duration {
	var v string
	if !s.d.MaybeScanArgs(testingT(s.t), name, &v) {
		return or
	}
	d, err := time.ParseDuration(v)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

func testingT(t tester) testing.TB { return t.(*testing.T) }

func (s *transcript) ids(p *Pool) {
	var ids string
	if s.d.MaybeScanArgs(testingT(s.t), "ids", &ids) {
		if _, err := fmt.Sscanf(ids, "%d-%d", &p.First, &p.Last); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *transcript) create() string {
	s.pool = smallPool(1)
	s.ids(&s.pool)
	s.pool.TTL = s.duration("ttl", s.pool.TTL)
	s.pool.MaxTTL = s.duration("max-ttl", s.pool.MaxTTL)
	s.pool.Quarantine = s.duration("quarantine", s.pool.Quarantine)
	s.stride = s.duration("stride", 10*time.Second)
	if s.now.Wall == 0 {
		s.now.Wall = startOfWorld
	}
	b, err := NewStore(s.now.Wall, s.stride, !s.d.HasArg("suspicious"), s.pool)
	if err != nil {
		return err.Error()
	}
	s.store = newMemStore(b)
	if s.first == 0 {
		s.first = b.Meta.FirstEpoch + epochsPerSecond // the first start's base
	}
	return fmt.Sprintf("mark %s, first epoch %s, open: %v", s.at(b.Meta.Mark),
		s.epoch(b.Meta.FirstEpoch+epochsPerSecond), b.Pools[0].Opened)
}

func (s *transcript) start() string {
	s.stride = s.duration("stride", s.stride)
	server, err := NewServer(s.store.load(), s.stride, s.now)
	if err != nil {
		return err.Error()
	}
	s.s, s.slow = server, nil
	clear(s.tickets)
	return fmt.Sprintf("server time %s, mark %s, stride %v", s.at(server.time.ms),
		s.at(server.Mark()), server.Stride())
}

// passTime lets time pass and returns the notes and openings that Tick wrote.
func (s *transcript) passTime(arg string) string {
	d, err := time.ParseDuration(arg)
	if err != nil {
		return err.Error()
	}
	told := ""
	for ; d > 0; d -= time.Second {
		s.set(min(d, time.Second))
		if s.s == nil || s.d.HasArg("no-ticks") {
			continue
		}
		w, _ := s.s.Tick(s.now)
		s.do(w)
		if w != nil && len(w.Batch.Pools)+len(w.Batch.Records) > 0 {
			told += fmt.Sprintf("at %s: %s", s.at(s.now.Wall), s.batch(w.Batch))
		}
	}
	return told + "it is " + s.at(s.now.Wall)
}

// write makes a decision durable, or keeps its write in progress.
func (s *transcript) write(w *Write) string {
	if s.d.HasArg("slow") {
		s.slow = append(s.slow, w)
		return "in progress: " + s.batch(w.Batch)
	}
	s.do(w)
	return "durable: " + s.batch(w.Batch)
}

func (s *transcript) batch(b Batch) string {
	var told []string
	if b.Meta != nil {
		told = append(told, fmt.Sprintf("mark %s stride %v", s.at(b.Meta.Mark), b.Meta.Stride))
	}
	for _, p := range b.Pools {
		told = append(told, fmt.Sprintf("pool %s open: %v ids %d-%d quarantine %v", p.Name,
			p.Opened, p.First, p.Last, p.Quarantine))
	}
	for _, r := range b.Records {
		line := fmt.Sprintf("node ID %d %s %v %s to %s (%s)", r.Node, s.epoch(r.Epoch), r.Status,
			s.at(r.Floor), s.at(r.Ceiling), r.App)
		if r.Silence.Noted {
			line += fmt.Sprintf(", silent with %v left", r.Silence.Left)
		}
		told = append(told, line)
	}
	return strings.Join(told, "; ") + "\n"
}

func (s *transcript) land() string {
	if len(s.slow) == 0 {
		return "no write is in progress"
	}
	w := s.slow[0]
	s.slow = s.slow[1:]
	s.store.commit(w.Batch)
	if s.d.HasArg("unheard") {
		return "durable, but not acknowledged: " + s.batch(w.Batch)
	}
	s.s.Written(s.now, w)
	return "durable: " + s.batch(w.Batch)
}

// decided returns what a request led to.
func (s *transcript) decided(d Decision, r *Refusal) string {
	switch {
	case r != nil:
		told := string(r.Reason)
		if r.RetryAfter > 0 {
			told += fmt.Sprintf(", retry after %v", r.RetryAfter)
		}
		if r.Forgotten {
			told += ", ALARM: the store forgot a write"
		}
		return told + "\n"
	case d.Write != nil:
		return s.write(d.Write)
	case d.Wait == WaitMark:
		return "waits for the mark\n"
	case d.Wait == WaitKey:
		return "waits for the write in progress\n"
	case d.Wait == WaitFree:
		return fmt.Sprintf("waits for a free node ID, ticket %d, %s\n", d.Ticket, s.when(d.At))
	case d.Wait == WaitTurn:
		return fmt.Sprintf("waits for its turn, ticket %d\n", d.Ticket)
	case d.Lease.Epoch != 0:
		return s.lease(d.Lease)
	}
	return "ok\n"
}

func (s *transcript) when(at time.Duration) string {
	if at == 0 {
		return "until something happens"
	}
	return fmt.Sprintf("not before %v", at)
}

func (s *transcript) lease(l Lease) string {
	s.leases[string(l.App)] = l
	v, _ := s.s.Lease(s.now, l.Pool, l.Node)
	return fmt.Sprintf("node ID %d %s window %s to %s, held for %v\n", l.Node, s.epoch(l.Epoch),
		s.at(l.Floor), s.at(l.Ceiling), v.TimeLeft)
}

func (s *transcript) acquire(app string) string {
	req := ask(app)
	if i := strings.IndexByte(app, '/'); i > 0 { // app/instance
		req.App = AppID(app[:i])
	}
	req.TTL = s.duration("ttl", 0)
	req.Queue, req.Ticket = s.d.HasArg("wait"), s.tickets[app]
	d, r := s.s.Acquire(s.now, req)
	s.tickets[app] = d.Ticket
	told := s.decided(d, r)
	if d.Write == nil || s.d.HasArg("slow") {
		return told
	}
	d, r = s.s.Acquire(s.now, req)
	return told + s.decided(d, r)
}

func (s *transcript) heartbeat(app string) string {
	ref := s.refOf(s.leases[app])
	if other := ""; s.d.MaybeScanArgs(testingT(s.t), "instance", &other) {
		ref.Instance = hashOf(other)
	}
	if e := 0; s.d.MaybeScanArgs(testingT(s.t), "epoch", &e) {
		ref.Epoch = s.first + Epoch(e) - 1
	}
	d, r := s.s.Heartbeat(s.now, ref)
	told := s.decided(d, r)
	if d.Write == nil || s.d.HasArg("slow") {
		return told
	}
	return told + s.decided(s.s.Heartbeat(s.now, ref))
}

func (s *transcript) release(app string) string {
	var last *snowflake.Millis
	if v := 0.0; s.scanFloat("last", &v) {
		last = ptr(startOfWorld + snowflake.Millis(v*1000))
	}
	return s.decided(s.s.Release(s.now, s.refOf(s.leases[app]), last))
}

func (s *transcript) scanFloat(name string, to *float64) bool {
	var v string
	if !s.d.MaybeScanArgs(testingT(s.t), name, &v) {
		return false
	}
	_, err := fmt.Sscan(v, to)
	return err == nil
}

func (s *transcript) update() string {
	p := s.store.pools[DefaultPool]
	s.ids(&p)
	c := PoolChange{First: &p.First, Last: &p.Last}
	c.Quarantine = ptr(s.duration("quarantine", p.Quarantine))
	c.TTL = ptr(s.duration("ttl", p.TTL))
	if bits := ""; s.d.MaybeScanArgs(testingT(s.t), "layout", &bits) {
		l, err := snowflake.ParseLayout(bits)
		if err != nil {
			return err.Error()
		}
		c.Layout = &l
	}
	return s.decided(s.s.UpdatePool(s.now, DefaultPool, c))
}

func (s *transcript) ls() string {
	leases, _, _, r := s.s.List(s.now, DefaultPool, 0, 100)
	if r != nil {
		return string(r.Reason)
	}
	if len(leases) == 0 {
		return "no node ID was ever granted"
	}
	told := ""
	for _, l := range leases {
		told += fmt.Sprintf("node ID %d %s %s %v", l.Node, s.epoch(l.Epoch), l.App, l.State)
		if l.TimeLeft > 0 {
			told += fmt.Sprintf(" for %v", l.TimeLeft)
		}
		told += "\n"
	}
	return told
}
