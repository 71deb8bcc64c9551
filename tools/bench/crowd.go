package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cirrus-id/cirrus/client"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
	"github.com/cirrus-id/cirrus/snowflake"
)

const (
	// crowdBatch is the number of heartbeats in the crowd's batches.
	crowdBatch = 1024
	// crowdSenders send the crowd's batches, and stormers loop over what disturbs most.
	crowdSenders, stormers = 8, 16
	// crowdEvery is how often each of the crowd's leases gets a heartbeat while others
	// are measured. The TTL is long enough for machines that don't keep up.
	crowdEvery, crowdTTL = 20 * time.Second, 10 * time.Minute
	// beatEvery is the pace of the single heartbeats whose latency is measured, and
	// windows is how often each disturbance is measured.
	beatEvery, windows = time.Millisecond, 5
)

// crowd is a server whose pool is full of live leases.
type crowd struct {
	*child
	beater *child // sends the single heartbeats that are measured
	store  *localStore
	leases int
	// batches are requests that keep all leases, in random order.
	batches [][]byte
	admin   cirrusv1connect.AdminServiceClient
	apps    cirrusv1connect.LeaseServiceClient
}

// crowded measures what a crowd costs, and how long a single heartbeat takes while
// others use the service.
func crowded(r *measuring) []Row {
	pool := millionPool()
	pool.Last = pool.First + snowflake.NodeID(r.records-1) // full
	pool.TTL, pool.MaxTTL, pool.Quarantine = crowdTTL, crowdTTL, crowdTTL/10
	c := &crowd{store: r.store(pool), leases: r.records}
	c.store.fill(r.ctx, r.records)
	c.batches = crowdBatches(c.store.made, r.records)
	c.child, c.beater = r.startReal(c.store), r.start(doesNothing)
	rows := c.keepAll(r)
	check(c.end())
	var again time.Duration
	c.child, again = r.startToHeartbeat(c.store)
	over := client.NewHTTPClient(client.HTTPOptions{HTTP2: true})
	r.onEnd(func() error { over.CloseIdleConnections(); return nil })
	c.admin = cirrusv1connect.NewAdminServiceClient(over, "http://"+c.Addr)
	c.apps = cirrusv1connect.NewLeaseServiceClient(over, "http://"+c.Addr)

	// The disturbances measure how the server divides its cores. Apps don't run on
	// them, so this process must take no core that the server needs. Servers that start
	// later would inherit the priority.
	check(stepAside())
	for _, d := range disturbances {
		rows = append(rows, c.disturb(r, d))
	}
	return append(rows, Row{
		What: "… started again, to the first heartbeat", Unit: "s", Ours: again.Seconds(),
		Target: Target{"<", startTarget},
	})
}

// crowdBatches returns requests that keep so many leases.
func crowdBatches(m made, leases int) (batches [][]byte) {
	for part := range slices.Chunk(rand.Perm(leases), crowdBatch) {
		msg := &cirrusv1.HeartbeatBatchRequest{}
		for _, n := range part {
			rec := m.record(n)
			msg.Heartbeats = append(msg.Heartbeats, &cirrusv1.HeartbeatRequest{
				Pool: string(rec.Pool), NodeId: uint32(rec.Node), Epoch: uint64(rec.Epoch),
				InstanceId: instanceID(n),
			})
		}
		batches = append(batches,
			must(request(cirrusv1connect.LeaseServiceHeartbeatBatchProcedure, msg)))
	}
	return batches
}

// senders returns an operation in which each worker sends its share of the crowd's
// batches.
func (c *crowd) senders(ctx context.Context) (operation, error) {
	all, err := dialMany(ctx, c.Addr, crowdSenders)
	if err != nil {
		return nil, err
	}
	next := make([]int, crowdSenders)
	for i := range next {
		next[i] = i
	}
	return func(_ context.Context, worker int) error {
		_, err := all[worker].send(c.batches[next[worker]%len(c.batches)])
		next[worker] += crowdSenders
		return err
	}, nil
}

// keepAll keeps all leases by batches as fast as possible.
func (c *crowd) keepAll(r *measuring) []Row {
	ctx, hangUp := context.WithCancel(r.ctx)
	defer hangUp()
	ours := r.takeTurns(loaded(c.child, crowdSenders, must(c.senders(ctx))))[0]
	mem := must(c.memory(r.ctx))
	for i := range ours {
		ours[i].ops *= int64(min(crowdBatch, c.leases))
	}
	return []Row{
		{
			What: fmt.Sprintf("%s live leases kept by batches of 1,024, each heartbeat",
				number(float64(c.leases))), Unit: "µs CPU",
			Ours: median(ours, cpuEach) / 1e3, Target: Target{"≤", 4.5},
			Note: fmt.Sprintf("heartbeats a second: %s", number(median(ours, rate))),
		},
		{
			What: "… memory, resident", Unit: "MB", Ours: float64(mem.Resident) / 1e6,
			Target: Target{"≤", 700},
			Note: fmt.Sprintf("heap in use after a collection: %s MB",
				number(float64(mem.Heap)/1e6)),
		},
	}
}

// disturbance is what others do while single heartbeats are measured.
type disturbance struct {
	what string
	// loops run it at the same time, each every so often; every is 0 for a loop
	// without pauses. run is nil for the crowd's own batches.
	loops int
	every time.Duration
	run   func(c *crowd, ctx context.Context, loop int) error
	most  float64 // ms that 99 of 100 heartbeats may take
}

var disturbances = []disturbance{
	{what: "a scrape a second", loops: 1, every: time.Second, run: (*crowd).scrape, most: 10},
	{what: "a refused Acquire a second", loops: 1, every: time.Second, run: (*crowd).refused, most: 10},
	{what: "an UpdatePool of the quarantine a second", loops: 1, every: time.Second, run: (*crowd).update, most: 10},
	{what: "a Watch that begins", loops: 1, run: (*crowd).watchAll, most: 10},
	{what: "16 loops of ListLeases of 1,000", loops: stormers, run: (*crowd).list, most: 10},
	{what: "16 loops of Watch, read a row, hang up", loops: stormers, run: (*crowd).watchOne, most: 10},
	{what: "batches of 1,024 at full speed", loops: crowdSenders, most: 5},
}

// disturb measures single heartbeats with and without a disturbance.
func (c *crowd) disturb(r *measuring, d disturbance) Row {
	var ours, limit []float64
	done := 0
	for range windows {
		without, _, err := c.beside(r, disturbance{})
		check(err)
		with, n, err := c.beside(r, d)
		check(err)
		ours, limit, done = append(ours, with), append(limit, without), done+n
	}
	return Row{
		What: "… 99 of 100 single heartbeats beside " + d.what, Unit: "ms", Ours: middle(ours),
		Target: Target{"≤", d.most},
		Note: fmt.Sprintf("without it in the same run %s ms; it was done %d times in %d × %v",
			number(middle(limit)), done, windows, r.For),
	}
}

// beside has single heartbeats sent while batches keep the crowd's leases and a
// disturbance goes on. It returns what 99 of 100 did not exceed, in ms, and how often
// the disturbance happened.
func (c *crowd) beside(r *measuring, d disturbance) (p99 float64, times int, err error) {
	ctx, stop := context.WithCancelCause(r.ctx)
	defer stop(nil)
	keeper, err := dial(ctx, c.Addr)
	if err != nil {
		return 0, 0, err
	}
	send, err := c.senders(ctx)
	if err != nil {
		return 0, 0, err
	}
	if d.run == nil {
		d.run = func(_ *crowd, ctx context.Context, loop int) error { return send(ctx, loop) }
	}
	var others sync.WaitGroup
	var done atomic.Int64
	others.Go(func() {
		_, err := paced(ctx, time.Hour, crowdEvery/time.Duration(len(c.batches)),
			func(n int) error {
				_, err := keeper.send(c.batches[n%len(c.batches)])
				return err
			})
		stop(err)
	})
	for loop := range d.loops {
		others.Go(func() {
			for ctx.Err() == nil {
				if err := d.run(c, ctx, loop); err != nil {
					stop(err)
				}
				done.Add(1)
				wait(ctx, d.every)
			}
		})
	}
	p99, err = c.askBeats(ctx, r.For)
	stop(errMeasured)
	others.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, errMeasured) {
		err = cause
	}
	return p99, int(done.Load()), err
}

// errMeasured ends what goes on beside a measurement.
var errMeasured = errors.New("measured")

// askBeats has the beater send single heartbeats.
func (c *crowd) askBeats(ctx context.Context, d time.Duration) (p99 float64, err error) {
	m := c.store.made
	question, err := json.Marshal(beats{
		Addr: c.Addr, Pool: m.Pools[0].Name, FirstEpoch: m.Meta.FirstEpoch, Leases: c.leases,
		Every: beatEvery, For: d,
	})
	if err != nil {
		return 0, err
	}
	return ask[float64](ctx, c.beater, askBeats, question)
}

// wait returns after d, or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (c *crowd) scrape(ctx context.Context, _ int) error {
	page, err := c.get(ctx, "/metrics")
	if err == nil && !strings.Contains(page, "cirrus_node_ids") {
		err = errors.New("/metrics has no numbers of the pool")
	}
	return err
}

func (c *crowd) refused(ctx context.Context, _ int) error {
	_, err := c.apps.Acquire(ctx, &cirrusv1.AcquireRequest{AppId: "one-too-many"})
	switch {
	case err == nil:
		return errors.New("an Acquire in a full pool got a lease")
	case connect.CodeOf(err) != connect.CodeResourceExhausted:
		return err
	}
	return nil
}

func (c *crowd) update(ctx context.Context, _ int) error {
	p := c.store.Pools[0]
	quarantine := p.Quarantine + time.Duration(rand.IntN(1000))*time.Millisecond
	_, err := c.admin.UpdatePool(ctx,
		&cirrusv1.UpdatePoolRequest{Pool: &cirrusv1.Pool{Name: string(p.Name),
			Quarantine: durationpb.New(quarantine)}})
	return err
}

// list asks for a page and does not decode it: sixteen such loops share the machine
// with the server.
func (c *crowd) list(ctx context.Context, loop int) error {
	msg := &cirrusv1.ListLeasesRequest{PageSize: 1000,
		PageToken: fmt.Sprint(c.leases / stormers * loop)}
	req, err := request(cirrusv1connect.AdminServiceListLeasesProcedure, msg)
	if err != nil {
		return err
	}
	return c.over(ctx, func(to *conn) error {
		_, err := to.send(req)
		return err
	})
}

// over does something on a new connection.
func (c *crowd) over(ctx context.Context, do func(*conn) error) error {
	to, err := dial(ctx, c.Addr)
	if err != nil {
		return err
	}
	defer func() { _ = to.Close() }() // every write has been checked
	return do(to)
}

// watchOne begins a Watch and hangs up at the first row, without decoding it.
func (c *crowd) watchOne(ctx context.Context, _ int) error {
	const empty = "POST " + cirrusv1connect.AdminServiceWatchProcedure +
		" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnect-Protocol-Version: 1\r\n" +
		"Content-Type: application/connect+proto\r\nContent-Length: 5\r\n\r\n\x00\x00\x00\x00\x00"
	return c.over(ctx, func(to *conn) error {
		if _, err := io.WriteString(to, empty); err != nil {
			return err
		}
		status, err := to.line()
		if err == nil && !strings.HasPrefix(string(status), "HTTP/1.1 200 ") {
			err = fmt.Errorf("the reply to a Watch is %s", status)
		}
		for err == nil && len(status) > 0 { // to the end of the headers
			status, err = to.line()
		}
		if err == nil {
			_, err = to.in.ReadByte()
		}
		return err
	})
}

// watchAll reads a Watch until it is synced.
func (c *crowd) watchAll(ctx context.Context, _ int) error {
	ctx, hangUp := context.WithCancel(ctx)
	defer hangUp()
	stream, err := c.admin.Watch(ctx, &cirrusv1.WatchRequest{})
	if err != nil {
		return err
	}
	for stream.Receive() {
		if stream.Msg().Event == cirrusv1.Event_EVENT_SYNCED {
			hangUp()
			_ = stream.Close() // it reports that it was hung up
			return nil
		}
	}
	return errors.Join(stream.Err(), stream.Close())
}
