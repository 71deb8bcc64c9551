package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/cirrus-id/cirrus/internal/etcdtest"
)

// size is the number of etcd members, and of replicas.
const size = 3

// node is an etcd member or a replica.
type node interface {
	Start() error
	Await() error
	Kill()
	Running() bool
	PID() int
	Done() <-chan struct{}
}

var (
	_ node = (*etcdtest.Member)(nil)
	_ node = (*replica)(nil)
)

// cluster is three etcd members and three replicas.
type cluster struct {
	dir      string
	out      io.Writer
	nodes    map[string]node
	replicas []*replica

	mu     sync.Mutex // held while a node is started or killed
	ending bool       // guarded by mu

	printing sync.Mutex // guards out
}

// supervise runs the nodes until ctx ends.
func supervise(ctx context.Context, o options, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "cirrus-cluster-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c := &cluster{dir: dir, out: out, nodes: map[string]node{}}
	defer c.end()
	if err := c.startAll(ctx, o); err != nil {
		return err
	}
	stop, err := c.listen()
	if err != nil {
		return err
	}
	defer stop()
	c.explain(o)
	<-ctx.Done()
	c.print("\nstopping all six")
	return nil
}

func (c *cluster) startAll(ctx context.Context, o options) error {
	c.print("starting etcd; it is built from source the first time, which takes a minute")
	members, err := etcdtest.New(etcdtest.Config{Dir: c.dir, Members: size, Sync: true})
	if err != nil {
		return err
	}
	for i := range size {
		c.nodes[fmt.Sprintf("etcd-%d", i+1)] = members.Member(i)
	}
	if err := members.Start(); err != nil {
		return err
	}
	store := []string{"--store", "etcd", "--etcd-endpoints", strings.Join(members.Endpoints(), ",")}
	if out, err := exec.CommandContext(ctx, o.cirrus,
		append([]string{"init"}, store...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("creating the store: %w: %s", err, out)
	}
	for i := range size {
		c.addReplica(o, i, store)
	}
	for _, r := range c.replicas {
		if err := r.Start(); err != nil {
			return err
		}
	}
	for _, r := range c.replicas {
		if err := r.Await(); err != nil {
			return err
		}
	}
	for name := range c.nodes {
		c.watch(name)
	}
	return nil
}

func (c *cluster) addReplica(o options, i int, store []string) {
	listen, metrics := fmt.Sprintf("127.0.0.1:%d", o.port+i),
		fmt.Sprintf("127.0.0.1:%d", o.port+10+i)
	name := fmt.Sprintf("replica-%d", i+1)
	r := &replica{
		name: name, path: o.cirrus, url: "http://" + listen, ready: "http://" + metrics + "/readyz",
		args: append([]string{"serve", "--listen", listen, "--metrics-listen", metrics,
			"--advertise", "http://" + listen}, store...),
		log: filepath.Join(c.dir, name+".log"), say: c.print,
	}
	c.nodes[name] = r
	c.replicas = append(c.replicas, r)
}

// explain prints where each node runs, and what to try.
func (c *cluster) explain(o options) {
	var b strings.Builder
	addrs := make([]string, 0, size)
	for i := range size {
		name := fmt.Sprintf("etcd-%d", i+1)
		m := c.nodes[name].(*etcdtest.Member)
		fmt.Fprintf(&b, "%-10s pid %-8d %s\n", name, m.PID(), m.Endpoint)
	}
	for _, r := range c.replicas {
		fmt.Fprintf(&b, "%-10s pid %-8d %s  %s  log in %s\n", r.name, r.PID(), r.url, r.ready,
			r.log)
		addrs = append(addrs, strings.TrimPrefix(r.url, "http://"))
	}
	fmt.Fprintf(&b, `
In another terminal, in this folder, mint IDs while you kill any of the six:
  %s ids -n 100000 --rate 20 --addr %s
Kill one, or freeze it and let it continue:
  kill -9 %d
  kill -STOP %[3]d; kill -CONT %[3]d
Start a killed one again:
  %s
Ctrl-C here stops all six.
`, o.cirrus, strings.Join(addrs, ","), c.replicas[0].PID(), c.command("start", c.replicas[0].name))
	c.print(strings.TrimSuffix(b.String(), "\n"))
}

// command returns the command line that starts or kills a node from another
// terminal.
func (c *cluster) command(what, name string) string {
	return fmt.Sprintf("%s -in %s %s %s", os.Args[0], c.dir, what, name)
}

// watch prints when a node ends that was not stopped by this program. The caller
// holds mu, or no other goroutine runs yet.
func (c *cluster) watch(name string) {
	done, pid := c.nodes[name].Done(), c.nodes[name].PID()
	go func() {
		<-done
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.ending {
			c.print(fmt.Sprintf("%s (pid %d) has ended; start it again with: %s", name, pid,
				c.command("start", name)))
		}
	}()
}

// start starts a node again, and does not wait until it is ready.
func (c *cluster) start(name string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[name]
	switch {
	case c.ending:
		return "", errors.New("the cluster is being stopped")
	case n == nil:
		return "",
			fmt.Errorf(
				"no node is called %q: give one of etcd-1 to etcd-%d and replica-1 to replica-%[2]d", name, size)
	case n.Running():
		return "", fmt.Errorf("%s is running already, as pid %d", name, n.PID())
	}
	if err := n.Start(); err != nil {
		return "", err
	}
	c.watch(name)
	report := fmt.Sprintf("%s is running again, as pid %d", name, n.PID())
	c.print(report)
	return report, nil
}

// kill ends a node with SIGKILL.
func (c *cluster) kill(name string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[name]
	if n == nil || !n.Running() {
		return "", fmt.Errorf("no node called %q is running", name)
	}
	n.Kill()
	return fmt.Sprintf("%s is killed; start it again with: %s", name, c.command("start", name)), nil
}

// end ends all nodes: the replicas first, so that the leader can resign.
func (c *cluster) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending = true
	var all sync.WaitGroup
	for _, r := range c.replicas {
		all.Go(func() {
			if err := r.Stop(stopTimeout); err != nil {
				c.print(fmt.Sprintf("%s was killed: %v", r.name, err))
			}
		})
	}
	all.Wait()
	for _, n := range c.nodes {
		n.Kill()
	}
}

func (c *cluster) print(line string) {
	c.printing.Lock()
	defer c.printing.Unlock()
	fmt.Fprintln(c.out, line) //nolint:errcheck // the terminal may be closed
}
