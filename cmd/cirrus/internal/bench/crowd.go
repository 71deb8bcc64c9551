package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cirrus-id/cirrus/client"
	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
	"github.com/cirrus-id/cirrus/snowflake"
)

// Targets of a service with a crowd: a pool full of live leases.
const (
	crowdLatencyTarget = 10.0  // ms, for 99 of 100 heartbeats
	crowdBatchTarget   = 5.0   // ms, beside batches at full speed
	crowdEachTarget    = 4.5   // µs CPU a heartbeat
	crowdMemoryTarget  = 700.0 // MB resident for a million
)

const (
	// crowdBatch is how many heartbeats the crowd's batches have.
	crowdBatch = 1024
	// crowdSenders send the crowd's batches, and stormers do what is measured
	// beside a heartbeat.
	crowdSenders, stormers = 8, 16
	// crowdEvery is how often each of the crowd's leases is kept meanwhile. The
	// TTL is long enough for machines that don't keep up.
	crowdEvery, crowdTTL = 20 * time.Second, 10 * time.Minute
	// loneEvery is the pace of the heartbeats whose latency is measured, and
	// windows is how often each disturbance is.
	loneEvery, windows = time.Millisecond, 5
)

// crowd is a server whose pool is full of live leases, and the batches that
// keep them, in random order.
type crowd struct {
	*child
	lone    *child // which sends the heartbeats that are timed
	made    fencing.Batch
	leases  int
	batches [][]byte
	admin   cirrusv1connect.AdminServiceClient
	apps    cirrusv1connect.LeaseServiceClient
}

// crowded measures what a crowd costs, and how long one heartbeat takes beside
// what others do with it.
func crowded(ctx context.Context, b *bench) (_ []Row, err error) {
	pool := millionPool()
	pool.Last = pool.First + snowflake.NodeID(b.records-1) // full
	pool.TTL, pool.MaxTTL, pool.Quarantine = crowdTTL, crowdTTL, crowdTTL/10
	dir, made, err := b.store("crowd", pool)
	if err != nil {
		return nil, err
	}
	if err := fill(ctx, dir, made, b.records); err != nil {
		return nil, err
	}
	c := &crowd{made: made, leases: b.records}
	if c.batches, err = crowdBatches(made, b.records); err != nil {
		return nil, err
	}
	rows, err := c.measure(ctx, b, dir)
	if err != nil {
		return nil, err
	}
	again, _, err := b.startOnce(ctx, dir, made)
	if err != nil {
		return nil, err
	}
	return append(rows, Row{
		What: "… started again, to the first heartbeat", Unit: "s", Ours: again.wall.Seconds(), Target: Target{"<", startTarget},
	}.judged()), nil
}

func (c *crowd) measure(ctx context.Context, b *bench, dir string) (_ []Row, err error) {
	if c.child, err = b.start(ctx, Real, "crowd", "--data", dir); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.end()) }()
	if c.lone, err = b.start(ctx, Nothing, "crowd"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.lone.end()) }()
	over := client.NewHTTPClient(client.HTTPOptions{HTTP2: true})
	defer over.CloseIdleConnections()
	c.admin = cirrusv1connect.NewAdminServiceClient(over, "http://"+c.addr)
	c.apps = cirrusv1connect.NewLeaseServiceClient(over, "http://"+c.addr)
	rows, err := c.keepAll(ctx, b)
	if err != nil {
		return nil, err
	}
	// What is measured is how the server shares its processors out. Apps don't
	// run on them, so what disturbs takes none away that the server needs.
	if err := stepAside(); err != nil {
		return nil, err
	}
	disturbed, err := c.disturb(ctx, b)
	return append(rows, disturbed...), err
}

// crowdBatches are the requests that keep so many leases.
func crowdBatches(made fencing.Batch, leases int) (batches [][]byte, err error) {
	order := rand.Perm(leases)
	for part := range slices.Chunk(order, crowdBatch) {
		msg := &cirrusv1.HeartbeatBatchRequest{}
		for _, n := range part {
			rec := liveRecord(made, n)
			msg.Heartbeats = append(msg.Heartbeats, &cirrusv1.HeartbeatRequest{
				Pool: string(rec.Pool), NodeId: uint32(rec.Node), Epoch: uint64(rec.Epoch), InstanceId: instanceID(n),
			})
		}
		req, err := request(cirrusv1connect.LeaseServiceHeartbeatBatchProcedure, msg)
		if err != nil {
			return nil, err
		}
		batches = append(batches, req)
	}
	return batches, nil
}

// senders are connections that send the crowd's batches, each its share.
func (c *crowd) senders(ctx context.Context) (operation, func(), error) {
	all, done, err := conns(ctx, c.addr, crowdSenders)
	if err != nil {
		return nil, nil, err
	}
	next := make([]int, crowdSenders)
	for i := range next {
		next[i] = i
	}
	return func(_ context.Context, worker int) error {
		_, err := all[worker].send(c.batches[next[worker]%len(c.batches)])
		next[worker] += crowdSenders
		return err
	}, done, nil
}

// keepAll keeps all leases by batches as fast as it goes.
func (c *crowd) keepAll(ctx context.Context, b *bench) ([]Row, error) {
	send, done, err := c.senders(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	samples, err := b.takeTurns(ctx, loaded(c.child, crowdSenders, send))
	if err != nil {
		return nil, err
	}
	mem, err := c.memory()
	if err != nil {
		return nil, err
	}
	ours := samples[0]
	for i := range ours {
		ours[i].ops *= int64(min(crowdBatch, c.leases))
	}
	each := Row{
		What: fmt.Sprintf("%s live leases kept by batches of 1,024, each heartbeat", number(float64(c.leases))), Unit: "µs CPU",
		Ours: median(ours, cpuEach) / 1e3, Target: Target{"≤", crowdEachTarget},
		Note: fmt.Sprintf("heartbeats a second: %s", number(median(ours, rate))),
	}
	memory := Row{
		What: "… memory, resident", Unit: "MB", Ours: float64(mem.Resident) / 1e6,
		Target: Target{"≤", crowdMemoryTarget}, Note: fmt.Sprintf("heap in use after a collection: %s MB", number(float64(mem.Heap)/1e6)),
	}
	return []Row{each.judged(), memory.judged()}, nil
}

// disturbance is what others do while one sends heartbeats.
type disturbance struct {
	what string
	// loops run it at once, every so often; every is 0 for without a pause.
	// run is nil for the crowd's own batches.
	loops  int
	every  time.Duration
	run    func(c *crowd, ctx context.Context, loop int) error
	target float64
}

var disturbances = []disturbance{
	{what: "a scrape a second", loops: 1, every: time.Second, run: (*crowd).scrape},
	{what: "a refused Acquire a second", loops: 1, every: time.Second, run: (*crowd).refused},
	{what: "an UpdatePool of the quarantine a second", loops: 1, every: time.Second, run: (*crowd).update},
	{what: "a Watch that begins", loops: 1, run: (*crowd).watchAll},
	{what: "16 loops of ListLeases of 1,000", loops: stormers, run: (*crowd).list},
	{what: "16 loops of Watch, read a row, hang up", loops: stormers, run: (*crowd).watchOne},
	{what: "batches of 1,024 at full speed", loops: crowdSenders, target: crowdBatchTarget},
}

// disturb measures one heartbeat after the other, alone and beside each
// disturbance.
func (c *crowd) disturb(ctx context.Context, b *bench) (rows []Row, err error) {
	alone := disturbance{loops: 0}
	for _, d := range disturbances {
		var ours, limit []float64
		done := 0
		for range windows {
			l, _, err := c.beside(ctx, b, alone)
			if err != nil {
				return nil, err
			}
			o, n, err := c.beside(ctx, b, d)
			if err != nil {
				return nil, err
			}
			ours, limit, done = append(ours, o), append(limit, l), done+n
		}
		target := d.target
		if target == 0 {
			target = crowdLatencyTarget
		}
		rows = append(rows, Row{
			What: "… 99 of 100 lone heartbeats beside " + d.what, Unit: "ms", Ours: middle(ours), Target: Target{"≤", target},
			Note: fmt.Sprintf("without it in the same run %s ms; it was done %d times in %d × %v", number(middle(limit)), done, windows, b.For),
		}.judged())
	}
	return rows, nil
}

// beside sends one heartbeat after the other for as long as everything is
// measured, while the fleet keeps the leases and a disturbance goes on, and
// says what 99 of 100 didn't exceed, in ms, and how often the disturbance was.
func (c *crowd) beside(ctx context.Context, b *bench, d disturbance) (p99 float64, times int, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var others sync.WaitGroup
	var mu sync.Mutex
	var problem error
	fleet, err := dial(ctx, c.addr)
	if err != nil {
		return 0, 0, err
	}
	send, done, err := c.senders(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer done()
	if d.run == nil {
		d.run = func(_ *crowd, ctx context.Context, loop int) error { return send(ctx, loop) }
	}
	report := func(err error) {
		if err != nil && ctx.Err() == nil {
			mu.Lock()
			problem = errors.Join(problem, err)
			mu.Unlock()
			stop()
		}
	}
	others.Go(func() {
		_, err := paced(ctx, time.Hour, crowdEvery/time.Duration(len(c.batches)), func(n int) error {
			_, err := fleet.send(c.batches[n%len(c.batches)])
			return err
		})
		report(err)
	})
	for loop := range d.loops {
		others.Go(func() {
			for ctx.Err() == nil {
				report(d.run(c, ctx, loop))
				mu.Lock()
				times++
				mu.Unlock()
				wait(ctx, d.every)
			}
		})
	}
	p99, err = lone{Addr: c.addr, Pool: c.made.Pools[0].Name, FirstEpoch: c.made.Meta.FirstEpoch, Leases: c.leases, For: b.For}.ask(c.lone)
	stop()
	others.Wait()
	if problem != nil {
		err = problem
	}
	return p99, times, err
}

// wait waits for a while, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (c *crowd) scrape(ctx context.Context, _ int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.metrics+"/metrics", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it has been read
	text, err := io.ReadAll(resp.Body)
	if err == nil && !strings.Contains(string(text), "cirrus_node_ids") {
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
	p := c.made.Pools[0]
	quarantine := p.Quarantine + time.Duration(rand.IntN(1000))*time.Millisecond
	_, err := c.admin.UpdatePool(ctx, &cirrusv1.UpdatePoolRequest{Pool: &cirrusv1.Pool{Name: string(p.Name), Quarantine: durationpb.New(quarantine)}})
	return err
}

// list asks for a page and doesn't look into it: the server shares the machine
// with sixteen such loops.
func (c *crowd) list(ctx context.Context, loop int) error {
	msg := &cirrusv1.ListLeasesRequest{PageSize: 1000, PageToken: fmt.Sprint(c.leases / stormers * loop)}
	req, err := request(cirrusv1connect.AdminServiceListLeasesProcedure, msg)
	if err != nil {
		return err
	}
	return c.over(ctx, func(to *conn) error {
		_, err := to.send(req)
		return err
	})
}

// over does something over a connection of its own.
func (c *crowd) over(ctx context.Context, do func(*conn) error) error {
	to, err := dial(ctx, c.addr)
	if err != nil {
		return err
	}
	defer func() { _ = to.Close() }() // nothing is written that could be lost
	return do(to)
}

// watchOne begins a Watch and hangs up at the first row, without looking at it.
func (c *crowd) watchOne(ctx context.Context, _ int) error {
	const empty = "POST " + cirrusv1connect.AdminServiceWatchProcedure + " HTTP/1.1\r\nHost: 127.0.0.1\r\nConnect-Protocol-Version: 1\r\n" +
		"Content-Type: application/connect+proto\r\nContent-Length: 5\r\n\r\n\x00\x00\x00\x00\x00"
	return c.over(ctx, func(to *conn) error {
		if _, err := io.WriteString(to, empty); err != nil {
			return err
		}
		status, err := to.line()
		if err == nil && !strings.HasPrefix(string(status), "HTTP/1.1 200 ") {
			err = fmt.Errorf("a Watch was answered %s", status)
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
			_ = stream.Close() // it was hung up
			return nil
		}
	}
	return errors.Join(stream.Err(), stream.Close())
}
