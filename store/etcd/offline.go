package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store"
)

var _ store.Offline = (*Offline)(nil)

// Offline is a term of a command, begun without an election, while no replica serves
// the store. A replica that takes over begins another term, which ends this one: its
// methods then err with store.ErrDeposed.
type Offline struct {
	*Term
}

// Offline begins a term for the work; "" is for at most one transaction. It errs with
// ErrLed, and names the leader, while a replica leads or campaigns; with
// store.ErrNoStore if there is nothing to recover; and with ErrNotEmpty if there are
// foreign keys.
func (c *Cluster) Offline(ctx context.Context, work store.Work) (*Offline, error) {
	err := c.inside(func() error {
		if err := c.nobodyLeads(ctx); err != nil || work != store.Recovery &&
			work != store.TakingBack {
			return err
		}
		return c.someStore(ctx)
	})
	if err != nil {
		return nil, err
	}
	t, done, err := c.takeOver(ctx, ForOffline)
	switch {
	case err != nil:
		return nil, err
	case !done:
		return nil, errOvertaken
	}
	t.work = work
	return &Offline{t}, nil
}

// Init makes a store. It errs with store.ErrExists if there is one, even if that was
// made at the same moment, and with ErrNotEmpty if there are foreign keys. After any
// other error the store may have been made or not; Init, called again, tells.
func (c *Cluster) Init(ctx context.Context, b fencing.Batch) error {
	// This comes first, so that no term is begun where a store is served or where
	// others have keys.
	if err := c.inside(func() error { return c.vacant(ctx, ForOffline) }); err != nil {
		return err
	}
	o, err := c.Offline(ctx, "")
	if errors.Is(err, errOvertaken) { // perhaps another Init has made the store
		err = cmp.Or(c.inside(func() error { return c.vacant(ctx, ForOffline) }), err)
	}
	if err != nil {
		return err
	}
	return o.Create(ctx, b)
}

// Close closes the cluster that Offline was called on. It does nothing if that is
// closed.
func (o *Offline) Close() error { return o.cluster.Close() }

// Commit implements store.Offline. A batch of more than MaxOps keys is written in
// parts, and the first one puts a note: until the last one, which deletes it, the
// store can be loaded by nobody but the next Offline for the same work, a Recovery
// or TakingBack.
func (o *Offline) Commit(ctx context.Context, b fencing.Batch) error {
	if err := o.enter(ctx); err != nil {
		return fmt.Errorf("nothing was written: %w", err)
	}
	defer o.cluster.gate.leave()
	ops, err := o.encode(b)
	if err != nil || len(ops) == 0 {
		return err
	}
	s, err := o.survey(ctx, &census{})
	if err != nil {
		return err
	}
	if err := o.admits(s.note); err != nil {
		return err
	}
	noted := s.note != ""
	if !noted && len(ops) <= MaxOps {
		return o.send(ctx, ops)
	}
	// The note is put in the first part and deleted in the last, which are two parts
	// if there is more than one: a transaction takes no key twice.
	if !noted {
		ops = append([]Op{o.putNote(store.Recovering(o.cluster.opts.Self.ID))}, ops...)
	}
	return o.sendAll(ctx, append(ops, Op{Key: o.keys.note, Delete: true}))
}

func (o *Offline) putNote(n store.Note) Op { return Op{Key: o.keys.note, Value: []byte(n)} }

// sendAll sends the writes in parts, each after the one before was done.
func (o *Offline) sendAll(ctx context.Context, ops []Op) error {
	for part := range slices.Chunk(ops, MaxOps) {
		if err := o.send(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

func (o *Offline) send(ctx context.Context, ops []Op) error {
	if err := ctx.Err(); err != nil {
		return err // between two parts
	}
	return o.queue.send(context.WithoutCancel(ctx), &commit{ops: ops})
}

// vacantFor errs unless a store may be made under the prefix, or an unfinished
// migration of the same store goes on there. leftover are the keys that it wrote.
func (o *Offline) vacantFor(ctx context.Context, m store.Move) (leftover []string, err error) {
	var all census
	s, err := o.survey(ctx, &all)
	earlier, arriving := s.note.Arriving()
	switch {
	case err != nil:
		return nil, err
	case arriving && m.Continues(earlier):
		return all, nil
	case s.note != "":
		return nil, refusal(s.note, o.keys)
	}
	return nil, o.cluster.vacant(ctx, ForOffline)
}

func errExists(k keys) error {
	return fmt.Errorf("under %s in etcd there is %w: serve it, or name another prefix", k.prefix,
		store.ErrExists)
}

// census is a taker that lists the keys.
type census []string

func (c *census) expect(int)        {}
func (c *census) take(kv *KeyValue) { *c = append(*c, kv.Key) }

// noStore errs with store.ErrExists if there is a store.
func (c *Cluster) noStore(ctx context.Context) error {
	meta, err := c.read(ctx, ForOffline, c.keys.meta)
	switch {
	case err != nil || meta == nil:
		return err
	case !isMeta(meta.Value):
		return errForeign(c.keys, meta.Key)
	}
	return errExists(c.keys)
}

// someStore errs with store.ErrNoStore if there is neither a store nor a part of one.
func (c *Cluster) someStore(ctx context.Context) error {
	for _, key := range []string{c.keys.meta, c.keys.note} {
		if kv, err := c.read(ctx, ForOffline, key); kv != nil || err != nil {
			return err
		}
	}
	return errNoStore(c.keys)
}

// nobodyLeads errs with ErrLed if a replica leads or campaigns. The leader has the
// oldest key.
func (c *Cluster) nobodyLeads(ctx context.Context) error {
	page, err := c.kv.Range(ctx,
		Range{For: ForOffline, From: c.keys.leaderFrom, To: c.keys.leaderTo})
	if err != nil || len(page.Keys) == 0 {
		return err
	}
	first := slices.MinFunc(page.Keys,
		func(a, b KeyValue) int { return cmp.Compare(a.CreateRevision, b.CreateRevision) })
	m := decodeMember(first.Value)
	all := "it"
	if n := len(page.Keys); n > 1 {
		all = fmt.Sprintf("all %d replicas", n)
	}
	return fmt.Errorf(
		"the store under %s in etcd is %w: %q at %s leads; stop %s first (a replica that was killed counts as running for another %v)",
		c.keys.prefix, ErrLed, m.ID, m.Address, all, c.opts.SessionTTL)
}

// inside calls do as a call that Close waits for.
func (c *Cluster) inside(do func() error) error {
	if err := c.gate.enter(); err != nil {
		return err
	}
	defer c.gate.leave()
	return do()
}
