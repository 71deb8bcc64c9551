package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
	"github.com/cirrus-id/cirrus/snowflake"
)

// crowd gives the default pool so many live leases.
func (s *testStore) crowd(n int) {
	p := s.pools[fencing.DefaultPool]
	for i := range n {
		rec := fencing.Record{
			Pool: p.Name, Node: snowflake.NodeID(i), Epoch: s.meta.FirstEpoch + fencing.Epoch(i),
			App:      fencing.AppID(fmt.Sprint(i)),
			Instance: crowdInstance(i).Hash(), TTL: p.TTL, Status: fencing.Live, Floor: s.meta.Mark,
			Ceiling: s.meta.Mark.Add(p.TTL),
		}
		s.records[nodeKey{rec.Pool, rec.Node}] = rec
	}
}

func crowdInstance(i int) fencing.InstanceID {
	return fencing.InstanceID(fmt.Sprintf("instance-of-crowd-%d", i))
}

// crowded are a bubble's options for a pool that is full of live leases.
func crowded(n int) bubbleOptions {
	return bubbleOptions{crowd: n, pool: func(p *fencing.Pool) {
		p.Layout.NodeBits, p.Layout.SequenceBits, p.Last = 20, 2, snowflake.NodeID(n-1)
	}}
}

// saw is how many events of a kind a watcher has seen.
func (w *watching) saw(event string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, line := range w.lines {
		if strings.HasPrefix(line, event+" ") {
			n++
		}
	}
	return n
}

// A watcher that reads at once outlives any number of expiries at one instant,
// as after a restart whose holders are dead.
func TestPromptWatcherOutlivesAnInstant(t *testing.T) {
	const n = 10_000
	inBubble(t, crowded(n), func(b *bubble) {
		w := b.watch("")
		if saw := w.saw("PRESENT"); saw != n {
			t.Fatalf("%d rows are present, want %d", saw, n)
		}
		b.pass(fencing.DefaultStride + 30*time.Second + time.Second)
		if saw := w.saw("EXPIRED"); saw != n {
			t.Errorf("%d expiries were told, want %d", saw, n)
		}
		b.pass(31 * time.Second)
		if saw := w.saw("FREED"); saw != n {
			t.Errorf("%d node IDs were told to be free, want %d", saw, n)
		}
		if w.over {
			t.Errorf("the watcher was cut off: %v", w.end)
		}
	})
}

// What time alone brings waits for a watcher that reads now and then, and does
// not wait for one that doesn't read.
func TestTimeWaitsForWatchers(t *testing.T) {
	const n = 5000
	inBubble(t, crowded(n), func(b *bubble) {
		slow, stuck := joined(t, b), joined(t, b)
		b.pass(fencing.DefaultStride + 30*time.Second)
		read := 0
		for range 100 {
			for range 20 {
				b.term().settle(fencing.DefaultPool)
			}
			for len(slow.events) > 0 {
				events, open := slow.take(nil)
				if !open {
					t.Fatalf("cut off after %d events", read)
				}
				for _, e := range events {
					if e.Kind == fencing.EventExpired {
						read++
					}
				}
			}
			b.pass(watchTimeout / 2)
		}
		if read != n {
			t.Errorf("%d expiries were told, want %d", read, n)
		}
		for range timedBehind {
			if _, open := <-stuck.events; !open {
				t.Fatal("the one that reads nothing was told less than fits")
			}
		}
		if _, open := <-stuck.events; open || len(b.term().watchers) != 1 {
			t.Error("the one that reads nothing holds up the other")
		}
		b.term().endWatch(slow)
	})
}

// joined is a watcher without a stream, who has been shown all that is present.
func joined(t *testing.T, b *bubble) *watcher {
	t.Helper()
	w, r := b.term().startWatch(fencing.DefaultPool)
	for r == nil && !w.synced {
		_, _, r = b.term().page(w)
	}
	if r != nil {
		t.Fatal(r)
	}
	return w
}

// What is present is taken a page at a time, and what happens meanwhile is told
// of the node IDs that were shown, and is in the rows of the others.
func TestWatchPages(t *testing.T) {
	const n = 2*watchPage + 10
	inBubble(t, crowded(n), func(b *bubble) {
		revoke := func(node uint32) {
			epoch := b.store.records[nodeKey{fencing.DefaultPool, snowflake.NodeID(node)}].Epoch
			if _, err := b.admin.Revoke(context.Background(),
				&cirrusv1.RevokeRequest{NodeId: node, Epoch: uint64(epoch)}); err != nil {
				t.Fatal(err)
			}
		}
		w, r := b.term().startWatch(fencing.DefaultPool)
		if r != nil {
			t.Fatal(r)
		}
		defer b.term().endWatch(w)
		next := snowflake.NodeID(0)
		for page := 0; !w.synced; page++ {
			rows, _, r := b.term().page(w)
			if r != nil || len(rows) > watchPage {
				t.Fatalf("%d rows at once, %v", len(rows), r)
			}
			for _, row := range rows {
				if row.Node != next || row.Revoked != (row.Node == watchPage+5) {
					t.Fatalf("got %+v, want node ID %d", row, next)
				}
				next++
			}
			if page == 0 {
				revoke(5)
				revoke(watchPage + 5)
			}
		}
		if next != n {
			t.Errorf("%d rows are present, want %d", next, n)
		}
		if e := <-w.events; e.Kind != fencing.EventRevoked || e.Lease.Node != 5 ||
			len(w.events) != 0 {
			t.Errorf("told %+v and %d more, want that node ID 5 was revoked", e, len(w.events))
		}
	})
}

// The first to ask in a full pool that all comes free at one instant is told so
// at once, whatever else came about then.
func TestWaiterIsServedWhereItLags(t *testing.T) {
	inBubble(t, crowded(10_000), func(b *bubble) {
		b.pass(fencing.DefaultStride + 30*time.Second + time.Second)
		c := start(func(ctx context.Context) (*cirrusv1.AcquireResponse, error) {
			return b.leases.Acquire(ctx,
				&cirrusv1.AcquireRequest{AppId: "a", InstanceId: "instance-of-a-who-waits",
					Wait: durationpb.New(time.Minute)})
		})
		b.pass(28 * time.Second)
		c.waits(t, "an Acquire before any has rested")
		b.pass(time.Second + 10*time.Millisecond)
		c.done(t, "Acquire")
	})
}

// S14: between the numbers of a few pools and those of the next few, others can
// have the core.
func TestScrapesLetOthersIn(t *testing.T) {
	const pools = 100
	clock := &countingClock{} // each taking of the core reads it once
	inBubble(t, bubbleOptions{steady: clock}, func(b *bubble) {
		for i := range pools - 1 {
			b.createPool(fmt.Sprint("p-", i), 1)
		}
		b.settle()
		before := clock.reads.Load()
		if got := len(b.term().stats()); got != pools {
			t.Errorf("the numbers of %d pools, want %d", got, pools)
		}
		if reads := clock.reads.Load() - before; reads < pools/statsPage {
			t.Errorf("the core was taken %d times for %d pools", reads, pools)
		}
	})
}

type countingClock struct {
	Steady
	reads atomic.Int64
}

func (c *countingClock) Now() time.Duration {
	c.reads.Add(1)
	return c.Steady.Now()
}

// Whoever wakes finds all that it is to wake, and nobody who has gone.
func TestWaiters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ws, there := newWaiters(), []*waiter{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			if len(there) == 0 || rapid.Bool().Draw(t, "one comes") {
				w := &waiter{
					instance: fencing.InstanceHash{byte(rapid.IntRange(0, 3).Draw(t, "instance"))},
					ticket:   fencing.Ticket(rapid.IntRange(1, 9).Draw(t, "ticket")),
				}
				ws.add(w)
				there = append(there, w)
			} else {
				gone := rapid.IntRange(0, len(there)-1).Draw(t, "one goes")
				ws.drop(there[gone])
				there = slices.Delete(there, gone, gone+1)
			}
			instances, tickets := map[fencing.InstanceHash]int{}, map[fencing.Ticket]int{}
			for _, w := range there {
				instances[w.instance]++
				tickets[w.ticket]++
				if !slices.Contains(ws.byTicket[w.ticket], w) {
					t.Fatalf("ticket %d leads to %v, want %v among them", w.ticket,
						ws.byTicket[w.ticket], w)
				}
			}
			if len(ws.byTicket) != len(tickets) {
				t.Fatalf("%d tickets, want %d", len(ws.byTicket), len(tickets))
			}
			if ws.len() != len(there) || len(ws.byInstance) != len(instances) {
				t.Fatalf("%d waiters of %d instances, want %d of %d", ws.len(),
					len(ws.byInstance), len(there), len(instances))
			}
			for instance, n := range instances {
				if len(ws.byInstance[instance]) != n {
					t.Fatalf("%d waiters of one instance, want %d", len(ws.byInstance[instance]), n)
				}
			}
		}
	})
}

// BenchmarkWake: what the waking after a mark with 100 notes costs must not
// grow with those who wait.
func BenchmarkWake(b *testing.B) {
	for _, n := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			core, err := fencing.NewServer(
				fencing.Snapshot{Meta: fencing.Meta{Mark: 1, Stride: fencing.DefaultStride}},
				fencing.DefaultStride, fencing.Now{Wall: 1})
			if err != nil {
				b.Fatal(err)
			}
			t := &term{core: core, waiting: newWaiters()}
			for i := range n {
				t.waiting.add(&waiter{ticket: fencing.Ticket(i + 1),
					instance: fencing.InstanceHash{byte(i), byte(i >> 8), byte(i >> 16)},
					wake:     make(chan struct{}, 1)})
			}
			w := &fencing.Write{Batch: fencing.Batch{Meta: &fencing.Meta{},
				Records: make([]fencing.Record, 100)}}
			for b.Loop() {
				t.wakeAfter(w)
			}
		})
	}
}

// A turn is waited for, but not for ever.
func TestTurns(t *testing.T) {
	inBubble(t, bubbleOptions{}, func(b *bubble) {
		ts := make(turns, 1)
		next := func() *turn { return &turn{turns: ts, clock: b.s.cfg.Clock} }
		take := func(tn *turn, ctx context.Context) (time.Duration, error) {
			began := time.Now()
			err := tn.take(ctx)
			return time.Since(began), err
		}
		first, second, third := next(), next(), next()
		for range 2 { // again: it has it
			if took, err := take(first, context.Background()); err != nil || took != 0 {
				t.Fatalf("had a turn after %v (%v), want 0", took, err)
			}
		}
		if took, err := take(second, context.Background()); err != nil || took != turnTimeout {
			t.Errorf("went ahead after %v (%v), want %v", took, err, turnTimeout)
		}
		second.end() // it had none
		go func() {
			time.Sleep(time.Millisecond)
			first.end()
		}()
		if took, err := take(third, context.Background()); err != nil || took != time.Millisecond {
			t.Errorf("had a turn after %v (%v), want 1ms", took, err)
		}
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := take(first, gone); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v for one who is gone", err)
		}
		third.made()
		if len(ts) != 0 {
			t.Errorf("%d turns were never ended", len(ts))
		}
	})
}

// A large request is decoded, and a large reply made and encoded, in a turn,
// which ends before anything waits for the other end of the connection.
func TestNoTurnWaitsForTheWire(t *testing.T) {
	inBubble(t, crowded(100), func(b *bubble) {
		batch := &cirrusv1.HeartbeatBatchRequest{}
		for i := range 100 {
			rec := b.store.records[nodeKey{fencing.DefaultPool, snowflake.NodeID(i)}]
			batch.Heartbeats = append(batch.Heartbeats, &cirrusv1.HeartbeatRequest{
				NodeId: uint32(i), Epoch: uint64(rec.Epoch), InstanceId: string(crowdInstance(i)),
				Pool: strings.Repeat("x", fencing.MaxPoolName),
			})
		}
		heartbeats, err := protojson.Marshal(batch)
		if err != nil {
			t.Fatal(err)
		}
		for path, body := range map[string]string{
			cirrusv1connect.AdminServiceListLeasesProcedure:     "{}",
			cirrusv1connect.LeaseServiceHeartbeatBatchProcedure: string(heartbeats),
		} {
			held := 0
			look := func() { held += len(b.s.turns) }
			r := httptest.NewRequest(http.MethodPost, path,
				readerFunc{strings.NewReader(body), look})
			r.Header.Set("Content-Type", "application/json")
			w := writerFunc{httptest.NewRecorder(), look}
			b.s.Handler().ServeHTTP(w, r)
			if w.Code != http.StatusOK || held != 0 || len(b.s.turns) != 0 {
				t.Errorf(
					"%s: status %d; %d turns were held at the wire, and %d are still, want none",
					path, w.Code, held, len(b.s.turns))
			}
		}
	})
}

// A turn is needed to decode a large request, to decide on it, and to make its
// reply. The one for the reply lasts until it is encoded.
func TestWhatNeedsATurn(t *testing.T) {
	inBubble(t, bubbleOptions{}, func(b *bubble) {
		took := func(path, body string, header ...string) time.Duration {
			r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			for i := 0; i < len(header); i += 2 {
				r.Header.Set(header[i], header[i+1])
			}
			began := time.Now()
			b.s.Handler().ServeHTTP(httptest.NewRecorder(), r)
			return time.Since(began)
		}
		for range cap(b.s.turns) {
			b.s.turns <- struct{}{}
		}
		large := `{"heartbeats": [{}` +
			strings.Repeat(", {}", batchTurn) + strings.Repeat(" ", turnBytes) + "]}"
		for _, c := range []struct {
			path, body string
			turns      time.Duration
		}{
			{cirrusv1connect.LeaseServiceHeartbeatBatchProcedure, large, 3},
			{cirrusv1connect.LeaseServiceHeartbeatBatchProcedure, `{"heartbeats": [{}]}`, 0},
			{cirrusv1connect.AdminServiceListLeasesProcedure, "{}", 1},
			{cirrusv1connect.AdminServiceListPoolsProcedure, "{}", 0},
		} {
			if got := took(c.path, c.body); got != c.turns*turnTimeout {
				t.Errorf("%s with %d bytes waited %v for turns, want %v", c.path, len(c.body), got,
					c.turns*turnTimeout)
			}
		}
		const batches = cirrusv1connect.LeaseServiceHeartbeatBatchProcedure
		if got := took(batches, string(zipped([]byte(large))), "Content-Encoding",
			"gzip"); got != 3*turnTimeout {
			t.Errorf("a large request in gzip waited %v for turns, want %v", got, 3*turnTimeout)
		}
		if got := took(batches, "", "Content-Type", "application/grpc", "Grpc-Encoding",
			"gzip"); got != turnTimeout {
			t.Errorf("a gRPC request that may be compressed waited %v for turns, want %v", got,
				turnTimeout)
		}
		if got := took(batches, `{"heartbeats": [{}]}`, "Content-Encoding", "identity"); got != 0 {
			t.Errorf("a small request that is not compressed waited %v for turns", got)
		}
		for range cap(b.s.turns) {
			<-b.s.turns
		}
		b.s.inTurns(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			turn := b.s.turn(r.Context())
			if err := turn.take(r.Context()); err != nil {
				t.Fatal(err)
			}
			turn.made()
			encoding := len(b.s.turns)
			_, _ = w.Write(nil)
			if written := len(b.s.turns); encoding != 1 || written != 0 {
				t.Errorf(
					"%d turns are held while a reply is encoded, and %d when it is written, want 1 and 0", encoding, written)
			}
		})).ServeHTTP(httptest.NewRecorder(),
			httptest.NewRequest(http.MethodPost, cirrusv1connect.AdminServiceListLeasesProcedure,
				nil))
	})
}

type readerFunc struct {
	io.Reader
	reads func()
}

func (r readerFunc) Read(p []byte) (int, error) {
	r.reads()
	return r.Reader.Read(p)
}

type writerFunc struct {
	*httptest.ResponseRecorder
	writes func()
}

func (w writerFunc) Write(p []byte) (int, error) {
	w.writes()
	return w.ResponseRecorder.Write(p)
}
