package etcdtest

import (
	"bytes"
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
	"sync"
	"testing"
	"time"
)

// patience is how long something may take that should come soon.
const patience = 30 * time.Second

// Config says what cluster to run.
type Config struct {
	// Dir is where the members keep their data. Required.
	Dir string
	// Host is the loopback address of all members; "": 127.0.0.1. The ports are
	// free when New looks; on a host that no other program uses they stay so
	// while a member is down: see OwnHost.
	Host string
	// Members is how many there are, 1 or more; 0: 1.
	Members int
	// Sync has members sync their disks, as etcd does unless it is told not to.
	// Without it nothing is lost by killing a member, only by losing power.
	Sync bool
	// TLS has clients use https, and is how to ask a member then; Args say the
	// rest.
	TLS *tls.Config
	// Args are given to each member, after those that the cluster needs.
	Args []string
}

// Cluster is a cluster of real members.
type Cluster struct {
	cfg     Config
	members []*Member
}

// Member is an etcd server, which may run or not.
type Member struct {
	// Endpoint is its URL for clients.
	Endpoint string

	path string
	args []string
	tls  *tls.Config
	cmd  *exec.Cmd
	gone chan struct{} // closed when cmd has ended
	said *buffer
}

// Start starts a cluster on a host of its own that ends with the test, and waits
// until it answers.
func Start(t testing.TB, members int, args ...string) *Cluster {
	t.Helper()
	return StartWith(t, Config{Dir: t.TempDir(), Host: OwnHost(), Members: members, Args: args})
}

// StartWith is Start with all there is to say.
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
				t.Logf("member %d said:\n%s", i, m.said)
			}
		}
	})
	return c
}

// New prepares a cluster; nothing runs yet.
func New(cfg Config) (*Cluster, error) {
	path, err := Binary()
	if err != nil {
		return nil, err
	}
	cfg.Members = max(cfg.Members, 1)
	cfg.Host = cmp.Or(cfg.Host, "127.0.0.1")
	ports, err := freePorts(cfg.Host, 2*cfg.Members)
	if err != nil {
		return nil, err
	}
	c := &Cluster{cfg: cfg}
	var peers []string
	for i := range cfg.Members {
		peers = append(peers, fmt.Sprintf("m%d=http://%s:%d", i, cfg.Host, ports[2*i+1]))
	}
	scheme := "http"
	if cfg.TLS != nil {
		scheme = "https"
	}
	for i := range cfg.Members {
		_, peer, _ := strings.Cut(peers[i], "=")
		m := &Member{Endpoint: fmt.Sprintf("%s://%s:%d", scheme, cfg.Host, ports[2*i]), path: path, tls: cfg.TLS, said: &buffer{}}
		m.args = []string{
			"--name", fmt.Sprintf("m%d", i), "--data-dir", filepath.Join(cfg.Dir, fmt.Sprintf("m%d", i)),
			"--listen-client-urls", m.Endpoint, "--advertise-client-urls", m.Endpoint,
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
			"--initial-cluster", strings.Join(peers, ","), "--initial-cluster-token", fmt.Sprintf("t%d", ports[0]),
			"--heartbeat-interval", "50", "--election-timeout", "500", "--log-level", "warn",
		}
		if !cfg.Sync {
			m.args = append(m.args, "--unsafe-no-fsync")
		}
		m.args = append(m.args, cfg.Args...)
		c.members = append(c.members, m)
	}
	return c, nil
}

// Start starts the members that don't run, and waits until all answer.
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

// Endpoints are those of all members.
func (c *Cluster) Endpoints() []string {
	var out []string
	for _, m := range c.members {
		out = append(out, m.Endpoint)
	}
	return out
}

// Member returns the member of that number, from 0.
func (c *Cluster) Member(i int) *Member { return c.members[i] }

// Leader returns the number of the member that the others follow.
func (c *Cluster) Leader() (int, error) {
	for deadline := time.Now().Add(patience); ; {
		for i, m := range c.members {
			if m.Running() && m.leads() {
				return i, nil
			}
		}
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("no member has led for %v", patience)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Kill ends all members at once.
func (c *Cluster) Kill() {
	for _, m := range c.members {
		m.Kill()
	}
}

// Running says whether the member was started, and has not ended since.
func (m *Member) Running() bool {
	if m.cmd == nil {
		return false
	}
	select {
	case <-m.gone:
		return false
	default:
		return true
	}
}

// Start starts the member, with the data it has. It does not wait for it.
func (m *Member) Start() error {
	cmd := exec.Command(m.path, m.args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	cmd.Stdout, cmd.Stderr = m.said, m.said
	if err := StartForLife(cmd); err != nil {
		return err
	}
	gone := make(chan struct{})
	m.cmd, m.gone = cmd, gone
	go func() {
		_ = cmd.Wait() // how it ended, said tells
		close(gone)
	}()
	return nil
}

// Await waits until the member answers as part of a cluster with a leader.
func (m *Member) Await() error {
	for deadline := time.Now().Add(patience); ; {
		select {
		case <-m.gone:
			return fmt.Errorf("etcd has ended: %s", m.said)
		case <-time.After(5 * time.Millisecond):
		}
		err := m.healthy()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("etcd at %s is not well after %v: %w\n%s", m.Endpoint, patience, err, m.said)
		}
	}
}

func (m *Member) healthy() error {
	_, err := m.ask(http.MethodGet, "/health", "")
	return err
}

// leads says whether the member takes itself for the leader.
func (m *Member) leads() bool {
	body, err := m.ask(http.MethodPost, "/v3/maintenance/status", "{}")
	var status struct {
		Header struct {
			Member string `json:"member_id"`
		}
		Leader string
	}
	return err == nil && json.Unmarshal(body, &status) == nil && status.Leader != "0" && status.Leader == status.Header.Member
}

func (m *Member) ask(method, path, body string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, m.Endpoint+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: m.tls}}
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

// Kill ends the member with SIGKILL and waits until it is gone. One that does
// not run stays as it is.
func (m *Member) Kill() {
	if m.cmd == nil {
		return
	}
	_ = m.cmd.Process.Kill() // it may be gone already
	<-m.gone
}

// Restart kills the member and starts it again from its disk; it returns when
// it answers.
func (m *Member) Restart() error {
	m.Kill()
	if err := m.Start(); err != nil {
		return err
	}
	return m.Await()
}

// buffer collects what a member says.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
