package etcd

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cirrus-id/cirrus/store"
)

var _ store.Cluster = (*Cluster)(nil)

// Cluster is a store in etcd, as one replica reaches it. Its methods may be
// called from many goroutines.
type Cluster struct {
	kv       KV
	election Election
	opts     Options
	keys     keys
	gate     *gate
	// release ends what Open has made; nil after New.
	release func() error
}

// New makes a cluster of a KV and an election on its Prefix. Most callers want
// Open.
func New(kv KV, election Election, opts Options) (*Cluster, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Cluster{kv: kv, election: election, opts: opts, keys: keysUnder(opts.Prefix), gate: newGate(opts.Wait)}, nil
}

// Campaign implements store.Cluster. A leadership that was lost or resigned is
// gone: the next call campaigns anew.
func (c *Cluster) Campaign(ctx context.Context) (store.Leadership, error) {
	if err := c.gate.open(); err != nil {
		return nil, err
	}
	elected, err := c.election.Campaign(ctx)
	if err != nil {
		return nil, err
	}
	return &leadership{cluster: c, Elected: elected}, nil
}

// Leader implements store.Cluster.
func (c *Cluster) Leader() (store.Member, <-chan struct{}) { return c.election.Leader() }

// Self implements store.Cluster.
func (c *Cluster) Self() store.Member { return c.opts.Self }

// SessionTTL implements store.Cluster.
func (c *Cluster) SessionTTL() time.Duration { return c.opts.SessionTTL }

// ID implements store.Cluster: etcd's cluster ID and the prefix. It is "" until
// etcd has answered once, which it has wherever a leader is known.
func (c *Cluster) ID() string {
	id := c.kv.Cluster()
	if id == "" {
		return ""
	}
	return id + c.opts.Prefix
}

// Close waits for what is under way, and ends the cluster with all of its
// terms; a second Close does nothing. It does not resign.
func (c *Cluster) Close() error {
	if !c.gate.close() {
		return nil
	}
	err := c.election.Close()
	if c.release != nil {
		err = errors.Join(err, c.release())
	}
	return err
}

// leadership implements store.Leadership on an election that was won.
type leadership struct {
	cluster *Cluster
	Elected
}

// TakeOver implements store.Leadership. That the leader's key is still there is
// compared for liveness alone: it keeps a replica that lost an election from
// ending the winner's term. Were it not compared, the two would take turns, and
// still at most one of them could write.
func (l *leadership) TakeOver(ctx context.Context) (store.Term, error) {
	t, done, err := l.cluster.takeOver(ctx, ForTakeOver, Compare{Key: l.Key(), CreateRevision: l.Revision()})
	switch {
	case err != nil:
		return nil, err
	case done:
		return t, nil
	}
	key, err := l.cluster.read(ctx, ForTakeOver, l.Key())
	if err != nil {
		return nil, err
	}
	if key == nil || key.CreateRevision != l.Revision() {
		_ = l.Resign(ctx) // so that Lost is closed
		return nil, errors.New("no term was begun, since the election has been lost meanwhile: campaign again")
	}
	return nil, errOvertaken
}

// errOvertaken is why a takeover was refused. It may have been another try of
// this replica's that landed late.
var errOvertaken = errors.New("no term was begun, since another one has begun meanwhile: try again")

// takeOver writes a term record that nobody wrote before, if what it has found
// under the prefix is still so. After a time-out it is unknown whether, and
// when, it will be there: so nobody may use that term, and the next try writes
// another. Once that has landed, the first can't land any more.
func (c *Cluster) takeOver(ctx context.Context, why Purpose, guards ...Compare) (*Term, bool, error) {
	if err := c.gate.enter(); err != nil {
		return nil, false, err
	}
	defer c.gate.leave()
	found, err := c.ground(ctx, why)
	if err != nil {
		return nil, false, err
	}
	guards = append(found, guards...)
	value, err := c.newTerm()
	if err != nil {
		return nil, false, err
	}
	done, err := c.kv.Txn(ctx, Txn{For: why, If: guards, Ops: []Op{{Key: c.keys.term, Value: value}}})
	if err != nil {
		return nil, false, fmt.Errorf("it is unknown whether another term has begun: %w", err)
	}
	return newTermOf(c, value), done, nil
}

// newTerm is a term record's value: random, and with the replica's name for
// whoever looks at it.
func (c *Cluster) newTerm() ([]byte, error) {
	var random [16]byte
	if _, err := io.ReadFull(c.opts.Random, random[:]); err != nil {
		return nil, fmt.Errorf("no term can be begun without random bits: %w", err)
	}
	return []byte(hex.EncodeToString(random[:]) + " " + c.opts.Self.ID), nil
}
