package fencing_test

import (
	"fmt"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
)

// The caller of a Server owns the clocks and the store: it makes durable what the
// server decides, and only then answers.
func ExampleServer() {
	const wall = 1_700_000_000_000
	batch, err := fencing.NewStore(wall, fencing.DefaultStride, true,
		fencing.NewPool(fencing.DefaultPool))
	if err != nil {
		fmt.Println(err)
		return
	}
	store := fencing.Snapshot{Meta: *batch.Meta, Pools: batch.Pools}

	now := fencing.Now{Steady: time.Minute, Wall: wall}
	server, err := fencing.NewServer(store, fencing.DefaultStride, now)
	if err != nil {
		fmt.Println(err)
		return
	}
	durable := func(w *fencing.Write) { // here a real store would sync
		server.Written(now, w)
	}

	mark, _ := server.Tick(now) // the right to promise (S10)
	durable(mark)

	instance := fencing.InstanceID("3b1f0c9a5d7e42861fa0c4d2b8e96573").Hash()
	request := fencing.AcquireRequest{Pool: fencing.DefaultPool,
		App: "checkout-1", Instance: instance}
	decision, _ := server.Acquire(now, request)
	fmt.Println("to be written:", decision.Write != nil)
	durable(decision.Write)
	decision, _ = server.Acquire(now, request)
	lease := decision.Lease
	fmt.Printf("node ID %d, timestamps %d to %d\n", lease.Node, lease.Floor, lease.Ceiling)

	now.Steady += lease.HeartbeatEvery()
	now.Wall += 10_000
	mark, _ = server.Tick(now)
	durable(mark)
	decision, _ = server.Heartbeat(now,
		fencing.LeaseRef{Pool: lease.Pool, Node: lease.Node, Epoch: lease.Epoch,
			Instance: instance})
	fmt.Printf("now up to %d\n", decision.Lease.Ceiling)
	// Output:
	// to be written: true
	// node ID 0, timestamps 1700000000000 to 1700000030000
	// now up to 1700000040000
}
