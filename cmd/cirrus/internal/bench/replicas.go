package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
)

const (
	// replicaCount is how many replicas share a store, where there are several.
	replicaCount = 3
	// rolesTime is how long it may take until one leads and the others follow.
	rolesTime = 30 * time.Second
	// rolesPause is how often they are asked.
	rolesPause = 10 * time.Millisecond
)

// replicas are some that share a store in etcd, the one that leads first.
type replicas []*child

func (r replicas) leader() *child      { return r[0] }
func (r replicas) followers() []*child { return r[1:] }

func (r replicas) end() error {
	var err error
	for _, c := range r {
		err = errors.Join(err, c.end())
	}
	return err
}

// startReplicas starts replicas of an empty store, and waits until the first
// leads.
func (b *bench) startReplicas(ctx context.Context, name string, pool fencing.Pool) (replicas, error) {
	prefix, _, err := b.etcd.store(ctx, name, pool, 0)
	if err != nil {
		return nil, err
	}
	var all replicas
	for i := range replicaCount {
		c, err := b.startReplica(ctx, prefix, fmt.Sprintf("%s-%d", name, i))
		if err == nil {
			all = append(all, c)
			err = awaitRoles(ctx, all.leader(), c)
		}
		if err != nil {
			return nil, errors.Join(err, all.end())
		}
	}
	return all, nil
}

func (b *bench) startReplica(ctx context.Context, prefix, name string) (*child, error) {
	return b.start(ctx, Replica, name, "--etcd-endpoints", strings.Join(b.Etcd, ","), "--etcd-prefix", prefix)
}

// awaitRoles waits until a replica leads, or follows the one that does.
func awaitRoles(ctx context.Context, leader, c *child) error {
	want := "leading"
	if c != leader {
		want = "following http://" + leader.addr
	}
	ctx, cancel := context.WithTimeout(ctx, rolesTime)
	defer cancel()
	pause := time.NewTicker(rolesPause)
	defer pause.Stop()
	for {
		said, err := c.get(ctx, "/readyz")
		if err == nil && strings.TrimSpace(said) == want {
			return nil
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return fmt.Errorf("a replica is %q and should be %q: %w", strings.TrimSpace(said), want, errors.Join(err, ctx.Err()))
		}
	}
}

// get reads a page beside a replica's metrics, whatever its status.
func (c *child) get(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.metrics+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// metric is a number of a replica's: the sum over all that have the name and
// whose labels have the text in them.
func (c *child) metric(ctx context.Context, name, labels string) (sum float64, err error) {
	page, err := c.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(strings.NewReader(page)); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), " ")
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

// trips is how often a replica has asked something of etcd.
func (c *child) trips(ctx context.Context, operation string) (float64, error) {
	return c.metric(ctx, "cirrus_etcd_round_trip_seconds_count", operation)
}
