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

// Offline is a term that nobody was elected for: a command's, while no replica
// serves the store. A replica that begins to lead begins another term, and
// thereby ends this one: whatever is done then errs with store.ErrDeposed.
type Offline struct {
	*Term
}

// Offline begins a term for the work; "" stands for one that is a single
// transaction or none. It refuses with ErrLed, and names who it is, while a
// replica leads or waits to; with store.ErrNoStore if there is nothing to
// recover; and with ErrNotEmpty where somebody else's keys are.
func (c *Cluster) Offline(ctx context.Context, work Work) (*Offline, error) {
	err := c.inside(func() error {
		if err := c.nobodyLeads(ctx); err != nil || work != Recovery && work != TakingBack {
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

// Init makes a store where there is none. It errs with store.ErrExists where
// there is one, even if it was made at the same moment, and with ErrNotEmpty
// where other keys are in the way. An error that says neither leaves open
// whether the store is there: Init can be called again to find out.
func (c *Cluster) Init(ctx context.Context, b fencing.Batch) error {
	// Whoever serves a store, and whoever else has keys here, is left in peace.
	if err := c.inside(func() error { return c.vacant(ctx, ForOffline) }); err != nil {
		return err
	}
	o, err := c.Offline(ctx, "")
	if errors.Is(err, errOvertaken) { // by whoever made the store
		err = cmp.Or(c.inside(func() error { return c.vacant(ctx, ForOffline) }), err)
	}
	if err != nil {
		return err
	}
	return o.Create(ctx, b)
}

// Write writes the batch, however large, and makes it durable; what is in the
// store and not in the batch stays. A batch of more than MaxOps keys is written
// in parts: until the last one the store can be loaded by nobody but the next
// Offline for the same work, a Recovery or TakingBack.
func (o *Offline) Write(ctx context.Context, b fencing.Batch) error {
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
	begun := s.note != ""
	if !begun && len(ops) <= MaxOps {
		return o.send(ctx, ops)
	}
	// The note is put and deleted in two different parts, since a transaction
	// takes no key twice.
	if !begun {
		ops = append([]Op{o.put(store.Recovering(o.cluster.opts.Self.ID))}, ops...)
	}
	return o.sendAll(ctx, append(ops, Op{Key: o.keys.note, Delete: true}))
}

func (o *Offline) put(n store.Note) Op { return Op{Key: o.keys.note, Value: []byte(n)} }

// sendAll sends the writes in parts, one after the other.
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

// room errs unless a store may be made under the prefix, or an unfinished
// migration of the same store goes on there: left is what it left behind.
func (o *Offline) room(ctx context.Context, m store.Move) (left []string, err error) {
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
	return fmt.Errorf("under %s in etcd there is %w: serve it, or name another prefix", k.prefix, store.ErrExists)
}

// census lists the keys.
type census []string

func (c *census) expect(int)        {}
func (c *census) take(kv *KeyValue) { *c = append(*c, kv.Key) }

// noStore errs if there is a store already.
func (c *Cluster) noStore(ctx context.Context) error {
	meta, err := c.read(ctx, ForOffline, c.keys.meta)
	switch {
	case err != nil || meta == nil:
		return err
	case !ofMeta(meta.Value):
		return errForeign(c.keys, meta.Key)
	}
	return errExists(c.keys)
}

// someStore errs with store.ErrNoStore unless there is a store, or a part of one.
func (c *Cluster) someStore(ctx context.Context) error {
	for _, key := range []string{c.keys.meta, c.keys.note} {
		if kv, err := c.read(ctx, ForOffline, key); kv != nil || err != nil {
			return err
		}
	}
	return errNoStore(c.keys)
}

// nobodyLeads errs if a replica leads or waits to: the oldest key leads.
func (c *Cluster) nobodyLeads(ctx context.Context) error {
	page, err := c.kv.Range(ctx, Range{For: ForOffline, From: c.keys.leaderFrom, To: c.keys.leaderTo})
	if err != nil || len(page.Keys) == 0 {
		return err
	}
	first := slices.MinFunc(page.Keys, func(a, b KeyValue) int { return cmp.Compare(a.CreateRevision, b.CreateRevision) })
	m := decodeMember(first.Value)
	all := "it"
	if n := len(page.Keys); n > 1 {
		all = fmt.Sprintf("all %d replicas", n)
	}
	return fmt.Errorf("the store under %s in etcd is %w: %q at %s leads; stop %s first (one that was killed counts for another %v)",
		c.keys.prefix, ErrLed, m.ID, m.Address, all, c.opts.SessionTTL)
}

// inside does what needs the cluster open.
func (c *Cluster) inside(do func() error) error {
	if err := c.gate.enter(); err != nil {
		return err
	}
	defer c.gate.leave()
	return do()
}
