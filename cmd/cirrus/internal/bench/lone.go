package bench

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
)

// lone asks a process to send one heartbeat after the other, each for another
// lease of those that fill made. Whoever times heartbeats beside what others do
// needs a process in which nobody else wants to run: what is timed otherwise is
// how long the answer lies there until Go looks for it.
type lone struct {
	Addr       string           `json:"addr"`
	Pool       fencing.PoolName `json:"pool"`
	FirstEpoch fencing.Epoch    `json:"first_epoch"`
	Leases     int              `json:"leases"`
	For        time.Duration    `json:"for_ns"`
}

// send sends them at a pace, and says what 99 of 100 didn't exceed, in ms.
func (l lone) send(ctx context.Context) (float64, error) {
	made := fencing.Batch{Meta: &fencing.Meta{FirstEpoch: l.FirstEpoch}, Pools: []fencing.Pool{{Name: l.Pool}}}
	ctx, hangUp := context.WithCancel(ctx)
	defer hangUp()
	to, err := dial(ctx, l.Addr)
	if err != nil {
		return 0, err
	}
	var took []float64
	_, err = paced(ctx, l.For, loneEvery, func(n int) error {
		before := time.Now()
		err := keepOver(to, made, n%l.Leases)
		took = append(took, time.Since(before).Seconds()*1e3)
		return err
	})
	return percentile99(took), err
}

// ask has another process do it.
func (l lone) ask(of *child) (p99 float64, err error) {
	what, err := json.Marshal(l)
	if err != nil {
		return 0, err
	}
	err = of.question(askLone+" "+string(what), &p99)
	return p99, err
}

// percentile99 is what 99 of 100 values don't exceed.
func percentile99(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[(len(values)-1)*99/100]
}
