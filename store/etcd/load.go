package etcd

import (
	"context"
	"errors"
	"fmt"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store"
)

// Load implements store.Store. It reads one state of the store, in pages, and checks
// in that state that the term lasts. So it returns all that earlier terms have written
// or ever will (S10).
func (t *Term) Load(ctx context.Context) (fencing.Snapshot, error) {
	if err := t.enter(ctx); err != nil {
		return fencing.Snapshot{}, err
	}
	defer t.cluster.gate.leave()
	l := loader{keys: t.keys}
	s, err := t.survey(ctx, &l)
	if err != nil {
		return fencing.Snapshot{}, err
	}
	if err := t.admits(s.note); err != nil {
		return fencing.Snapshot{}, err
	}
	if !l.any {
		return fencing.Snapshot{}, errNoStore(t.keys)
	}
	snap, err := l.snapshot()
	if err != nil {
		return fencing.Snapshot{}, fmt.Errorf("%s in etcd: %w", t.keys.prefix, err)
	}
	return snap, nil
}

// admits errs unless the term may work on a store with this note. A Recovery may on
// one whose recovery was interrupted. A TakingBack may on one that was moved away, and
// on no other. Any other term needs a store without a note.
func (t *Term) admits(n store.Note) error {
	switch {
	case t.work == store.TakingBack && n == "":
		return store.NotMoved(t.keys.prefix + " in etcd")
	case t.work == store.TakingBack && n.MovedAway(), t.work == store.Recovery && n.Recovering():
		return nil
	}
	return refusal(n, t.keys)
}

func errNoStore(k keys) error {
	return store.WithHint(
		fmt.Errorf("under %s in etcd there is %w: create one, or give the prefix of one", k.prefix,
			store.ErrNoStore), store.HintCreateInEtcd, "")
}

// loader decodes what a store keeps. It returns its error only once all is read,
// because a term that has ended must be reported first.
type loader struct {
	keys    keys
	decoder store.Decoder
	any     bool
	err     error
}

func (l *loader) expect(keys int) { l.decoder.Grow(keys) }

func (l *loader) take(kv *KeyValue) {
	l.any = true
	if l.err == nil {
		l.err = l.decoder.Add([]byte(kv.Key[len(l.keys.prefix):]), kv.Value)
	}
}

func (l *loader) snapshot() (fencing.Snapshot, error) {
	if l.err != nil {
		return fencing.Snapshot{}, l.err
	}
	return l.decoder.Snapshot()
}

// taker gets the keys of one state of the store, in order, without those that are the
// package's own. expect is called first, with about the number of keys.
type taker interface {
	expect(keys int)
	take(kv *KeyValue)
}

// surveyed is what the package's own keys held in one state.
type surveyed struct {
	ours bool // the term record is this term's
	note store.Note
}

// survey reads one state of the store, and skips foreign keys under the prefix. It errs
// with store.ErrDeposed, and ends the term, if another term had begun in that state.
func (t *Term) survey(ctx context.Context, to taker) (surveyed, error) {
	var s surveyed
	r := Range{For: ForLoad, From: t.keys.meta, To: after(t.keys.note),
		Limit: t.cluster.opts.PageSize}
	for {
		page, err := t.cluster.kv.Range(ctx, r)
		if err != nil {
			return s, fmt.Errorf("the store can't be read: %w", err)
		}
		if r.Revision == 0 {
			to.expect(len(page.Keys) + int(page.More))
		}
		for i := range page.Keys {
			t.sort(&page.Keys[i], &s, to)
		}
		if page.More == 0 {
			break
		}
		if len(page.Keys) == 0 {
			return s, errors.New("the store can't be read: etcd sent an empty page and said that there is more; try again")
		}
		r.Revision = page.Revision // the state of the first page, whatever is written since
		r.From = after(page.Keys[len(page.Keys)-1].Key)
	}
	if !s.ours {
		return s, t.end(errDeposed)
	}
	return s, t.err()
}

func (t *Term) sort(kv *KeyValue, s *surveyed, to taker) {
	switch {
	case kv.Key == t.keys.term:
		s.ours = string(kv.Value) == string(t.guard.Value)
	case kv.Key == t.keys.note:
		s.note = noteOf(kv.Value)
	case store.IsKey(kv.Key[len(t.keys.prefix):]):
		to.take(kv)
	}
}
