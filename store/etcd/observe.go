package etcd

import (
	"context"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cirrus-id/cirrus/store"
)

// Leader implements Election.
func (e *election) Leader() (store.Member, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.leader, e.changed
}

// setLeader takes what was read at a revision. Of two reads that overlap, the
// newer state stays.
func (e *election) setLeader(m store.Member, key string, revision int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if revision < e.seen {
		return
	}
	e.seen = revision
	if m == e.leader && key == e.first {
		return
	}
	e.leader, e.first = m, key
	close(e.changed)
	e.changed = make(chan struct{})
}

// observe keeps leader and first up to date until ctx ends. While etcd can't be
// reached the last leader stays: it may still lead, and be reachable from here.
func (e *election) observe(ctx context.Context) {
	for wait := (backoff{}); ; {
		err := e.follow(ctx, wait.reset)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			e.log.Debug("can't read who leads", "error", err)
			if !wait.pause(ctx) {
				return
			}
		}
	}
}

// follow reads who leads, calls works, and watches the keys. It returns at the
// first error, and with nil when the client moves on to another member, because a
// watch stays with the member that it was opened at. A member that hangs neither
// sends nor closes anything. So follow also reads every rereadEvery, and a read
// that times out makes the client move on.
func (e *election) follow(ctx context.Context, works func()) error {
	member, err := e.client.connect(ctx)
	if err != nil {
		return err
	}
	watching, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	revision, err := e.readLeader(ctx)
	if err != nil {
		return err
	}
	works()
	changes, err := e.client.watch(watching, cancel, member, e.keys.leaderFrom, revision+1)
	if err != nil {
		return err
	}
	tick := time.NewTicker(rereadEvery(e.ttl))
	defer tick.Stop()
	for {
		select {
		case change, ok := <-changes:
			switch {
			case !ok:
				return errors.New("the watch has ended")
			case change.Err() != nil:
				return change.Err()
			case len(change.Events) == 0 || change.Header.Revision <= revision:
				continue
			}
		case <-tick.C:
		case <-member.moved:
			return nil
		}
		if revision, err = e.readLeader(ctx); err != nil {
			return err
		}
	}
}

// readLeader reads who leads: the owner of the oldest key that is bound to an etcd
// lease. Other keys were not put by a replica.
func (e *election) readLeader(ctx context.Context) (revision int64, err error) {
	var leader store.Member
	var key string
	err = e.client.call(ctx, ForElection, func(ctx context.Context, conn *clientv3.Client) error {
		oldestFirst := clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend)
		resp, err := conn.Get(ctx, e.keys.leaderFrom, clientv3.WithPrefix(), oldestFirst)
		if err != nil {
			return err
		}
		for _, kv := range resp.Kvs {
			if kv.Lease != 0 {
				leader, key = decodeMember(kv.Value), string(kv.Key)
				break
			}
		}
		revision = resp.Header.Revision
		return e.client.answeredBy(resp.Header.ClusterId)
	})
	if err == nil {
		e.setLeader(leader, key, revision)
	}
	return revision, err
}
