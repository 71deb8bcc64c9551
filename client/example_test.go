package client_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"time"

	"github.com/cirrus-id/cirrus/client"
)

func ExampleHold() {
	service := httptest.NewServer(newFakeService().handler()) // or: cirrus serve
	defer service.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	holder, err := client.Hold(ctx, service.URL, "orders",
		client.OnChange(func(e client.Event) {
			if e.Change == client.Lost {
				fmt.Println("lost epoch", e.Lease.Epoch)
			}
		}))
	if err != nil {
		fmt.Println(err)
		return
	}

	lease := holder.Lease()
	fmt.Printf("node ID %d, epoch %d, valid: %t\n", lease.Node, lease.Epoch, holder.Valid())

	id, err := holder.Generator().Next()
	if err != nil { // the lease is not valid at the moment, or worse
		fmt.Println(err)
		return
	}
	parts, _ := lease.Layout.Decompose(id)
	fmt.Println("minted under node ID", parts.Node)

	if err := holder.Release(ctx); err != nil {
		fmt.Println(err)
	}
	_, err = holder.Generator().Next()
	fmt.Println(err)
	// Output:
	// node ID 100, epoch 1, valid: true
	// minted under node ID 100
	// lease not valid: it was stopped, and no other is held
}
