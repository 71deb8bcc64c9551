package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
	"github.com/cirrus-id/cirrus/snowflake"
	"github.com/cirrus-id/cirrus/store/pebble"
)

// Targets of a start.
const (
	startTarget  = 3.0   // seconds
	memoryTarget = 400.0 // bytes a record
)

// starts is how often the server is started: the median counts.
const starts = 3

// millionPool has room for a million node IDs.
func millionPool() fencing.Pool {
	p := fencing.NewPool(fencing.DefaultPool)
	p.Layout.NodeBits, p.Layout.SequenceBits = 20, 2
	p.Last = p.Layout.MaxNode()
	return p
}

// startLoaded starts a server on a store full of live leases.
func startLoaded(ctx context.Context, b *bench) ([]Row, error) {
	dir, made, err := b.store("start", millionPool())
	if err != nil {
		return nil, err
	}
	if err := fill(ctx, dir, made, b.records); err != nil {
		return nil, err
	}
	var took, cpu, heap, resident []float64
	for range starts {
		s, m, err := b.startOnce(ctx, dir, made)
		if err != nil {
			return nil, err
		}
		took = append(took, s.wall.Seconds())
		cpu = append(cpu, s.cpu.Seconds())
		heap = append(heap, float64(m.Heap)/float64(b.records))
		resident = append(resident, float64(m.Resident)/float64(b.records))
	}
	start := Row{
		What: fmt.Sprintf("Start with %s records, to the first heartbeat", number(float64(b.records))), Unit: "s",
		Ours: middle(took), Target: Target{"<", startTarget},
		Note: fmt.Sprintf("from the start of the process, whose CPU time until then was %s s; medians of %d", number(middle(cpu)), starts),
	}
	memory := Row{
		What: "… memory a record: heap in use after a collection", Unit: "bytes",
		Ours: middle(heap), Target: Target{"<", memoryTarget},
		Note: fmt.Sprintf("all of the process, resident and not yet collected: %s bytes a record", number(middle(resident))),
	}
	return []Row{start.judged(), memory.judged()}, nil
}

// fill writes live leases in large batches.
func fill(ctx context.Context, dir string, made fencing.Batch, records int) (err error) {
	const batch = 20_000
	st, err := pebble.Open(dir, pebble.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	for from := 0; from < records; from += batch {
		if err := st.Commit(ctx, liveRecords(made, from, min(from+batch, records))); err != nil {
			return err
		}
	}
	return nil
}

// liveRecords are those of the leases from one number up to another.
func liveRecords(made fencing.Batch, from, to int) (b fencing.Batch) {
	for n := from; n < to; n++ {
		b.Records = append(b.Records, liveRecord(made, n))
	}
	return b
}

func liveRecord(made fencing.Batch, n int) fencing.Record {
	p := made.Pools[0]
	return fencing.Record{
		Pool: p.Name, Node: snowflake.NodeID(n), Epoch: made.Meta.FirstEpoch + fencing.Epoch(n),
		App: fencing.AppID(appID(n)), Instance: fencing.InstanceID(instanceID(n)).Hash(),
		TTL: p.TTL, Status: fencing.Live, Floor: made.Meta.Mark, Ceiling: made.Meta.Mark.Add(p.TTL),
	}
}

// startOnce starts the server and keeps a lease.
func (b *bench) startOnce(ctx context.Context, dir string, made fencing.Batch) (s sample, m Memory, err error) {
	started := time.Now()
	c, err := b.start(ctx, Real, "start", "--data", dir)
	if err != nil {
		return s, m, err
	}
	defer func() { err = errors.Join(err, c.end()) }()
	if err := keepOne(ctx, c, made, b.records/2); err != nil {
		return s, m, err
	}
	s.wall = time.Since(started)
	used, err := c.usage()
	if err != nil {
		return s, m, err
	}
	s.cpu = used.CPU
	m, err = c.memory()
	return s, m, err
}

// keepOne sends a heartbeat for the n-th of the leases that fill made.
func keepOne(ctx context.Context, c *child, made fencing.Batch, n int) error {
	to, err := dial(ctx, c.addr)
	if err != nil {
		return err
	}
	defer func() { _ = to.Close() }() // nothing is written that could be lost
	return keepOver(to, made, n)
}

// keepOver is keepOne over a connection that there is.
func keepOver(to *conn, made fencing.Batch, n int) error {
	rec := liveRecord(made, n)
	return to.call(cirrusv1connect.LeaseServiceHeartbeatProcedure, &cirrusv1.HeartbeatRequest{
		Pool: string(rec.Pool), NodeId: uint32(rec.Node), Epoch: uint64(rec.Epoch), InstanceId: instanceID(n),
	}, &cirrusv1.HeartbeatResponse{})
}
