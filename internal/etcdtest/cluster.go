package etcdtest

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/internal/process"
)

// timeout is how long a member may take to answer, and the members to elect a
// leader.
const timeout = 30 * time.Second

// Config says which cluster to run.
type Config struct {
	// Dir is where the members keep their data. Required.
	Dir string
	// Host is the loopback address of all members; "": 127.0.0.1. New finds free
	// ports on it. They stay free while a member is down if no other program uses
	// the host: see process.OwnHost.
	Host string
	// Members is the number of members, 1 or more; 0: 1.
	Members int
	// Sync has members sync their disks, as etcd does by default. Without it,
	// killing a member loses nothing, but losing power does.
	Sync bool
	// TLS is how this package connects to members that serve clients over https;
	// nil: they use http. Args configure the members' side of it.
	TLS *tls.Config
	// Args are added to each member's command line.
	Args []string
}

// Cluster is a cluster of real members.
type Cluster struct {
	members []*Member
}

// Member is an etcd server. Its Process is the one that was started last; nil
// before the first start.
type Member struct {
	*process.Process
	// Endpoint is the member's URL for clients.
	Endpoint string

	path string
	args []string
	tls  *tls.Config
	log  process.Log // of all its processes
}

// Start starts a cluster on a host of its own, waits until it answers, and kills
// it when the test ends.
func Start(t testing.TB, members int, args ...string) *Cluster {
	t.Helper()
	return StartWith(t, Config{Dir: t.TempDir(), Host: process.OwnHost(), Members: members,
		Args: args})
}

// StartWith is Start with every setting of a Config.
func StartWith(t testing.TB, cfg Config) *Cluster {
	t.Helper()
	c, err := New(cfg)
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Kill()
		if t.Failed() {
			for i, m := range c.members {
				t.Logf("etcd member %d logged:\n%s", i, m.log.String())
			}
		}
	})
	return c
}

// New prepares a cluster and starts nothing.
func New(cfg Config) (*Cluster, error) {
	path, err := Binary()
	if err != nil {
		return nil, err
	}
	cfg.Members = max(cfg.Members, 1)
	cfg.Host = cmp.Or(cfg.Host, "127.0.0.1")
	scheme := "http"
	if cfg.TLS != nil {
		scheme = "https"
	}
	c := &Cluster{}
	var peers []string
	for i := range cfg.Members {
		client, err := process.FreePort(cfg.Host)
		if err != nil {
			return nil, err
		}
		peer, err := process.FreePort(cfg.Host)
		if err != nil {
			return nil, err
		}
		peers = append(peers, fmt.Sprintf("m%d=http://%s:%d", i, cfg.Host, peer))
		c.members = append(c.members, &Member{
			Endpoint: fmt.Sprintf("%s://%s:%d", scheme, cfg.Host, client), path: path, tls: cfg.TLS,
		})
	}
	for i, m := range c.members {
		m.args = cfg.args(i, m.Endpoint, peers)
	}
	return c, nil
}

// args returns the command line of member i.
func (cfg Config) args(i int, client string, peers []string) []string {
	name, peer, _ := strings.Cut(peers[i], "=")
	args := []string{
		"--name", name, "--data-dir", filepath.Join(cfg.Dir, name),
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		"--initial-cluster", strings.Join(peers, ","), "--initial-cluster-token", peers[0],
		"--heartbeat-interval", "50", "--election-timeout", "500", "--log-level", "warn",
	}
	if !cfg.Sync {
		args = append(args, "--unsafe-no-fsync")
	}
	return append(args, cfg.Args...)
}

// Start starts the members that are not running, and waits until all answer.
func (c *Cluster) Start() error {
	for _, m := range c.members {
		if m.Running() {
			continue
		}
		if err := m.Start(); err != nil {
			c.Kill()
			return err
		}
	}
	for _, m := range c.members {
		if err := m.Await(); err != nil {
			c.Kill()
			return err
		}
	}
	return nil
}

// Endpoints returns the URLs of all members for clients.
func (c *Cluster) Endpoints() []string {
	var out []string
	for _, m := range c.members {
		out = append(out, m.Endpoint)
	}
	return out
}

// Member returns member i, counted from 0.
func (c *Cluster) Member(i int) *Member { return c.members[i] }

// Leader waits until a member leads, and returns its number.
func (c *Cluster) Leader() (int, error) {
	for deadline := time.Now().Add(timeout); ; {
		for i, m := range c.members {
			if m.Running() && m.leads() {
				return i, nil
			}
		}
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("no etcd member has led for %v", timeout)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Kill ends all members with SIGKILL and waits until they have ended.
func (c *Cluster) Kill() {
	for _, m := range c.members {
		m.Kill()
	}
}

// Start starts the member on the data that it has, and does not wait until it
// answers.
func (m *Member) Start() error {
	cmd := exec.Command(m.path, m.args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	cmd.Stdout, cmd.Stderr = &m.log, &m.log
	p, err := process.Start(cmd)
	if err != nil {
		return err
	}
	m.Process = p
	return nil
}

// Await waits until the member answers as part of a cluster with a leader.
func (m *Member) Await() error {
	return m.Process.Await(context.Background(), timeout, func() error {
		_, err := m.ask(http.MethodGet, "/health", "")
		return err
	})
}

// Restart kills the member, starts it again on its data, and waits until it
// answers.
func (m *Member) Restart() error {
	m.Kill()
	if err := m.Start(); err != nil {
		return err
	}
	return m.Await()
}

// leads reports whether the member claims to be the leader.
func (m *Member) leads() bool {
	body, err := m.ask(http.MethodPost, "/v3/maintenance/status", "{}")
	var status struct {
		Header struct {
			Member string `json:"member_id"`
		}
		Leader string
	}
	return err == nil && json.Unmarshal(body, &status) == nil && status.Leader != "0" &&
		status.Leader == status.Header.Member
}

func (m *Member) ask(method, path, body string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, m.Endpoint+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		TLSClientConfig: m.tls}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(string(answer))
	}
	return answer, err
}
