package etcd

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/cirrus-id/cirrus/store"
)

// DefaultTimeout bounds an attempt to write or read in etcd.
const DefaultTimeout = 2 * time.Second

// Config says where a store is, and describes this replica.
type Config struct {
	// Endpoints are the URLs of etcd's members, https:// or http://, all with
	// the same scheme. At least one.
	Endpoints []string
	// Prefix is what all the store's keys begin with; it ends with a slash. "":
	// DefaultPrefix.
	Prefix string
	// CAFile has the certificates, in PEM, that etcd's are checked against; "": the
	// system's. CertFile and KeyFile are this replica's own; both or neither.
	CAFile, CertFile, KeyFile string
	// TLS, if not nil, is used instead of the three files.
	TLS *tls.Config
	// User and Password, if etcd requires them; both or neither.
	User, Password string
	// Advertise is the base URL at which the other replicas reach this one; "" for a
	// command that doesn't serve.
	Advertise string
	// SessionTTL is how long the other replicas wait for a silent leader, in whole
	// seconds, 1 s or more; 0: DefaultSessionTTL.
	SessionTTL time.Duration
	// Timeout bounds an attempt to write or read, 100 ms or more; 0: DefaultTimeout.
	Timeout time.Duration
	// Logger gets what operators need to know; nil: slog.Default().
	Logger *slog.Logger
	// Random is the source of term records and of the replica's ID; nil:
	// crypto/rand.
	Random io.Reader
	// Observe, if not nil, is called after each round trip, from many goroutines.
	Observe func(RoundTrip)
}

// RoundTrip is a request to etcd and its answer or error. Renewals of sessions and
// watches are not among them.
type RoundTrip struct {
	For  Purpose
	Took time.Duration
	Err  error
}

// Open returns the store in etcd. It doesn't wait until etcd is reachable; Campaign
// does.
func Open(cfg Config) (*Cluster, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	var id [16]byte
	if _, err := io.ReadFull(cfg.Random, id[:]); err != nil {
		return nil, fmt.Errorf("no ID can be made for this replica without random bits: %w", err)
	}
	self := store.Member{ID: hex.EncodeToString(id[:]), Address: cfg.Advertise}
	kv := newClient(cfg)
	elect := newElection(kv, self)
	c, err := New(kv, elect, Options{Prefix: cfg.Prefix, Self: self, SessionTTL: cfg.SessionTTL,
		Random: cfg.Random})
	if err != nil {
		return nil, errors.Join(err, elect.Close(), kv.close())
	}
	c.release = kv.close
	return c, nil
}

func (c Config) withDefaults() (Config, error) {
	if c.Prefix == "" {
		c.Prefix = DefaultPrefix
	}
	if c.SessionTTL == 0 {
		c.SessionTTL = DefaultSessionTTL
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if c.Observe == nil {
		c.Observe = func(RoundTrip) {}
	}
	if err := c.check(); err != nil {
		return c, err
	}
	if c.TLS == nil && strings.HasPrefix(c.Endpoints[0], "https://") {
		var err error
		if c.TLS, err = c.loadTLS(); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (c *Config) check() error {
	if err := checkPrefix(c.Prefix); err != nil {
		return err
	}
	if len(c.Endpoints) == 0 {
		return store.WithHint(
			errors.New(
				"no endpoint of etcd is named: give at least one, such as http://127.0.0.1:2379"),
			store.HintEtcdEndpoints, "")
	}
	scheme := ""
	for _, e := range c.Endpoints {
		u, err := url.Parse(e)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" ||
			u.Path != "" && u.Path != "/" {
			return fmt.Errorf(
				"the endpoint %q is no URL of a member of etcd: write it like https://etcd-1:2379",
				e)
		}
		if scheme != "" && u.Scheme != scheme {
			return fmt.Errorf("the endpoints %s have two schemes: give https:// to all or to none",
				c.endpoints())
		}
		scheme = u.Scheme
	}
	switch {
	case scheme == "http" && (c.CAFile != "" || c.CertFile != "" || c.KeyFile != "" ||
		c.TLS != nil):
		return fmt.Errorf(
			"there are TLS files, but the endpoints %s don't use TLS: write them with https://",
			c.endpoints())
	case (c.CertFile == "") != (c.KeyFile == ""):
		return store.WithHint(
			errors.New("a certificate needs its key: give both files, or neither"),
			store.HintEtcdCertificate, "")
	case (c.User == "") != (c.Password == ""):
		return store.WithHint(errors.New("a user needs a password: give both, or neither"),
			store.HintEtcdUser, "")
	case c.SessionTTL < time.Second || c.SessionTTL%time.Second != 0:
		return fmt.Errorf(
			"a session TTL of %v is none that etcd has: take whole seconds, 1 or more",
			c.SessionTTL)
	case c.Timeout < 100*time.Millisecond:
		return fmt.Errorf(
			"a timeout of %v is too short for an answer of etcd's: take 100ms or more", c.Timeout)
	}
	return nil
}

func (c *Config) loadTLS() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, store.WithHint(
				fmt.Errorf("the certificates of etcd's authority can't be read: %w", err),
				store.HintEtcdCA, "")
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, store.WithHint(
				fmt.Errorf("the file %s has no certificate in PEM: give one of etcd's authority",
					c.CAFile), store.HintEtcdCA, "")
		}
	}
	if c.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, store.WithHint(
				fmt.Errorf("the certificate for etcd or its key can't be used: %w", err),
				store.HintEtcdCertificate, "")
		}
		t.Certificates = []tls.Certificate{cert}
	}
	return t, nil
}

func (c *Config) endpoints() string { return strings.Join(c.Endpoints, ", ") }
