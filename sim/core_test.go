package sim

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/internal/steady"
	"github.com/cirrus-id/cirrus/service"
	"github.com/cirrus-id/cirrus/snowflake"
	"github.com/cirrus-id/cirrus/store/pebble"
)

// The checker looks into a service by reflection: it must find what it looks
// for.
func TestCoreIsFound(t *testing.T) {
	batch, err := fencing.NewStore(snowflake.Millis(time.Now().UnixMilli()), fencing.DefaultStride, true, fencing.NewPool(fencing.DefaultPool))
	if err != nil {
		t.Fatal(err)
	}
	st, err := pebble.OpenMemory(*batch.Meta, batch.Pools, pebble.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	svc, err := service.New(context.Background(), service.Config{Store: st, Steady: steady.New(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer svc.Close()
	core := coreOf(svc)
	if core == nil {
		t.Fatal("there is no core where the checker looks")
	}
	if names := core.PoolNames(); len(names) != 1 || core.Check() != nil {
		t.Errorf("what it found has pools %v", names)
	}
	if n, ok := lostWritesOf(svc); !ok || n != 0 {
		t.Errorf("lost writes: %v, %v; want 0", n, ok)
	}
}
