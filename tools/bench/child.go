package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/internal/process"
)

const (
	// startTimeout is how long a server may take to listen: a large store is
	// loaded first.
	startTimeout = time.Minute
	// endTimeout is how long a server may take to end.
	endTimeout = 5 * time.Second
	// stateTimeout is how long a replica may take to lead or to follow.
	stateTimeout = 30 * time.Second
)

// child is a server process.
type child struct {
	process *process.Process
	hello
	// end ends the server by closing its standard input, and returns an error if
	// the server failed.
	end func() error
}

// start starts a server, waits until it listens, and ends it with the measurement.
// args are further flags of its kind.
func (r *measuring) start(kind kind, args ...string) *child {
	args = slices.Concat([]string{serverCommand, "--kind", string(kind)}, args)
	if r.Profiles != "" {
		file := fmt.Sprintf("%s-%s-%d.prof", r.name, kind, len(r.children))
		args = append(args, "--profile", filepath.Join(r.Profiles, file))
	}
	cmd := exec.Command(must(os.Executable()), args...)
	var out process.Log
	cmd.Stdout, cmd.Stderr = &out, r.Log
	in := must(cmd.StdinPipe())
	c := &child{process: must(process.Start(cmd))}
	c.end = sync.OnceValue(func() error { return c.close(in) })
	r.children = append(r.children, c)
	r.onEnd(func() error { return c.end() })
	check(c.process.Await(r.ctx, startTimeout, func() error {
		line, _, ended := strings.Cut(out.String(), "\n")
		if !ended {
			return errors.New("it has not printed its addresses")
		}
		return json.Unmarshal([]byte(line), &c.hello)
	}))
	return c
}

func (c *child) close(in io.Closer) error {
	closed := in.Close()
	err := c.process.Wait(endTimeout)
	c.process.Kill()
	if state := c.process.State(); err == nil && !state.Success() {
		err = fmt.Errorf("a server that was measured failed: %v", state)
	}
	return errors.Join(err, closed)
}

// get reads a page of the control address, whatever its status.
func (c *child) get(ctx context.Context, path string) (string, error) {
	return c.request(ctx, http.MethodGet, path, nil)
}

func (c *child) request(ctx context.Context, method, path string, body []byte) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.Control+path,
		bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	return string(page), err
}

// ask has the server answer a question, as JSON.
func ask[T any](ctx context.Context, c *child, question string, body []byte) (answer T, err error) {
	page, err := c.request(ctx, http.MethodPost, question, body)
	if err == nil {
		if err = json.Unmarshal([]byte(page), &answer); err != nil {
			err = fmt.Errorf("a server that is measured answers %s with %q: %w", question, page,
				err)
		}
	}
	return answer, err
}

func (c *child) usage(ctx context.Context) (usage, error) {
	return ask[usage](ctx, c, askUsage, nil)
}

func (c *child) memory(ctx context.Context) (memory, error) {
	return ask[memory](ctx, c, askMemory, nil)
}

// metric returns a metric of the server: the sum over all series whose labels
// contain the text.
func (c *child) metric(ctx context.Context, name, labels string) (sum float64, err error) {
	page, err := c.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(page) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		of, with, _ := strings.Cut(key, "{")
		if of != name || !strings.Contains(with, labels) {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("the metric %s: %w", key, err)
		}
		sum += v
	}
	return sum, nil
}

// startPair starts a server that does nothing, and a real one on an empty store.
func (r *measuring) startPair() (nothing, real *child) {
	nothing = r.start(doesNothing)
	return nothing, r.startReal(r.store(fencing.NewPool(fencing.DefaultPool)))
}

// startReal starts a server of the store in a directory.
func (r *measuring) startReal(s *localStore) *child { return r.start(onPebble, "--data", s.dir) }

// replicas share a store in etcd. The first one leads.
type replicas []*child

func (rs replicas) leader() *child      { return rs[0] }
func (rs replicas) followers() []*child { return rs[1:] }

// startReplicas starts three replicas of an empty store, and waits until the first
// leads and the others follow it.
func (r *measuring) startReplicas(pool fencing.Pool) (all replicas) {
	prefix, _ := r.storeInEtcd(pool, 0)
	for range 3 {
		all = append(all, r.startReplica(prefix))
		r.awaitState(all.leader(), all[len(all)-1])
	}
	return all
}

func (r *measuring) startReplica(prefix string) *child {
	return r.start(onEtcd, "--etcd-endpoints", strings.Join(r.etcd.endpoints, ","),
		"--etcd-prefix", prefix)
}

// awaitState waits until a replica leads, or follows the one that does.
func (r *measuring) awaitState(leader, c *child) {
	want := "leading"
	if c != leader {
		want = "following http://" + leader.Addr
	}
	check(c.process.Await(r.ctx, stateTimeout, func() error {
		state, err := c.get(r.ctx, "/readyz")
		if state = strings.TrimSpace(state); err == nil && state != want {
			err = fmt.Errorf("a replica is %q, want %q", state, want)
		}
		return err
	}))
}
