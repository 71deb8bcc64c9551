//go:build linux

package e2e

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/cirrus-id/cirrus/internal/etcdtest"
)

// The timings of the store that moves.
const (
	movingTTL     = 5 * time.Second
	movingSession = "1s"
)

// TestMigrate takes a store to etcd and back under the eyes of a holder that
// goes on minting, and of 150 that wait. Each migration is killed before and
// after each of its transactions, until one comes through; at no point can both
// places be served. All leases survive, under the same epochs.
func TestMigrate(t *testing.T) {
	t.Parallel()
	member := etcdtest.Start(t, 1).Endpoints()[0]
	gallows := newExecutioner(t, strings.TrimPrefix(member, "http://"))
	timings := []string{"--ttl", movingTTL.String(), "--quarantine", "1m", "--stride", "1s",
		"--layout", layout}
	dir := initStore(t, timings...)
	back := filepath.Join(t.TempDir(), "back")
	at := []string{"--etcd-session-ttl", movingSession, "--etcd-endpoints"}

	srv := serve(t, dir, "--stride", "1s")
	held := acquire(t, srv, 150)
	m := mint(t, srv.url(), "moving", "--rate", "200")
	m.mints(t, 100)
	rows := epochs(t, srv)
	srv.terminate(t)

	etcdPlace := slices.Concat([]string{"--store", "etcd"}, at, []string{member})
	for _, trip := range []struct {
		name  string
		args  []string
		old   []string // the flags that name the two places
		now   []string
		again []string // what serves the new one
	}{
		{"to etcd", []string{"--from", dir, "--to-etcd"}, []string{"--data", dir}, etcdPlace, slices.Concat(etcdPlace, []string{"--advertise", srv.url()})},
		{"back", []string{"--from-etcd", "--to", back}, etcdPlace, []string{"--data", back}, []string{"--data", back}},
	} {
		left := wallMs()
		kills := gallows.until(t,
			slices.Concat([]string{"migrate"}, trip.args, at, []string{"http://" + gallows.addr}),
			func() {
				if servable(t, trip.old) && servable(t, trip.now) {
					t.Fatalf("%s: both places can be served", trip.name)
				}
			})
		if servable(t, trip.old) || !servable(t, trip.now) {
			t.Fatalf("%s: it did not move", trip.name)
		}
		srv.program = start(t,
			command(
				t, slices.Concat([]string{"serve", "--listen", srv.addr, "--metrics-listen=",
					"--stride", "1s"}, trip.again)...))
		eventually(t, "the leases as they were", func() bool {
			if !srv.Running() {
				t.Fatalf("cirrus serve has ended: %s", srv.Log())
			}
			return sameEpochs(rows, epochsNow(t, srv))
		})
		heartbeat(t, srv, held)
		// Beyond all that was promised at the old place.
		eventually(t, "IDs that the new place has promised",
			func() bool { return m.newest() > left+movingTTL.Milliseconds() })
		if now := epochs(t, srv); !sameEpochs(rows, now) {
			t.Errorf("%s: the epochs were %v and are %v", trip.name, rows, now)
		}
		t.Logf("%s: %d kills, and IDs that the new place has promised %v after the first",
			trip.name, kills, time.Duration(wallMs()-left)*time.Millisecond)
		if trip.name != "back" {
			srv.terminate(t)
		}
	}

	ids := m.finish(t)
	if twice := duplicates(ids); len(twice) > 0 {
		t.Errorf("%d IDs occur twice", len(twice))
	}
	for _, id := range ids {
		if nodeOf(id) != nodeOf(ids[0]) {
			t.Fatalf("it began under node ID %d and went on under %d", nodeOf(ids[0]), nodeOf(id))
		}
	}
	srv.terminate(t)
}

// epochs are those of all leases, by node ID.
func epochs(t *testing.T, srv *server) map[uint32]uint64 {
	t.Helper()
	found := epochsNow(t, srv)
	if len(found) == 0 {
		t.Fatal("no leases are listed")
	}
	return found
}

// epochsNow is nil where the service doesn't answer, or not yet.
func epochsNow(t *testing.T, srv *server) map[uint32]uint64 {
	_, admin := dial(srv.url(), connectProto)
	rows, err := listing(t.Context(), admin, "default")
	if err != nil {
		return nil
	}
	found := map[uint32]uint64{}
	for node, row := range rows {
		found[node] = row.Epoch
	}
	return found
}

func sameEpochs(a, b map[uint32]uint64) bool {
	if len(a) != len(b) {
		return false
	}
	for node, epoch := range a {
		if b[node] != epoch {
			return false
		}
	}
	return true
}

// servable says whether the store in a place could be served: whether recover,
// which is told no, would take it.
func servable(t *testing.T, place []string) bool {
	t.Helper()
	code, _, stderr := run(t, append([]string{"recover"}, place...)...)
	if code == 0 {
		t.Fatal("it was recovered, though it was told no")
	}
	yes := strings.Contains(stderr, "nothing was changed")
	if !yes && !strings.Contains(stderr, "not finished") &&
		!strings.Contains(stderr, "was moved to") && !strings.Contains(stderr, "no Cirrus store") {
		t.Fatalf("neither to be served nor not: %s", stderr)
	}
	return yes
}

// executioner stands between a command and etcd, and kills the command at one
// of its transactions.
type executioner struct {
	addr string
	conn *grpc.ClientConn

	mu     sync.Mutex
	left   int  // transactions up to that one; 0: nobody is killed
	done   bool // it is done, but the command doesn't hear of it
	victim chan *program
}

func newExecutioner(t *testing.T, target string) *executioner {
	t.Helper()
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &executioner{addr: l.Addr().String(), conn: conn}
	s := grpc.NewServer(grpc.ForceServerCodec(asIs{}), grpc.UnknownServiceHandler(e.handle))
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		conn.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return e
}

// until runs the command again and again, and kills it at its first transaction,
// at its second and so on, each time before and then after it is done, until it
// comes to its end. It says how often that was not so, and calls check each time.
func (e *executioner) until(t *testing.T, args []string, check func()) (kills int) {
	t.Helper()
	for n := 1; n <= 20; n++ {
		for _, done := range []bool{false, true} {
			e.mu.Lock()
			e.left, e.done, e.victim = n, done, make(chan *program, 1)
			e.mu.Unlock()
			p := start(t, command(t, args...))
			e.victim <- p
			switch code := p.exit(t, timeout); code {
			case 0:
				return kills
			case -1:
				kills++
				check()
			default:
				t.Fatalf("exit code %d: %s", code, p.Log())
			}
		}
	}
	t.Fatal("it never comes to its end")
	return 0
}

// strike says whether the command is to be killed at this transaction.
func (e *executioner) strike(method string) (now, done bool, victim chan *program) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if method != "/etcdserverpb.KV/Txn" || e.left == 0 {
		return false, false, nil
	}
	e.left--
	return e.left == 0, e.done, e.victim
}

// handle passes a call on, and its answer back.
func (e *executioner) handle(_ any, near grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(near)
	now, done, victim := e.strike(method)
	if now && !done {
		return execute(victim)
	}
	md, _ := metadata.FromIncomingContext(near.Context())
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(near.Context(), md))
	defer cancel()
	far, err := e.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
		method, grpc.ForceCodec(asIs{}))
	if err != nil {
		return err
	}
	go func() {
		if relay(near.RecvMsg, far.SendMsg) != nil {
			cancel()
			return
		}
		_ = far.CloseSend() // what was to be said is said
	}()
	return relay(far.RecvMsg, func(m any) error {
		if now {
			return execute(victim)
		}
		return near.SendMsg(m)
	})
}

func execute(victim chan *program) error {
	p := <-victim
	p.Kill()
	return status.Error(codes.Unavailable, "nobody is there to hear this")
}

// relay hands on messages until there are no more.
func relay(from, to func(any) error) error {
	for {
		var m []byte
		if err := from(&m); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := to(&m); err != nil {
			return err
		}
	}
}

// asIs leaves messages as they are on the wire.
type asIs struct{}

func (asIs) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

func (asIs) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

func (asIs) Name() string { return "proto" }
