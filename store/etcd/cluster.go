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

// Cluster is a store in etcd, as one replica uses it. Its methods may be called from
// many goroutines.
type Cluster struct {
	kv       KV
	election Election
	opts     Options
	keys     keys
	gate     *gate
	// release closes what Open has made; nil after New.
	release func() error
}

// New returns a cluster that uses the KV and the election. Most callers use Open.
func New(kv KV, election Election, opts Options) (*Cluster, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Cluster{kv: kv, election: election, opts: opts, keys: keysUnder(opts.Prefix),
		gate: newGate(opts.Wait)}, nil
}

// Campaign implements store.Cluster. Each call campaigns anew, also after a
// leadership was lost or resigned.
func (c *Cluster) Campaign(ctx context.Context) (store.Leadership, error) {
	if err := c.gate.check(); err != nil {
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

// ID implements store.Cluster. It returns etcd's cluster ID and the prefix, or ""
// before etcd's first answer. Once a leader is known, there was one.
func (c *Cluster) ID() string {
	id := c.kv.Cluster()
	if id == "" {
		return ""
	}
	return id + c.opts.Prefix
}

// Close waits for the calls in progress, and closes the cluster with all of its
// terms. A second Close does nothing. Close does not resign.
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

// leadership is an election won, and the cluster to take over.
type leadership struct {
	cluster *Cluster
	Elected
}

// TakeOver implements store.Leadership. The transaction also compares that the
// leader's key is still there. That serves liveness only: it keeps a replica that
// has lost the election from ending the winner's term. Without it the two would end
// each other's terms in turns, and still at most one of them could write.
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
		return nil, errors.New(
			"no term was begun, since the election has been lost meanwhile: campaign again")
	}
	return nil, errOvertaken
}

// errOvertaken is why a takeover was refused. The other term may be of an earlier
// attempt of this replica, which arrived late.
var errOvertaken = errors.New("no term was begun, since another one has begun meanwhile: try again")

// takeOver writes a term record that nobody wrote before, if what it has read under
// the prefix is unchanged and the guards hold; the bool reports whether they did.
// After an error it is unknown whether the record is there or will be. So that term
// must not be used, and the next attempt writes another value. Once that one is
// written, the first can't be written any more.
func (c *Cluster) takeOver(ctx context.Context, why Purpose, guards ...Compare) (*Term, bool,
	error) {
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
	done, err := c.kv.Txn(ctx,
		Txn{For: why, If: guards, Ops: []Op{{Key: c.keys.term, Value: value}}})
	if err != nil {
		return nil, false, fmt.Errorf("it is unknown whether another term has begun: %w", err)
	}
	return newTermOf(c, value), done, nil
}

// newTerm returns a term record's value: random bits, and the replica's ID for
// people.
func (c *Cluster) newTerm() ([]byte, error) {
	var random [16]byte
	if _, err := io.ReadFull(c.opts.Random, random[:]); err != nil {
		return nil, fmt.Errorf("no term can be begun without random bits: %w", err)
	}
	return []byte(hex.EncodeToString(random[:]) + " " + c.opts.Self.ID), nil
}
