//go:build linux

package e2e

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

const (
	stallTTL        = time.Second
	stallQuarantine = 300 * time.Millisecond
)

// serveOne serves a pool of one node ID with short timings.
func serveOne(t *testing.T, quarantine time.Duration) *server {
	t.Helper()
	return serve(t, initStore(t, "--node-ids", "0-0", "--layout", layout,
		"--ttl", stallTTL.String(), "--quarantine", quarantine.String(), "--stride", "200ms"),
		"--stride", "200ms")
}

// outlast lets d go by. It is how long a stall lasts, and nothing is taken to
// have happened because of it.
func outlast(t *testing.T, d time.Duration) {
	t.Helper()
	nap(t.Context(), d)
}

// TestStalledHolder stops a process in mid-mint for longer than TTL +
// quarantine, while its node ID goes to another one, and lets it go on beside
// that one: no two IDs may be equal, and the stopped one may not use what it
// has lost.
func TestStalledHolder(t *testing.T) {
	t.Parallel()
	t.Run("paced", func(t *testing.T) { stallHolder(t, 500, "--rate", "2000") })
	// As far ahead of its time as it may be, or as its window goes.
	t.Run("at full speed", func(t *testing.T) { stallHolder(t, 5000) })
}

// stallHolder stops a process that has minted n IDs.
func stallHolder(t *testing.T, n int, speed ...string) {
	srv := serveOne(t, stallQuarantine)
	events := watch(t, srv.url())
	stalled := mint(t, srv.url(), "stalled", speed...)
	stalled.mints(t, n)

	stalled.freeze(t)
	other := mint(t, srv.url(), "other", "--rate", "2000")
	other.mints(t, 500)
	outlast(t, stallTTL)

	stalled.thaw(t)
	other.mints(t, 3000) // side by side
	theirs := other.finish(t)
	regranted := events.await(t, cirrusv1.Event_EVENT_GRANTED, 3)
	eventually(t, "IDs under a new lease",
		func() bool { return stalled.newest() >= regranted.FloorMs })
	ours := stalled.finish(t)

	lost := events.await(t, cirrusv1.Event_EVENT_EXPIRED, 1)
	taken := events.await(t, cirrusv1.Event_EVENT_GRANTED, 2)
	if lost.AppId != "stalled" || taken.AppId != "other" || regranted.AppId != "stalled" {
		t.Fatalf("granted to %q, %q and %q", lost.AppId, taken.AppId, regranted.AppId)
	}
	if lost.FloorMs > lost.CeilingMs || lost.CeilingMs >= taken.FloorMs ||
		taken.FloorMs >= regranted.FloorMs {
		t.Errorf("windows overlap: %d to %d, %d on, %d on", lost.FloorMs, lost.CeilingMs,
			taken.FloorMs, regranted.FloorMs)
	}
	outside(t, ours, "of the stalled process and in no window of its own", func(ts int64) bool {
		return ts >= lost.FloorMs && ts <= lost.CeilingMs || ts >= regranted.FloorMs
	})
	outside(t, theirs, "of the other process and not in its window", func(ts int64) bool {
		return ts >= taken.FloorMs && ts < regranted.FloorMs
	})
	unique(t, ours, theirs)
	t.Logf("%d IDs of the stalled process, %d of the other", len(ours), len(theirs))
}

// unique fails the test if two IDs are equal, or are not of node ID 0.
func unique(t *testing.T, lists ...[]uint64) {
	t.Helper()
	var all []uint64
	for _, ids := range lists {
		all = append(all, ids...)
	}
	if twice := duplicates(all); len(twice) > 0 {
		t.Errorf("%d IDs occur twice, the first is %d", len(twice), twice[0])
	}
	for _, id := range all {
		if nodeOf(id) != 0 {
			t.Fatalf("ID %d has node ID %d", id, nodeOf(id))
		}
	}
}

// TestServiceAway takes the service away from under a process that mints, for
// longer than the lease lasts. It must pause at its deadline, and go on under
// the same lease, which nobody else has had.
func TestServiceAway(t *testing.T) {
	t.Parallel()
	t.Run("stopped", func(t *testing.T) {
		serviceAway(t, func(s *server) { s.freeze(t) }, func(s *server) { s.thaw(t) })
	})
	t.Run("killed", func(t *testing.T) {
		serviceAway(t, func(s *server) { s.kill(t) }, func(s *server) { s.restart(t) })
	})
}

func serviceAway(t *testing.T, leave, back func(*server)) {
	// Within the quarantine nothing takes the lease from its holder, however
	// late the next heartbeat comes.
	srv := serveOne(t, time.Minute)
	m := mint(t, srv.url(), "patient", "--rate", "1000")
	m.mints(t, 500)
	epoch := onlyLease(t, srv).Epoch

	leave(srv)
	// What was promised was promised before this moment.
	ceiling := wallMs() + stallTTL.Milliseconds()
	outlast(t, 2*stallTTL)
	returned := wallMs()
	back(srv)
	eventually(t, "IDs after the return", func() bool { return m.newest() >= returned })
	if now := onlyLease(t, srv).Epoch; now != epoch {
		t.Errorf("it goes on under epoch %d, want %d", now, epoch)
	}

	ids := m.finish(t)
	outside(t, ids, "minted while the lease was not certain",
		func(ts int64) bool { return ts <= ceiling || ts >= returned })
	unique(t, ids)
}

// onlyLease is what is listed of the only node ID.
func onlyLease(t *testing.T, srv *server) *cirrusv1.LeaseStatus {
	t.Helper()
	_, admin := dial(srv.url(), connectProto)
	rows, err := listing(t.Context(), admin, "default")
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d leases, %v; want 1", len(rows), err)
	}
	return rows[0]
}

// TestSlowNetwork lets every heartbeat lie about for a while on its way to the
// service, and none through after some. What the service promised last counts
// from when it heard of it, so the window goes on when the lease is no longer
// certain: a holder must stop one TTL after it sent what was answered last (C2,
// G2), not when its window ends.
func TestSlowNetwork(t *testing.T) {
	t.Parallel()
	const ttl, lag = 3 * time.Second, 500 * time.Millisecond
	srv := serve(t, initStore(t, "--layout", layout, "--ttl", ttl.String(), "--quarantine", "1s",
		"--stride", "200ms"), "--stride", "200ms")
	network := slowNetwork(t, srv.url(), lag)
	m := mint(t, network.url, "far away", "--rate", "1000")
	eventually(t, "two good heartbeats", func() bool { return network.good() >= 2 })

	sent := network.cut()
	outlast(t, ttl+2*lag)
	ids := m.ids[:m.count()]
	m.kill(t)
	newest := timestampOf(ids[len(ids)-1])
	deadline := sent + ttl.Milliseconds()
	const slack = 50 // ms; the clocks of a machine run alike, to the ms
	if newest > deadline+slack {
		t.Errorf("it minted %d ms past its deadline", newest-deadline)
	}
	if newest < deadline-ttl.Milliseconds()/2 {
		t.Errorf("it stopped %d ms before its deadline", deadline-newest)
	}
}

// network is a proxy before the service.
type network struct {
	url string
	mu  sync.Mutex
	// down: nothing passes. sent is when the last heartbeat arrived here that
	// was then answered, in Unix ms.
	down bool
	n    int
	sent int64
}

func slowNetwork(t *testing.T, target string, lag time.Duration) *network {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	nw := &network{url: "http://" + freeAddr(t)}
	pass := httputil.NewSingleHostReverseProxy(u)
	srv := &http.Server{Addr: strings.TrimPrefix(nw.url, "http://"),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			arrived := wallMs()
			if r.URL.Path != cirrusv1connect.LeaseServiceHeartbeatProcedure {
				pass.ServeHTTP(w, r)
				return
			}
			nap(r.Context(), lag)
			nw.mu.Lock()
			defer nw.mu.Unlock()
			if nw.down || r.Context().Err() != nil {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			pass.ServeHTTP(w, r)
			nw.n, nw.sent = nw.n+1, arrived
		})}
	go srv.ListenAndServe() //nolint:errcheck // it ends with the test
	t.Cleanup(func() { srv.Close() })
	eventually(t, "the proxy", func() bool { return listens(srv.Addr) == nil })
	return nw
}

func (nw *network) good() int {
	nw.mu.Lock()
	defer nw.mu.Unlock()
	return nw.n
}

// cut lets no heartbeat pass from now on, and says when the last one arrived
// that did.
func (nw *network) cut() (sent int64) {
	nw.mu.Lock()
	defer nw.mu.Unlock()
	nw.down = true
	return nw.sent
}
