package etcdsim

import (
	"errors"
	"slices"
	"sync"

	"github.com/cirrus-id/cirrus/store/etcd"
)

// Errors of etcd.
var (
	ErrTooManyOps   = errors.New("too many operations in a transaction")
	ErrDuplicateKey = errors.New("a transaction writes a key twice")
	ErrCompacted    = errors.New("the revision has been compacted")
	ErrFuture       = errors.New("the revision is still to come")
)

// Store is the state of an etcd cluster. The zero value is an empty one. Its methods may
// be called from many goroutines.
type Store struct {
	mu        sync.Mutex
	revision  int64 // of the newest state; 1 for the empty store
	compacted int64 // states of lower revisions are forgotten
	keys      map[string][]version
}

// version is the state of a key from a revision on.
type version struct {
	at      int64
	value   []byte
	created int64 // 0: the key doesn't exist
}

// Txn does a transaction at once.
func (s *Store) Txn(t etcd.Txn) (done bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin()
	if len(t.Ops) > etcd.MaxOps || len(t.If) > etcd.MaxOps {
		return false, ErrTooManyOps
	}
	seen := make(map[string]bool, len(t.Ops))
	for _, op := range t.Ops {
		if seen[op.Key] {
			return false, ErrDuplicateKey
		}
		seen[op.Key] = true
	}
	for _, c := range t.If {
		if !s.holds(c) {
			return false, nil
		}
	}
	s.write(t.Ops)
	return true, nil
}

// begin makes the zero value usable.
func (s *Store) begin() {
	if s.keys == nil {
		s.keys = make(map[string][]version)
		s.revision = 1
	}
}

func (s *Store) holds(c etcd.Compare) bool {
	if c.To != "" {
		return !slices.ContainsFunc(s.between(c.Key, c.To),
			func(key string) bool { return s.at(key, s.revision).created != 0 })
	}
	v := s.at(c.Key, s.revision)
	if c.Value != nil {
		return v.created != 0 && string(v.value) == string(c.Value)
	}
	return v.created == c.CreateRevision
}

// write makes a new state, unless the writes change nothing.
func (s *Store) write(ops []etcd.Op) {
	next := s.revision + 1
	for _, op := range ops {
		old := s.at(op.Key, s.revision)
		v := version{at: next}
		if !op.Delete {
			v.value = append([]byte{}, op.Value...)
			v.created = old.created
			if v.created == 0 {
				v.created = next
			}
		} else if old.created == 0 {
			continue
		}
		s.keys[op.Key] = append(s.keys[op.Key], v)
		s.revision = next
	}
}

// at returns the key in the state of that revision.
func (s *Store) at(key string, revision int64) version {
	versions := s.keys[key]
	for i := len(versions) - 1; i >= 0; i-- {
		if versions[i].at <= revision {
			return versions[i]
		}
	}
	return version{}
}

// Range reads at once.
func (s *Store) Range(r etcd.Range) (etcd.Page, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin()
	page := etcd.Page{Revision: r.Revision}
	if r.Revision == 0 {
		page.Revision = s.revision
	}
	switch {
	case page.Revision < s.compacted:
		return etcd.Page{}, ErrCompacted
	case page.Revision > s.revision:
		return etcd.Page{}, ErrFuture
	}
	for _, key := range s.between(r.From, r.To) {
		v := s.at(key, page.Revision)
		switch {
		case v.created == 0:
		case r.Limit > 0 && len(page.Keys) == r.Limit:
			page.More++
		default:
			page.Keys = append(page.Keys,
				etcd.KeyValue{Key: key, Value: append([]byte{}, v.value...),
					CreateRevision: v.created})
		}
	}
	return page, nil
}

// between returns, in order, the keys that ever existed from from up to, but without,
// to.
func (s *Store) between(from, to string) []string {
	var out []string
	for key := range s.keys {
		if key == from || key > from && key < to {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

// Revision returns the revision of the newest state.
func (s *Store) Revision() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin()
	return s.revision
}

// Compact forgets all states but the newest.
func (s *Store) Compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin()
	s.compacted = s.revision
	for key, versions := range s.keys {
		if last := versions[len(versions)-1]; last.created == 0 {
			delete(s.keys, key)
		} else {
			s.keys[key] = []version{last}
		}
	}
}
