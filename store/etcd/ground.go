package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/cirrus-id/cirrus/store"
)

// ground looks at what is under the prefix before a term begins there, and
// returns what holds for as long as that stays so: a term record may be written
// only where all of it is compared (S10). What was compared is then either the
// term record that was read, so that a takeover that lands late can't depose a
// term that has begun since; or, where there is none, that a Cirrus store's meta
// or nothing at all is here. So no key of anybody else's is overwritten, even if
// it is named like one of ours. It errs with ErrNotEmpty where such keys are.
func (c *Cluster) ground(ctx context.Context, why Purpose) ([]Compare, error) {
	term, err := c.read(ctx, why, c.keys.term)
	if err != nil {
		return nil, err
	}
	if term != nil {
		if !ofTerm(term.Value) {
			return nil, errForeign(c.keys, term.Key)
		}
		return []Compare{{Key: term.Key, Value: term.Value}}, nil
	}
	guards := []Compare{{Key: c.keys.term}}
	meta, err := c.read(ctx, why, c.keys.meta)
	if err != nil {
		return nil, err
	}
	if meta != nil { // a store whose term record was deleted
		if !ofMeta(meta.Value) {
			return nil, errForeign(c.keys, meta.Key)
		}
		return append(guards, Compare{Key: meta.Key, Value: meta.Value}), nil
	}
	alone, err := c.alone(ctx, why)
	if err != nil {
		return nil, err
	}
	return append(append(guards, c.keys.nothing()...), alone...), c.nothingHere(ctx, why)
}

// vacant errs unless a store may be made under the prefix: with store.ErrExists
// where there is one, and with ErrNotEmpty where there is something else, or
// where another store is around.
func (c *Cluster) vacant(ctx context.Context, why Purpose) error {
	if err := c.noStore(ctx); err != nil {
		return err
	}
	note, err := c.read(ctx, why, c.keys.note)
	if err != nil {
		return err
	}
	if note != nil {
		return refusal(noteOf(note.Value), c.keys)
	}
	if _, err := c.alone(ctx, why); err != nil {
		return err
	}
	return c.nothingHere(ctx, why)
}

// noteOf is the note that the value says, which is never none.
func noteOf(value []byte) store.Note {
	return cmp.Or(store.Note(value), "?") // it is there all the same
}

// read reads one key; nil: it isn't there.
func (c *Cluster) read(ctx context.Context, why Purpose, key string) (*KeyValue, error) {
	page, err := c.kv.Range(ctx, Range{For: why, From: key})
	if err != nil {
		return nil, fmt.Errorf("the store can't be read: %w", err)
	}
	if len(page.Keys) == 0 {
		return nil, nil
	}
	return &page.Keys[0], nil
}

// nothingHere errs with ErrNotEmpty if there are keys under the prefix, but for
// those of the election and a term record.
func (c *Cluster) nothingHere(ctx context.Context, why Purpose) error {
	for _, r := range c.keys.strange() {
		page, err := c.kv.Range(ctx, Range{For: why, From: r[0], To: r[1], Limit: 1})
		if err != nil {
			return fmt.Errorf("the store can't be read: %w", err)
		}
		if len(page.Keys) > 0 {
			return errForeign(c.keys, page.Keys[0].Key)
		}
	}
	return nil
}

// alone errs with ErrNotEmpty if the prefix lies inside another store's, and
// returns what holds while it doesn't.
func (c *Cluster) alone(ctx context.Context, why Purpose) (guards []Compare, err error) {
	for _, around := range parents(c.keys.prefix) {
		guard := Compare{Key: keysUnder(around).meta}
		kv, err := c.read(ctx, why, guard.Key)
		if errors.Is(err, rpctypes.ErrPermissionDenied) {
			continue // a user for this prefix alone can't look, nor compare
		}
		if err != nil {
			return nil, err
		}
		if kv != nil {
			if ofMeta(kv.Value) {
				return nil, fmt.Errorf("%s in etcd lies inside %s, where another store has %w: name a prefix that is neither inside nor around another store's", c.keys.prefix, around, ErrNotEmpty)
			}
			guard.Value = kv.Value // somebody else's key of that name
		}
		guards = append(guards, guard)
	}
	return guards, nil
}

// parents are the prefixes around a prefix, the longest first.
func parents(prefix string) []string {
	var out []string
	for {
		i := strings.LastIndexByte(prefix[:len(prefix)-1], '/')
		if i < 1 { // a single slash is no prefix for a store
			return out
		}
		prefix = prefix[:i+1]
		out = append(out, prefix)
	}
}

// strange are the ranges of keys under the prefix that have no key in them where
// there is no store, but at most a term record and the election's.
func (k keys) strange() [][2]string {
	return [][2]string{{k.prefix, k.leaderFrom}, {k.leaderTo, k.term}, {after(k.term), k.end}}
}

// nothing holds where strange's ranges are empty.
func (k keys) nothing() []Compare {
	var out []Compare
	for _, r := range k.strange() {
		out = append(out, Compare{Key: r[0], To: r[1]})
	}
	return out
}

// errForeign says that a key is in the way that is not the store's.
func errForeign(k keys, key string) error {
	if i := strings.LastIndexByte(key, '/') + 1; i > len(k.prefix) && (key[i:] == "meta" || key[i:] == "term") {
		return fmt.Errorf("%s in etcd lies around %s, where another store seems to be: there are %w here: name a prefix that is neither inside nor around another store's", k.prefix, key[:i], ErrNotEmpty)
	}
	return fmt.Errorf("under %s in etcd there are %w, such as %q: name a prefix of the store's own", k.prefix, ErrNotEmpty, key)
}

// termDigits is how long the random part of a term record is, in hexadecimal digits.
const termDigits = 32

// ofTerm reports whether the value is one that newTerm makes.
func ofTerm(value []byte) bool {
	random, by, ok := strings.Cut(string(value), " ")
	return ok && by != "" && len(random) == termDigits && strings.Trim(random, "0123456789abcdef") == ""
}

// ofMeta reports whether the value is that of a store's meta, of whatever format.
func ofMeta(value []byte) bool {
	_, err := store.DecodeMeta(value)
	return err == nil || errors.Is(err, store.ErrNewerFormat)
}
