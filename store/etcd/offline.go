package etcd

import (
	"cmp"
	"context"
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
	work Work
}

// Offline begins a term for the work; "" stands for one that is a single
// transaction or none. It refuses with ErrLed, and names who it is, while a
// replica leads or waits to.
func (c *Cluster) Offline(ctx context.Context, work Work) (*Offline, error) {
	if err := c.nobodyLeads(ctx); err != nil {
		return nil, err
	}
	t, _, err := c.takeOver(ctx, ForOffline)
	if err != nil {
		return nil, err
	}
	t.resumes = work
	return &Offline{Term: t, work: work}, nil
}

// Init makes a store where there is none. It errs with store.ErrExists where
// there is one, even if it was made at the same moment, and with ErrNotEmpty
// where other keys are in the way. An error that says neither leaves open
// whether the store is there: Init can be called again to find out.
func (c *Cluster) Init(ctx context.Context, b fencing.Batch) error {
	if err := c.noStore(ctx); err != nil {
		return err // and whoever serves it is left in peace
	}
	o, err := c.Offline(ctx, "")
	if err != nil {
		return err
	}
	if _, _, err := o.vacant(ctx); err != nil {
		return err
	}
	return o.Create(ctx, b)
}

// Write writes the batch, however large, and makes it durable; what is in the
// store and not in the batch stays. A batch of more than MaxOps keys is written
// in parts: until the last one the store can be loaded by nobody but the next
// Offline for the same work. For Migration the store must be empty but for what
// an unfinished one left behind; that is deleted first.
func (o *Offline) Write(ctx context.Context, b fencing.Batch) error {
	if err := o.enter(ctx); err != nil {
		return fmt.Errorf("nothing was written: %w", err)
	}
	defer o.cluster.gate.leave()
	ops, err := o.encode(b)
	if err != nil || len(ops) == 0 {
		return err
	}
	begun, leftovers, err := o.prepare(ctx, ops)
	if err != nil {
		return err
	}
	return o.writeAll(ctx, append(leftovers, ops...), begun)
}

// Retire leaves word that the store was migrated to another place: nobody
// serves it here any more.
func (o *Offline) Retire(ctx context.Context, to string) error {
	if err := o.enter(ctx); err != nil {
		return fmt.Errorf("nothing was written: %w", err)
	}
	defer o.cluster.gate.leave()
	return o.send(ctx, []Op{{Key: o.keys.unfinished, Value: []byte(string(moved) + " " + to)}})
}

// prepare looks whether the work may be done here, and says whether it was
// begun before, and what has to be deleted of what it left behind.
func (o *Offline) prepare(ctx context.Context, ops []Op) (begun bool, leftovers []Op, err error) {
	if o.work != Migration {
		s, err := o.survey(ctx, &census{})
		if err == nil && s.unfinished != "" && (o.work == "" || s.unfinished.work() != o.work) {
			err = s.unfinished.refusal(o.keys)
		}
		return s.unfinished != "", nil, err
	}
	begun, left, err := o.vacant(ctx)
	if err != nil {
		return false, nil, err
	}
	wanted := make(map[string]bool, len(ops))
	for _, op := range ops {
		wanted[op.Key] = true
	}
	for _, key := range left {
		if !wanted[key] {
			leftovers = append(leftovers, Op{Key: key, Delete: true})
		}
	}
	return begun, leftovers, nil
}

// writeAll writes the parts one after the other. The unfinished record is there
// from the first to the last of them. It is put and deleted in two different
// ones, since a transaction takes no key twice.
func (o *Offline) writeAll(ctx context.Context, ops []Op, begun bool) error {
	if !begun && len(ops) <= MaxOps {
		return o.send(ctx, ops)
	}
	if !begun {
		ops = append([]Op{{Key: o.keys.unfinished, Value: []byte(string(o.work) + " " + o.cluster.opts.Self.ID)}}, ops...)
	}
	ops = append(ops, Op{Key: o.keys.unfinished, Delete: true})
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

// vacant errs unless the prefix is empty, but for what an unfinished migration
// left behind if that is the work: begun says so, and left is what.
func (o *Offline) vacant(ctx context.Context) (begun bool, left []string, err error) {
	var all census
	s, err := o.survey(ctx, &all)
	switch {
	case err != nil:
		return false, nil, err
	case s.unfinished != "" && o.work == Migration && s.unfinished.work() == o.work:
		return true, all, nil
	case s.unfinished != "":
		return false, nil, s.unfinished.refusal(o.keys)
	case slices.Contains(all, o.keys.meta):
		return false, nil, errExists(o.keys)
	case len(all) > 0:
		return false, nil, fmt.Errorf("under %s in etcd there are %w, such as %q: name a prefix of the store's own", o.keys.prefix, ErrNotEmpty, all[0])
	}
	return false, nil, nil
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
	page, err := c.look(ctx, Range{For: ForOffline, From: c.keys.meta})
	if err == nil && len(page.Keys) > 0 {
		err = errExists(c.keys)
	}
	return err
}

// nobodyLeads errs if a replica leads or waits to: the oldest key leads.
func (c *Cluster) nobodyLeads(ctx context.Context) error {
	page, err := c.look(ctx, Range{For: ForOffline, From: c.keys.leaderFrom, To: c.keys.leaderTo})
	if err != nil || len(page.Keys) == 0 {
		return err
	}
	first := slices.MinFunc(page.Keys, func(a, b KeyValue) int { return cmp.Compare(a.CreateRevision, b.CreateRevision) })
	m := decodeMember(first.Value)
	return fmt.Errorf("the store under %s in etcd is %w: %q at %s leads; stop all %d replicas first (one that was killed counts for another %v)",
		c.keys.prefix, ErrLed, m.ID, m.Address, len(page.Keys), c.opts.SessionTTL)
}

func (c *Cluster) look(ctx context.Context, r Range) (Page, error) {
	if err := c.gate.enter(); err != nil {
		return Page{}, err
	}
	defer c.gate.leave()
	return c.kv.Range(ctx, r)
}
