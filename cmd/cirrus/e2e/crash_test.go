//go:build linux

package e2e

import (
	"context"
	"flag"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "seed of the crash test's choices; 0: a new one")
	killsFlag = flag.Int("kills", 50, "how often the crash test kills the service, at least")
)

// What the crash test has to have seen before it ends.
const (
	clients        = 32
	wantGrants     = 1000
	wantChangedIDs = 100
	crashTime      = 5 * time.Minute // by when
)

// The pools of the crash test: one with room, so that many node IDs change
// holder, and a tight one, in which there is a queue. Their node IDs differ, so
// no two IDs of all may be equal. Of a millisecond's sequence there are four, so
// that IDs would meet if windows did.
const (
	roomyIDs        = "0-111"
	tightFirst      = 1000
	tightLast       = 1007
	crashTTL        = time.Second
	crashQuarantine = 300 * time.Millisecond
)

var crashPool = []string{
	"--ttl", "1s", "--max-ttl", "2s", "--quarantine", "300ms", "--stride", "200ms",
	"--layout", "41/10/2", "--node-ids", roomyIDs,
}

// hasty are clients of pools with a TTL of a second.
var hasty = habits{
	pools: []string{"default", "default", "tight"}, try: callTime,
	hold: [2]time.Duration{50 * time.Millisecond, 2200 * time.Millisecond},
	turn: [2]time.Duration{5 * time.Millisecond, 30 * time.Millisecond},
	ask:  [2]time.Duration{crashTTL, 2 * crashTTL}, askOften: 0.3,
	waitOften: 0.5, vanish: 0.4, revoke: 0.004, stall: 0.006, stallTimes: 2, bunch: 0.25,
}

// TestKill kills the real service at random moments under many clients, and
// judges by what they saw whether it forgot anything that it had acknowledged.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: fifty kills take more than a minute")
	}
	t.Parallel() // it waits most of the time
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("choices repeat with: go test ./cmd/cirrus/e2e -run TestKill -seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))

	srv := serve(t, initStore(t, crashPool...), "--stride", "200ms")
	makeTightPool(t, srv.url())
	obs := newObserver(crashQuarantine)
	ctx, stop := context.WithTimeout(t.Context(), crashTime)
	defer stop()
	crowd := startClients(ctx, srv.url(), obs, seed)
	kills, early := killUntilDone(ctx, t, srv, obs, rng)
	srv.restart(t)
	stop()
	ids := crowd.wait()
	auditOnce(t.Context(), srv.url(), obs)
	srv.terminate(t)

	c := obs.count()
	t.Logf(
		"%d kills (%d before it answered), %d grants, %d node IDs changed holder %d times, %d heartbeats (%d after the deadline), %d released, %d revoked, %d lost, %d IDs minted",
		kills, early, c.grants, c.changedIDs, c.changes, c.heartbeats, c.revived, c.released,
		c.revoked, c.lost, len(ids))
	judge(t, obs, ids)
	if kills < *killsFlag || c.grants < wantGrants || c.changedIDs < wantChangedIDs {
		t.Errorf(
			"too little happened within %v: want %d kills, %d grants and %d node IDs that changed holder", crashTime, *killsFlag, wantGrants, wantChangedIDs)
	}
}

// judge looks at what was observed, and at all IDs that were minted.
func judge(t *testing.T, obs *observer, ids []uint64) {
	t.Helper()
	for _, v := range obs.verdict() {
		t.Error(v)
	}
	if twice := duplicates(ids); len(twice) > 0 {
		t.Errorf("%d IDs were minted twice, the first is %d", len(twice), twice[0])
	}
}

func makeTightPool(t *testing.T, url string) {
	_, admin := dial(url, connectProto)
	_, err := admin.CreatePool(t.Context(), &cirrusv1.CreatePoolRequest{Pool: &cirrusv1.Pool{
		Name: "tight", NodeIds: &cirrusv1.NodeRange{First: tightFirst, Last: tightLast},
		Layout: &cirrusv1.Layout{OriginMs: 1288834974657, TimestampBits: 41, NodeBits: 10,
			SequenceBits: 2},
		Ttl: durationpb.New(crashTTL), MaxTtl: durationpb.New(2 * crashTTL),
		Quarantine: durationpb.New(crashQuarantine),
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// crowd is all clients.
type crowd struct {
	clients []*client
	done    sync.WaitGroup
}

func startClients(ctx context.Context, url string, obs *observer, seed uint64) *crowd {
	all := &crowd{}
	for i := range clients {
		all.employ(ctx, &client{
			observer: obs, roamer: newRoamer([]string{url}, i, 0), habits: hasty,
			rng: rand.New(rand.NewPCG(seed, uint64(i)+2)),
		})
	}
	return all
}

// employ lets one more begin.
func (all *crowd) employ(ctx context.Context, c *client) {
	all.clients = append(all.clients, c)
	all.done.Go(func() { c.run(ctx) })
}

// wait waits for all clients and returns what they minted.
func (all *crowd) wait() []uint64 {
	all.done.Wait()
	var ids []uint64
	for _, c := range all.clients {
		ids = append(ids, c.ids...)
	}
	return ids
}

// killUntilDone kills the service and starts it again until enough has happened,
// and returns how often it did, and how often before the service had answered.
// When it returns, the service is down.
func killUntilDone(ctx context.Context, t *testing.T, srv *server, obs *observer,
	rng *rand.Rand) (kills, early int) {
	for {
		answered := auditLater(ctx, srv.url(), obs)
		nap(ctx, uptime(rng))
		killAlive(t, srv)
		kills++
		if !answered() {
			early++
		}
		c := obs.count()
		done := kills >= *killsFlag && c.grants >= wantGrants && c.changedIDs >= wantChangedIDs
		if done || ctx.Err() != nil || obs.failed() {
			return kills, early
		}
		srv.program = start(t, command(t, srv.args()...))
	}
}

// killAlive kills the service, which must not have ended by itself.
func killAlive(t *testing.T, srv *server) {
	t.Helper()
	if srv.Running() {
		srv.kill(t)
	}
	if ws := srv.State().Sys().(syscall.WaitStatus); ws.Signal() != syscall.SIGKILL {
		t.Fatalf("the service ended by itself (%v):\n%s", srv.State(), srv.Log())
	}
	srv.checkLog(t)
}

// uptime draws how long the service lives: now and then it doesn't get to
// listen, often no lease can run out, and now and then some do: for that it has
// to live for stride + TTL + quarantine.
func uptime(rng *rand.Rand) time.Duration {
	switch p := rng.Float64(); {
	case p < 0.2:
		return draw(rng, 200*time.Millisecond)
	case p < 0.6:
		return 200*time.Millisecond + draw(rng, time.Second)
	}
	return 1500*time.Millisecond + draw(rng, 1500*time.Millisecond)
}

// auditLater asks, as soon as the service answers, whether all is still there.
// The function that it returns ends the asking, and says whether there was an
// answer.
func auditLater(ctx context.Context, url string, obs *observer) (answered func() bool) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan bool, 1)
	go func() {
		for ctx.Err() == nil {
			if auditOnce(ctx, url, obs) {
				done <- true
				return
			}
			nap(ctx, 10*time.Millisecond)
		}
		done <- false
	}()
	return func() bool {
		cancel()
		return <-done
	}
}

// auditOnce compares the listings with what was acknowledged before. It says
// whether there was a listing.
func auditOnce(ctx context.Context, url string, obs *observer) bool {
	_, admin := dial(url, connectProto)
	for _, pool := range []string{"default", "tight"} {
		want := obs.expect(pool)
		rows, err := listing(ctx, admin, pool)
		if err != nil {
			return false
		}
		obs.audit(want, now(), rows)
	}
	return true
}

// listing is a pool's, by node ID.
func listing(ctx context.Context, admin cirrusv1connect.AdminServiceClient,
	pool string) (map[uint32]*cirrusv1.LeaseStatus, error) {
	rows := map[uint32]*cirrusv1.LeaseStatus{}
	for token := ""; ; {
		var resp *cirrusv1.ListLeasesResponse
		err := within(ctx, callTime, func(ctx context.Context) (err error) {
			resp, err = admin.ListLeases(ctx,
				&cirrusv1.ListLeasesRequest{Pool: pool, PageToken: token})
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, row := range resp.Leases {
			rows[row.NodeId] = row
		}
		if token = resp.NextPageToken; token == "" {
			return rows, nil
		}
	}
}
