package etcd

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/internal/etcdtest"
)

// cheapPasswords makes etcd check passwords fast.
var cheapPasswords = []string{"--bcrypt-cost", "4"}

// TestTokens: no term ends when a token expires, as etcd's JWTs do after five minutes by
// default, or when users are changed.
func TestTokens(t *testing.T) {
	const ttl = time.Second
	private, public := rsaKeys(t)
	cluster := etcdtest.Start(t, 1, append(cheapPasswords,
		"--auth-token",
		fmt.Sprintf("jwt,sign-method=RS256,priv-key=%s,pub-key=%s,ttl=%v", private, public,
			ttl))...)
	ctx := context.Background()
	root := etcdClient(t, cluster.Endpoints()...)
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(root.UserAdd(ctx, "root", "secret"))
	must(root.RoleAdd(ctx, "root"))
	must(root.UserGrantRole(ctx, "root", "root"))
	must(root.AuthEnable(ctx))
	c := open(t, Config{Endpoints: cluster.Endpoints(), User: "root", Password: "secret"})
	o := campaign(t, c)
	term := takeOver(t, o)
	if err := term.Create(ctx, firstBatch()); err != nil {
		t.Fatal(err)
	}
	admin, err := clientv3.New(clientv3.Config{Endpoints: cluster.Endpoints(),
		Username: "root", Password: "secret"})
	must(nil, err)
	defer admin.Close()
	commits := 0
	for start := time.Now(); time.Since(start) < 3*ttl; commits++ {
		if commits%10 == 5 {
			must(admin.UserAdd(ctx, fmt.Sprint("user", commits), "secret"))
		}
		if err := term.Commit(ctx, grant(1, fencing.Epoch(commits+1))); err != nil {
			t.Fatalf("after %v and %d commits: %v", time.Since(start), commits, err)
		}
	}
	if isClosed(o.Lost()) {
		t.Error("Lost is closed, want the replica to stay elected")
	}
	t.Logf("%d commits", commits)
}

// rsaKeys returns files with a public and a private key.
func rsaKeys(t *testing.T) (private, public string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	half, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, bytes []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}),
			0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("private.pem", "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)),
		write("public.pem", "PUBLIC KEY", half)
}

// TestUsers: if etcd refuses the user, the error says so, and what to do.
func TestUsers(t *testing.T) {
	cluster := etcdtest.Start(t, 1, cheapPasswords...)
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
	_, err := root.RoleGrantPermission(ctx, "cirrus", "/ours/",
		clientv3.GetPrefixRangeEnd("/ours/"), clientv3.PermissionType(clientv3.PermReadWrite))
	must(err)
	_, err = root.AuthEnable(ctx)
	must(err)
	for _, test := range []struct {
		name           string
		user, password string
		prefix         string
		says           string
	}{
		{"no user", "", "", "/ours/", "wants a user: give one"},
		{"wrong password", "cirrus", "wrong", "/ours/", `refuses the user "cirrus"`},
		{"another's prefix", "cirrus", "secret", "/theirs/", "readwrite permission to the prefix /theirs/"},
		{"all right", "cirrus", "secret", "/ours/", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := open(t, Config{Endpoints: cluster.Endpoints(), Prefix: test.prefix,
				User: test.user, Password: test.password})
			err := c.Init(ctx, firstBatch())
			if test.says == "" && err != nil || test.says != "" &&
				(err == nil || !strings.Contains(err.Error(), test.says) ||
					!strings.Contains(err.Error(), cluster.Endpoints()[0])) {
				t.Errorf("Init: %v, want an error with %q", err, test.says)
			}
			if err == nil {
				if err := takeOver(t, campaign(t, c)).Commit(ctx, grant(1, 1)); err != nil {
					t.Errorf("Commit: %v", err)
				}
			}
		})
	}
	// A member that restarts has forgotten all tokens.
	c := open(t, Config{Endpoints: cluster.Endpoints(), Prefix: "/ours/",
		User: "cirrus", Password: "secret"})
	term := takeOver(t, campaign(t, c))
	must(cluster.Member(0).Restart())
	if err := term.Confirm(ctx); err != nil {
		t.Errorf("Confirm: %v", err)
	}
	if err := term.Commit(ctx, grant(2, 1)); err != nil {
		t.Errorf("Commit: %v", err)
	}
}

// TestTLS: each wrong setting has an error that says what is wrong.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, dir, "ca")
	other := newAuthority(t, dir, "other")
	ca.issue(t, dir, "server", "127.0.0.1")
	ca.issue(t, dir, "client", "")
	other.issue(t, dir, "unknown", "")
	file := func(name string) string { return filepath.Join(dir, name) }
	asking, err := (&Config{CAFile: file("ca.pem"), CertFile: file("client.pem"),
		KeyFile: file("client.key")}).loadTLS()
	if err != nil {
		t.Fatal(err)
	}
	cluster := etcdtest.StartWith(t, etcdtest.Config{Dir: t.TempDir(), TLS: asking, Args: []string{
		"--cert-file", file("server.pem"), "--key-file", file("server.key"), "--client-cert-auth",
		"--trusted-ca-file", file("ca.pem"),
	}})
	plain := etcdtest.Start(t, 1)
	for _, test := range []struct {
		name string
		cfg  Config
		says string
	}{
		{"all right", Config{CAFile: file("ca.pem"), CertFile: file("client.pem"), KeyFile: file("client.key")}, ""},
		{"no CA", Config{CertFile: file("client.pem"), KeyFile: file("client.key")}, "give that authority's certificates"},
		{"another CA", Config{CAFile: file("other.pem"), CertFile: file("client.pem"), KeyFile: file("client.key")}, "give that authority's certificates"},
		{"no certificate", Config{CAFile: file("ca.pem")}, "give one that etcd's authority has signed, and its key"},
		{"another's certificate", Config{CAFile: file("ca.pem"), CertFile: file("unknown.pem"), KeyFile: file("unknown.key")}, "give one that etcd's authority has signed, and its key"},
		{"no TLS", Config{Endpoints: []string{strings.Replace(cluster.Endpoints()[0], "https", "http", 1)}}, "write it with https://"},
		{"TLS where there is none", Config{Endpoints: []string{strings.Replace(plain.Endpoints()[0], "http", "https", 1)}}, "write it with http://"},
		{"a name that isn't there", Config{Endpoints: []string{"http://cirrus.invalid:2379"}}, "can't be resolved"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.cfg.Endpoints == nil {
				test.cfg.Endpoints = cluster.Endpoints()
			}
			test.cfg.Timeout = 500 * time.Millisecond
			err := open(t, test.cfg).Init(context.Background(), firstBatch())
			if test.says == "" && err != nil || test.says != "" &&
				(err == nil || !strings.Contains(err.Error(), test.says)) {
				t.Errorf("Init: %v, want an error with %q", err, test.says)
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
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour),
	}
	a.key = writeCert(t, dir, name, a.cert, a.cert, nil)
	return a
}

func (a *authority) issue(t *testing.T, dir, name, ip string) {
	t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	if ip != "" {
		c.IPAddresses = []net.IP{net.ParseIP(ip)}
	}
	writeCert(t, dir, name, c, a.cert, a.key)
}

// writeCert writes a certificate and its key. Without a signer it is self-signed.
func writeCert(t *testing.T, dir, name string, c, by *x509.Certificate,
	signer *ecdsa.PrivateKey) *ecdsa.PrivateKey {
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
	for ext, block := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: der},
		".key": {Type: "PRIVATE KEY", Bytes: keyDER}} {
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
		"no CA in it":      {Endpoints: []string{"https://a:1"}, CAFile: "rig_test.go"},
		"no key pair":      {Endpoints: []string{"https://a:1"}, CertFile: "rig_test.go", KeyFile: "rig_test.go"},
		"no random source": {Endpoints: good, Random: bytes.NewReader(nil)},
	} {
		if c, err := Open(cfg); err == nil {
			t.Errorf("%s: nil, want an error", name)
			c.Close()
		}
	}
	if _, err := (Config{Endpoints: []string{"https://a:1"},
		TLS: &tls.Config{}}).withDefaults(); err != nil {
		t.Errorf("withDefaults: %v", err)
	}
}
