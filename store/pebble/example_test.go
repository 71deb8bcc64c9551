package pebble_test

import (
	"context"
	"fmt"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store/pebble"
)

// A grant, kept and read back.
func ExampleOpenMemory() {
	meta := fencing.Meta{Mark: 1_800_000_000_000, Stride: 10 * time.Second,
		FirstEpoch: 1_800_000_000 << 20}
	pool := fencing.NewPool(fencing.DefaultPool)
	s, err := pebble.OpenMemory(meta, []fencing.Pool{pool}, pebble.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	grant := fencing.Record{
		Pool: pool.Name, Node: 7, Epoch: meta.FirstEpoch, App: "checkout",
		TTL: pool.TTL, Status: fencing.Live, Floor: meta.Mark, Ceiling: meta.Mark.Add(pool.TTL),
	}
	if err := s.Commit(ctx, fencing.Batch{Records: []fencing.Record{grant}}); err != nil {
		fmt.Println(err)
		return
	}
	snap, err := s.Load(ctx)
	fmt.Println(len(snap.Records), snap.Records[0].App, snap.Records[0].Status, err, s.Close())
	// Output: 1 checkout live <nil> <nil>
}
