package etcd

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/internal/etcdtest"
	"github.com/cirrus-id/cirrus/snowflake"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/storetest"
)

// patience is how long a test waits for what should come soon. It decides when
// to give up, never whether something is right.
const patience = 30 * time.Second

func open(t testing.TB, cfg Config) *Cluster {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = quiet
	}
	c, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func campaign(t testing.TB, c *Cluster) store.Office {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	o, err := c.Campaign(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func takeOver(t testing.TB, o store.Office) store.Term {
	t.Helper()
	term, err := o.TakeOver(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return term
}

// comeBack begins another term, as a leader does whose term is over.
func comeBack(t testing.TB, c *Cluster, o store.Office) (store.Office, store.Term, fencing.Snapshot) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		select {
		case <-o.Lost():
			o = campaign(t, c)
		default:
		}
		term, err := o.TakeOver(context.Background())
		if err == nil {
			var snap fencing.Snapshot
			if snap, err = term.Load(context.Background()); err == nil {
				return o, term, snap
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("in vain for %v: %v", patience, err)
		}
	}
}

// hears waits until the cluster knows that m leads.
func hears(t testing.TB, c *Cluster, m store.Member) {
	t.Helper()
	deadline := time.After(patience)
	for {
		got, news := c.Leader()
		if got == m {
			return
		}
		select {
		case <-news:
		case <-deadline:
			t.Fatalf("it hears of %+v, not of %+v", got, m)
		}
	}
}

func firstBatch() fencing.Batch {
	meta := storetest.Meta()
	return fencing.Batch{Meta: &meta, Pools: []fencing.Pool{storetest.Pool("p")}}
}

func grant(n int, e fencing.Epoch) fencing.Batch {
	return fencing.Batch{Records: []fencing.Record{storetest.Record("p", snowflake.NodeID(n), e)}}
}

// TestElection: one leads, the others know it; who resigns is followed at once.
func TestElection(t *testing.T) {
	cfg := config(t)
	cfg.Advertise = "http://a:50051"
	a := open(t, cfg)
	cfg.Advertise = "http://b:50051"
	b := open(t, cfg)
	hears(t, a, store.Member{})
	first := campaign(t, a)
	hears(t, a, a.Self())
	hears(t, b, a.Self())
	if a.Self().Address != "http://a:50051" || a.Self().ID == b.Self().ID {
		t.Error(a.Self(), b.Self())
	}
	if a.ID() == "" || a.ID() != b.ID() || !strings.HasSuffix(a.ID(), cfg.Prefix) {
		t.Errorf("they name the store %q and %q", a.ID(), b.ID())
	}
	second := make(chan store.Office)
	go func() { second <- campaign(t, b) }()
	takeOver(t, first)
	select {
	case <-second:
		t.Fatal("two lead")
	case <-first.Lost():
		t.Fatal("lost")
	default:
	}
	start := time.Now()
	if err := first.Resign(context.Background()); err != nil {
		t.Fatal(err)
	}
	resigned := time.Since(start)
	o := <-second
	t.Logf("resigned within %v, followed within %v", resigned, time.Since(start))
	hears(t, a, b.Self())
	<-first.Lost()
	if _, err := first.TakeOver(context.Background()); err == nil {
		t.Error("who has resigned begins a term")
	}
	if err := o.Resign(context.Background()); err != nil {
		t.Error(err)
	}
	hears(t, a, store.Member{})
}

// TestSilentLeader: who says nothing any more is followed once its session is
// over.
func TestSilentLeader(t *testing.T) {
	cfg := config(t)
	cfg.SessionTTL = time.Second
	a, b := open(t, cfg), open(t, cfg)
	campaign(t, a)
	start := time.Now()
	if err := a.Close(); err != nil { // it does not resign
		t.Fatal(err)
	}
	campaign(t, b)
	t.Logf("followed after %v", time.Since(start))
}

// TestSessionLost: an office whose session etcd has ended is lost, and the next
// campaign has another session.
func TestSessionLost(t *testing.T) {
	cfg := config(t)
	a := open(t, cfg)
	o := campaign(t, a)
	lease := o.(*office).Leadership.(*leadership).session.Lease()
	if _, err := etcdClient(t, cfg.Endpoints...).Revoke(context.Background(), lease); err != nil {
		t.Fatal(err)
	}
	if _, err := o.TakeOver(context.Background()); err == nil {
		t.Error("it began a term without its key")
	}
	<-o.Lost()
	takeOver(t, campaign(t, a))
}

// TestCampaignCancelled: it ends at once, and leaves nobody in the queue.
func TestCampaignCancelled(t *testing.T) {
	cfg := config(t)
	a, b := open(t, cfg), open(t, cfg)
	campaign(t, a)
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error)
	go func() {
		_, err := b.Campaign(ctx)
		result <- err
	}()
	for queued(t, cfg) < 2 {
	}
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if n := queued(t, cfg); n != 1 {
		t.Errorf("%d stand in the queue", n)
	}
}

// queued is how many lead or wait to.
func queued(t testing.TB, cfg Config) int64 {
	t.Helper()
	resp, err := etcdClient(t, cfg.Endpoints...).Get(context.Background(), cfg.Prefix+"leader/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	return resp.Count
}

// TestCloseEndsCampaign, and whoever comes later is told why.
func TestCloseEndsCampaign(t *testing.T) {
	cfg := config(t)
	a, b := open(t, cfg), open(t, cfg)
	campaign(t, a)
	result := make(chan error)
	go func() {
		_, err := b.Campaign(context.Background())
		result <- err
	}()
	for queued(t, cfg) < 2 {
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := <-result; !errors.Is(err, store.ErrClosed) {
		t.Error(err)
	}
	if _, err := b.Campaign(context.Background()); !errors.Is(err, store.ErrClosed) {
		t.Error(err)
	}
}

// TestObserveCompacted: a watch that can't go on where it was begins anew.
func TestObserveCompacted(t *testing.T) {
	cfg := config(t)
	direct := etcdClient(t, cfg.Endpoints...)
	link := newLink(t, strings.TrimPrefix(cfg.Endpoints[0], "http://"))
	a := open(t, cfg)
	cfg.Endpoints = []string{"http://" + link.addr}
	b := open(t, cfg)
	o := campaign(t, a)
	hears(t, b, a.Self())
	link.cut()
	if err := o.Resign(context.Background()); err != nil {
		t.Fatal(err)
	}
	resp, err := direct.Put(context.Background(), cfg.Prefix+"x", "")
	if err == nil {
		_, err = direct.Delete(context.Background(), cfg.Prefix+"x")
	}
	if err == nil {
		_, err = direct.Compact(context.Background(), resp.Header.Revision)
	}
	if err != nil {
		t.Fatal(err)
	}
	if m, _ := b.Leader(); m != a.Self() {
		t.Errorf("cut off, it takes %+v for the leader", m)
	}
	link.join()
	hears(t, b, store.Member{})
}

// link is a way to etcd that can be cut.
type link struct {
	addr, to string

	mu     sync.Mutex
	l      net.Listener
	conns  map[net.Conn]bool
	copies sync.WaitGroup
}

func newLink(t *testing.T, to string) *link {
	t.Helper()
	k := &link{to: to, addr: "127.0.0.1:0", conns: map[net.Conn]bool{}}
	k.join()
	t.Cleanup(func() { k.cut(); k.copies.Wait() })
	return k
}

// join listens, again.
func (k *link) join() {
	l, err := net.Listen("tcp", k.addr)
	if err != nil {
		panic(err)
	}
	k.l, k.addr = l, l.Addr().String()
	k.copies.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", k.to)
			if err != nil {
				in.Close()
				continue
			}
			k.mu.Lock()
			k.conns[in], k.conns[out] = true, true
			k.mu.Unlock()
			k.copies.Go(func() { _, _ = io.Copy(in, out); in.Close() })
			k.copies.Go(func() { _, _ = io.Copy(out, in); out.Close() })
		}
	})
}

// cut closes all there is.
func (k *link) cut() {
	k.l.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	for c := range k.conns {
		c.Close()
	}
	clear(k.conns)
}

// TestBeforeEtcd: a replica that is there first waits, says for what, and goes
// on by itself.
func TestBeforeEtcd(t *testing.T) {
	for name, user := range map[string]string{"without a user": "", "with a user": "root"} {
		t.Run(name, func(t *testing.T) {
			cluster, err := etcdtest.New(etcdtest.Config{Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(cluster.Kill)
			said := make(lines, 100)
			c := open(t, Config{
				Endpoints: cluster.Endpoints(), User: user, Password: user,
				Timeout: 200 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(said, nil)),
			})
			if c.ID() != "" {
				t.Error(c.ID())
			}
			won := make(chan store.Office)
			go func() { won <- campaign(t, c) }()
			if line := <-said; !strings.Contains(line, cluster.Endpoints()[0]) || !strings.Contains(line, "at which anybody listens") {
				t.Errorf("it says: %s", line)
			}
			if err := cluster.Start(); err != nil {
				t.Fatal(err)
			}
			takeOver(t, <-won)
		})
	}
}

// lines is a log, line by line.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	select {
	case l <- string(b):
	default:
	}
	return len(b), nil
}

// TestMembersDie: each in turn, and their leader; nothing that was acknowledged
// is lost, and a leader comes back by itself.
func TestMembersDie(t *testing.T) {
	cluster := etcdtest.Start(t, 3)
	cfg := Config{Endpoints: cluster.Endpoints(), Timeout: time.Second}
	c := open(t, cfg)
	office := campaign(t, c)
	term := takeOver(t, office)
	if err := term.Create(context.Background(), firstBatch()); err != nil {
		t.Fatal(err)
	}
	j := storetest.NewJournal(storetest.Meta(), storetest.Pool("p"))
	epoch := fencing.Epoch(0)
	terms := 1
	// grants commits n of them, through as many terms as it takes.
	grants := func(n int) {
		for n > 0 {
			epoch++
			b := grant(int(epoch%100), epoch)
			id := j.Begin(b)
			err := term.Commit(context.Background(), b)
			if err == nil {
				j.Acknowledge(id)
				n--
				continue
			}
			office, term, _ = comeBack(t, c, office)
			terms++
		}
	}
	kill := func(i int) {
		grants(50)
		cluster.Member(i).Kill()
		grants(50)
		if err := cluster.Member(i).Restart(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		kill(i)
	}
	leader, err := cluster.Leader()
	if err != nil {
		t.Fatal(err)
	}
	kill(leader)
	grants(50)
	cluster.Kill()
	if err := cluster.Start(); err != nil {
		t.Fatal(err)
	}
	grants(50)
	snap, err := term.Load(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Check(snap, j.Now(), j.Now()); err != nil {
		t.Error(err)
	}
	t.Logf("%d terms", terms)
}

// TestNoQuorum: a write without a quorum ends its term as unknown, in its time;
// with the quorum all comes back.
func TestNoQuorum(t *testing.T) {
	cluster := etcdtest.Start(t, 3)
	cfg := Config{Endpoints: cluster.Endpoints(), Timeout: 500 * time.Millisecond, SessionTTL: time.Second}
	c := open(t, cfg)
	office := campaign(t, c)
	term := takeOver(t, office)
	if err := term.Create(context.Background(), firstBatch()); err != nil {
		t.Fatal(err)
	}
	cluster.Member(0).Kill()
	cluster.Member(1).Kill()
	start := time.Now()
	if err := term.Confirm(context.Background()); err == nil || errors.Is(err, store.ErrDeposed) {
		t.Errorf("Confirm: %v", err)
	}
	if err := term.Commit(context.Background(), grant(1, 1)); err == nil || errors.Is(err, store.ErrDeposed) || !strings.Contains(err.Error(), "unknown") || !strings.Contains(err.Error(), cfg.Endpoints[2]) {
		t.Errorf("Commit: %v", err)
	}
	if took := time.Since(start); took > 3*cfg.Timeout {
		t.Errorf("it took %v", took)
	}
	<-office.Lost()
	if err := cluster.Start(); err != nil {
		t.Fatal(err)
	}
	_, next, _ := comeBack(t, c, office)
	if err := next.Commit(context.Background(), grant(1, 2)); err != nil {
		t.Error(err)
	}
}

// TestStandsStill: a member that stands still makes a write unknown, not failed:
// it may be done when the member goes on.
func TestStandsStill(t *testing.T) {
	cluster := etcdtest.Start(t, 1)
	c := open(t, Config{Endpoints: cluster.Endpoints(), Timeout: time.Second})
	office := campaign(t, c)
	term := takeOver(t, office)
	if err := term.Create(context.Background(), firstBatch()); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Member(0).Stop(); err != nil {
		t.Fatal(err)
	}
	err := term.Commit(context.Background(), grant(1, 1))
	if err == nil || !strings.Contains(err.Error(), "unknown") {
		t.Errorf("Commit: %v", err)
	}
	if err := cluster.Member(0).Continue(); err != nil {
		t.Fatal(err)
	}
	_, _, snap := comeBack(t, c, office)
	t.Logf("%d records are there", len(snap.Records)) // either is right
}

// TestNoSpace: etcd without space refuses writes, and says so; what is there
// can be read.
func TestNoSpace(t *testing.T) {
	cluster := etcdtest.Start(t, 1, "--quota-backend-bytes", "2000000")
	c := open(t, Config{Endpoints: cluster.Endpoints()})
	office := campaign(t, c)
	term := takeOver(t, office)
	if err := term.Create(context.Background(), firstBatch()); err != nil {
		t.Fatal(err)
	}
	etcd := etcdClient(t, cluster.Endpoints()...)
	for i := 0; ; i++ {
		if _, err := etcd.Put(context.Background(), fmt.Sprint("fill", i), strings.Repeat("x", 100_000)); err != nil {
			break
		}
	}
	if err := term.Commit(context.Background(), grant(1, 1)); err == nil || !strings.Contains(err.Error(), "is out of space") || !strings.Contains(err.Error(), "alarm disarm") {
		t.Errorf("Commit: %v", err)
	}
	if _, err := office.TakeOver(context.Background()); err == nil || !strings.Contains(err.Error(), "is out of space") {
		t.Errorf("TakeOver: %v", err)
	}
	// It gets space again.
	ctx := context.Background()
	if _, err := etcd.Delete(ctx, "fill", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	status, err := etcd.Status(ctx, cluster.Endpoints()[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := etcd.Compact(ctx, status.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	if _, err := etcd.Defragment(ctx, cluster.Endpoints()[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := etcd.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
		t.Fatal(err)
	}
	_, term, _ = comeBack(t, c, office)
	if err := term.Commit(ctx, grant(1, 1)); err != nil {
		t.Error(err)
	}
}

// TestUsers: who may not in says so, and what to do.
func TestUsers(t *testing.T) {
	cluster := etcdtest.Start(t, 1)
	root := etcdClient(t, cluster.Endpoints()...)
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, user := range []string{"root", "cirrus"} {
		_, err := root.UserAdd(ctx, user, "secret")
		must(err)
		_, err = root.RoleAdd(ctx, user)
		must(err)
		_, err = root.UserGrantRole(ctx, user, user)
		must(err)
	}
	_, err := root.RoleGrantPermission(ctx, "cirrus", "/ours/", clientv3.GetPrefixRangeEnd("/ours/"), clientv3.PermissionType(clientv3.PermReadWrite))
	must(err)
	_, err = root.AuthEnable(ctx)
	must(err)
	for _, test := range []struct {
		name           string
		user, password string
		prefix         string
		says           string
	}{
		{"no user", "", "", "/ours/", "wants a user: give --etcd-user"},
		{"wrong password", "cirrus", "wrong", "/ours/", `refuses the user "cirrus"`},
		{"another's prefix", "cirrus", "secret", "/theirs/", "readwrite permission to the prefix /theirs/"},
		{"all right", "cirrus", "secret", "/ours/", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := open(t, Config{Endpoints: cluster.Endpoints(), Prefix: test.prefix, User: test.user, Password: test.password})
			err := c.Init(ctx, firstBatch())
			if test.says == "" && err != nil || test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), cluster.Endpoints()[0])) {
				t.Errorf("it says: %v", err)
			}
			if err == nil {
				if err := takeOver(t, campaign(t, c)).Commit(ctx, grant(1, 1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	// A member that starts again has forgotten all tokens.
	c := open(t, Config{Endpoints: cluster.Endpoints(), Prefix: "/ours/", User: "cirrus", Password: "secret"})
	term := takeOver(t, campaign(t, c))
	must(cluster.Member(0).Restart())
	if err := term.Confirm(ctx); err != nil {
		t.Error(err)
	}
	if err := term.Commit(ctx, grant(2, 1)); err != nil {
		t.Error(err)
	}
}

// TestTLS: each way of getting it wrong says what is wrong.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, dir, "ca")
	other := newAuthority(t, dir, "other")
	ca.issue(t, dir, "server", "127.0.0.1")
	ca.issue(t, dir, "client", "")
	other.issue(t, dir, "stranger", "")
	file := func(name string) string { return filepath.Join(dir, name) }
	asking, err := (&Config{CAFile: file("ca.pem"), CertFile: file("client.pem"), KeyFile: file("client.key")}).loadTLS()
	if err != nil {
		t.Fatal(err)
	}
	cluster := etcdtest.StartWith(t, etcdtest.Config{Dir: t.TempDir(), TLS: asking, Args: []string{
		"--cert-file", file("server.pem"), "--key-file", file("server.key"), "--client-cert-auth", "--trusted-ca-file", file("ca.pem"),
	}})
	plain := etcdtest.Start(t, 1)
	for _, test := range []struct {
		name string
		cfg  Config
		says string
	}{
		{"all right", Config{CAFile: file("ca.pem"), CertFile: file("client.pem"), KeyFile: file("client.key")}, ""},
		{"no CA", Config{CertFile: file("client.pem"), KeyFile: file("client.key")}, "name who does with --etcd-cacert"},
		{"another CA", Config{CAFile: file("other.pem"), CertFile: file("client.pem"), KeyFile: file("client.key")}, "name who does with --etcd-cacert"},
		{"no certificate", Config{CAFile: file("ca.pem")}, "give the right --etcd-cert and --etcd-key"},
		{"another's certificate", Config{CAFile: file("ca.pem"), CertFile: file("stranger.pem"), KeyFile: file("stranger.key")}, "give the right --etcd-cert and --etcd-key"},
		{"no TLS", Config{Endpoints: []string{strings.Replace(cluster.Endpoints()[0], "https", "http", 1)}}, "write it with https://"},
		{"TLS where there is none", Config{Endpoints: []string{strings.Replace(plain.Endpoints()[0], "http", "https", 1)}}, "write it with http://"},
		{"a name that isn't there", Config{Endpoints: []string{"http://cirrus.invalid:2379"}}, "can't be found"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.cfg.Endpoints == nil {
				test.cfg.Endpoints = cluster.Endpoints()
			}
			test.cfg.Timeout = 500 * time.Millisecond
			err := open(t, test.cfg).Init(context.Background(), firstBatch())
			if test.says == "" && err != nil || test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)) {
				t.Errorf("it says: %v", err)
			}
		})
	}
}

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, dir, name string) *authority {
	t.Helper()
	a := &authority{}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	a.key = writeCert(t, dir, name, a.cert, a.cert, nil)
	return a
}

func (a *authority) issue(t *testing.T, dir, name, ip string) {
	t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	if ip != "" {
		c.IPAddresses = []net.IP{net.ParseIP(ip)}
	}
	writeCert(t, dir, name, c, a.cert, a.key)
}

// writeCert writes a certificate and its key; one without a signer signs itself.
func writeCert(t *testing.T, dir, name string, c, by *x509.Certificate, signer *ecdsa.PrivateKey) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for ext, block := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		var b bytes.Buffer
		if err := pem.Encode(&b, block); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+ext), b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return key
}

// refuser is an etcd that answers every transaction and read with an error.
type refuser struct {
	pb.UnimplementedKVServer
	with codes.Code

	mu    sync.Mutex
	txns  int
	reads int
}

func (r *refuser) Txn(context.Context, *pb.TxnRequest) (*pb.TxnResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.txns++
	return nil, status.Error(r.with, "so it is")
}

func (r *refuser) Range(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads++
	return nil, status.Error(r.with, "so it is")
}

// TestSentOnce: whatever the answer, a transaction is sent once. A read may be
// sent again while etcd is unavailable.
func TestSentOnce(t *testing.T) {
	for _, code := range []codes.Code{codes.Canceled, codes.DeadlineExceeded, codes.Unavailable, codes.Unauthenticated, codes.Internal, codes.Unknown} {
		t.Run(code.String(), func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			r := &refuser{with: code}
			s := grpc.NewServer()
			pb.RegisterKVServer(s, r)
			served := make(chan error)
			go func() { served <- s.Serve(l) }()
			defer func() {
				s.Stop()
				if err := <-served; err != nil {
					t.Error(err)
				}
			}()
			var seen []RoundTrip
			cfg, err := (Config{
				Endpoints: []string{"http://" + l.Addr().String()},
				Timeout:   300 * time.Millisecond,
				Observe:   func(r RoundTrip) { seen = append(seen, r) },
			}).withDefaults()
			if err != nil {
				t.Fatal(err)
			}
			c := newClient(cfg)
			t.Cleanup(func() { _ = c.close() })
			if done, err := c.Txn(context.Background(), Txn{For: ForCommit, Ops: []Op{{Key: "k", Value: []byte("v")}}}); done || err == nil {
				t.Error(done, err)
			}
			if _, err := c.Range(context.Background(), Range{For: ForConfirm, From: "k"}); err == nil {
				t.Error("it read")
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.txns != 1 {
				t.Errorf("it was sent %d times", r.txns)
			}
			if len(seen) != 2 || seen[0].For != ForCommit || seen[1].For != ForConfirm || seen[0].Err == nil || seen[1].Took <= 0 {
				t.Errorf("it was observed as %+v", seen)
			}
			if again := r.reads > 1; again != (code == codes.Unavailable) {
				t.Errorf("it was read %d times", r.reads)
			}
		})
	}
}

// TestTwoClusters: endpoints of two clusters are not one store.
func TestTwoClusters(t *testing.T) {
	a, b := etcdtest.Start(t, 1), etcdtest.Start(t, 1)
	c := open(t, Config{Endpoints: append(a.Endpoints(), b.Endpoints()...)})
	var err error
	for range 100 {
		if err = c.noStore(context.Background()); err != nil {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "two etcd clusters") {
		t.Error(err)
	}
}

func TestConfig(t *testing.T) {
	good := []string{"http://127.0.0.1:2379"}
	for name, cfg := range map[string]Config{
		"no endpoint":      {},
		"no scheme":        {Endpoints: []string{"127.0.0.1:2379"}},
		"a path":           {Endpoints: []string{"http://127.0.0.1:2379/v3"}},
		"two schemes":      {Endpoints: []string{"http://a:1", "https://b:1"}},
		"TLS files, http":  {Endpoints: good, CAFile: "ca.pem"},
		"half a pair":      {Endpoints: []string{"https://a:1"}, CertFile: "c.pem"},
		"no password":      {Endpoints: good, User: "u"},
		"no user":          {Endpoints: good, Password: "p"},
		"short session":    {Endpoints: good, SessionTTL: 100 * time.Millisecond},
		"half a second":    {Endpoints: good, SessionTTL: 2500 * time.Millisecond},
		"short timeout":    {Endpoints: good, Timeout: time.Millisecond},
		"no slash":         {Endpoints: good, Prefix: "/cirrus"},
		"a blank":          {Endpoints: good, Prefix: "/cir rus/"},
		"a slash":          {Endpoints: good, Prefix: "/"},
		"missing CA":       {Endpoints: []string{"https://a:1"}, CAFile: "missing.pem"},
		"no CA in it":      {Endpoints: []string{"https://a:1"}, CAFile: "real_test.go"},
		"no key pair":      {Endpoints: []string{"https://a:1"}, CertFile: "real_test.go", KeyFile: "real_test.go"},
		"no random source": {Endpoints: good, Random: bytes.NewReader(nil)},
	} {
		if c, err := Open(cfg); err == nil {
			t.Errorf("%s: it was taken", name)
			c.Close()
		}
	}
	if _, err := (Config{Endpoints: []string{"https://a:1"}, TLS: &tls.Config{}}).withDefaults(); err != nil {
		t.Error(err)
	}
}
