package etcd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// errTwoClusters is in the error of an answer that came from another cluster.
var errTwoClusters = errors.New("two etcd clusters")

// Cluster implements KV.
func (c *client) Cluster() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cluster == 0 {
		return ""
	}
	return strconv.FormatUint(c.cluster, 16)
}

// answeredBy takes the cluster ID of an answer. It errs, so that the answer does
// not count, if an earlier one came from another cluster: the endpoints must not
// lead to two.
func (c *client) answeredBy(cluster uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cluster == 0 {
		c.cluster = cluster
	}
	if c.cluster != cluster {
		return fmt.Errorf("the endpoints %s lead to %w, %x and %x: name those of one",
			c.cfg.endpoints(), errTwoClusters, c.cluster, cluster)
	}
	return nil
}

// askClusters asks the members in unknown which cluster they are of. If two
// replicas used members of different clusters, there would be two stores. A
// member that doesn't answer stays in unknown.
func (c *client) askClusters(ctx context.Context, conn *clientv3.Client) error {
	c.mu.Lock()
	ask := c.unknown
	c.unknown = nil
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, c.askTimeout)
	defer cancel()
	errs := make([]error, len(ask))
	var asking sync.WaitGroup
	for i, endpoint := range ask {
		asking.Go(func() {
			status, err := conn.Status(ctx, endpoint)
			if err != nil {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.unknown = append(c.unknown, endpoint)
				return
			}
			errs[i] = c.answeredBy(status.Header.ClusterId)
		})
	}
	asking.Wait()
	return errors.Join(errs...)
}

// allKnown reports whether every member has answered askClusters. It must not be
// called while askClusters runs.
func (c *client) allKnown() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.unknown) == 0
}

// askRemaining calls askClusters until all members have answered, or ctx ends.
// Nothing waits for it, since a member that is down uses up each timeout.
func (c *client) askRemaining(ctx context.Context) {
	for wait := rereadEvery(c.cfg.SessionTTL); pause(ctx, wait); {
		member, err := c.connect(ctx)
		if err != nil {
			continue
		}
		if c.allKnown() {
			return
		}
		if err := c.askClusters(ctx, member.Client); err != nil {
			c.cfg.Logger.Error("a member of etcd that did not answer before is of another cluster",
				"error", err)
		}
		wait = min(2*wait, askPauseMax)
	}
}
