package etcd_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/internal/etcdtest"
	"github.com/cirrus-id/cirrus/store/etcd"
)

// A store is made, and a replica leads: it takes over, loads, and writes.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "cirrus-etcd-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	server, err := etcdtest.New(etcdtest.Config{Dir: dir})
	if err == nil {
		err = server.Start()
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Kill()

	c, err := etcd.Open(etcd.Config{
		Endpoints: server.Endpoints(),
		Advertise: "http://replica-1:50051",
		Logger:    slog.New(slog.DiscardHandler),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	ctx := context.Background()
	meta := fencing.Meta{Mark: 1_800_000_000_000, Stride: 10 * time.Second,
		FirstEpoch: 1_800_000_000 << 20}
	if err := c.Init(ctx, fencing.Batch{Meta: &meta}); err != nil {
		fmt.Println(err)
		return
	}
	leadership, err := c.Campaign(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	term, err := leadership.TakeOver(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	snap, err := term.Load(ctx)
	fmt.Println(snap.Meta.Mark, err)
	snap.Meta.Mark += 10_000
	fmt.Println(term.Commit(ctx, fencing.Batch{Meta: &snap.Meta}), term.Confirm(ctx),
		leadership.Resign(ctx))
	// Output:
	// 1800000000000 <nil>
	// <nil> <nil> <nil>
}
