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

// ground reads what is under the prefix before a term begins there, and returns
// comparisons that hold for as long as that is unchanged. A transaction that writes a
// term record must make all of them (S10). They compare the term record that was
// read, so that a takeover that arrives late can't depose a term that has begun
// since. If there is none, they compare that there is a Cirrus store's meta, or
// nothing at all. So no foreign key is overwritten, even if it has the name of one of
// ours. ground errs with ErrNotEmpty if there are such keys.
func (c *Cluster) ground(ctx context.Context, why Purpose) ([]Compare, error) {
	term, err := c.read(ctx, why, c.keys.term)
	if err != nil {
		return nil, err
	}
	if term != nil {
		if !isTermRecord(term.Value) {
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
		if !isMeta(meta.Value) {
			return nil, errForeign(c.keys, meta.Key)
		}
		return append(guards, Compare{Key: meta.Key, Value: meta.Value}), nil
	}
	notInside, err := c.notInsideAnother(ctx, why)
	if err != nil {
		return nil, err
	}
	return append(append(guards, c.keys.nothing()...), notInside...), c.nothingHere(ctx, why)
}

// vacant errs unless a store may be made under the prefix: with store.ErrExists if
// there is one, and with ErrNotEmpty if there is something else, or if the prefix
// lies inside another store's.
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
	if _, err := c.notInsideAnother(ctx, why); err != nil {
		return err
	}
	return c.nothingHere(ctx, why)
}

// noteOf returns the note that the value is, which is never "".
func noteOf(value []byte) store.Note {
	return cmp.Or(store.Note(value), "?") // an empty value is a note, too
}

// read reads one key; nil: it doesn't exist.
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

// nothingHere errs with ErrNotEmpty if there are keys under the prefix, except those
// of the election and a term record.
func (c *Cluster) nothingHere(ctx context.Context, why Purpose) error {
	for _, r := range c.keys.foreign() {
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

// notInsideAnother errs with ErrNotEmpty if the prefix lies inside another store's.
// It returns comparisons that hold while it does not.
func (c *Cluster) notInsideAnother(ctx context.Context, why Purpose) (guards []Compare, err error) {
	for _, around := range parents(c.keys.prefix) {
		guard := Compare{Key: keysUnder(around).meta}
		kv, err := c.read(ctx, why, guard.Key)
		if errors.Is(err, rpctypes.ErrPermissionDenied) {
			continue // a user for this prefix alone can neither read nor compare it
		}
		if err != nil {
			return nil, err
		}
		if kv != nil {
			if isMeta(kv.Value) {
				return nil, fmt.Errorf(
					"%s in etcd lies inside %s, where another store has %w: name a prefix that is neither inside nor around another store's", c.keys.prefix, around, ErrNotEmpty)
			}
			guard.Value = kv.Value // a foreign key of that name
		}
		guards = append(guards, guard)
	}
	return guards, nil
}

// parents returns the prefixes around a prefix, the longest first.
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

// foreign returns the ranges of keys under the prefix that are all empty if there is
// no store and no foreign key: all keys but the term record and the election's.
func (k keys) foreign() [][2]string {
	return [][2]string{{k.prefix, k.leaderFrom}, {k.leaderTo, k.term}, {after(k.term), k.end}}
}

// nothing returns comparisons that hold if foreign's ranges are empty.
func (k keys) nothing() []Compare {
	var out []Compare
	for _, r := range k.foreign() {
		out = append(out, Compare{Key: r[0], To: r[1]})
	}
	return out
}

// errForeign returns that the key, which is not this store's, must not be there.
func errForeign(k keys, key string) error {
	if i := strings.LastIndexByte(key, '/') + 1; i > len(k.prefix) &&
		(key[i:] == "meta" || key[i:] == "term") {
		return fmt.Errorf(
			"%s in etcd lies around %s, where another store seems to be: there are %w here: name a prefix that is neither inside nor around another store's", k.prefix, key[:i], ErrNotEmpty)
	}
	return fmt.Errorf("under %s in etcd there are %w, such as %q: name a prefix of the store's own",
		k.prefix, ErrNotEmpty, key)
}

// termDigits is the length of a term record's random part, in hexadecimal digits.
const termDigits = 32

// isTermRecord reports whether the value is one that newTerm returns.
func isTermRecord(value []byte) bool {
	random, by, ok := strings.Cut(string(value), " ")
	return ok && by != "" && len(random) == termDigits &&
		strings.Trim(random, "0123456789abcdef") == ""
}

// isMeta reports whether the value is a store's meta, of whatever format.
func isMeta(value []byte) bool {
	_, err := store.DecodeMeta(value)
	return err == nil || errors.Is(err, store.ErrNewerFormat)
}
