package etcd

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cirrus-id/cirrus/store"
)

const (
	// DefaultPrefix is where a store's keys begin.
	DefaultPrefix = "/cirrus/"
	// DefaultSessionTTL is how long the others wait for a silent leader.
	DefaultSessionTTL = 5 * time.Second
	// MaxOps is how many writes a transaction has at most: etcd's own limit,
	// unless it was told another. The comparison is not among them.
	MaxOps = 128
	// pageSize keeps an answer to some 2 MB, which etcd sends in a few
	// hundredths of a second.
	pageSize = 10_000
)

// Options are what a cluster can be told.
type Options struct {
	// Prefix is what all the store's keys begin with; it ends with a slash.
	// "": DefaultPrefix.
	Prefix string
	// Self is this replica. Required; its ID must not be used again.
	Self store.Member
	// SessionTTL is what Cluster.SessionTTL says; 0: DefaultSessionTTL.
	SessionTTL time.Duration
	// Random is where terms come from; nil: crypto/rand.
	Random io.Reader
	// Wait blocks until the channel is closed. It is the only way in which a
	// Cluster blocks, outside the KV and the Election; nil: it receives from
	// the channel. A simulator brings its own.
	Wait func(<-chan struct{})
	// PageSize is how many keys Load reads at once; 0: 10,000.
	PageSize int
}

func (o Options) withDefaults() (Options, error) {
	if o.Self.ID == "" {
		return o, errors.New("etcd: Options need the Self of this replica, with an ID")
	}
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if err := checkPrefix(o.Prefix); err != nil {
		return o, err
	}
	if o.SessionTTL == 0 {
		o.SessionTTL = DefaultSessionTTL
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Wait == nil {
		o.Wait = func(c <-chan struct{}) { <-c }
	}
	if o.PageSize == 0 {
		o.PageSize = pageSize
	}
	return o, nil
}

// checkPrefix wants a slash at the end, so that no prefix is the beginning of
// another's name: /cirrus would have the keys of /cirrus2 for its own.
func checkPrefix(prefix string) error {
	if strings.Contains(prefix, "//") {
		return fmt.Errorf("the prefix %q has two slashes in a row: take one, such as in %s", prefix, DefaultPrefix)
	}
	if len(prefix) < 2 || !strings.HasSuffix(prefix, "/") || strings.ContainsFunc(prefix, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("the prefix %q is none for a store: take printable ASCII characters with a slash at the end, such as %s", prefix, DefaultPrefix)
	}
	return nil
}

// keys are those that the package itself uses under a prefix.
type keys struct {
	prefix, end          string
	term                 string
	note                 string
	leader               string // without the slash that stands before a session's
	leaderFrom, leaderTo string
	meta                 string
}

func keysUnder(prefix string) keys {
	k := keys{
		prefix: prefix, end: end(prefix),
		term:   prefix + "term",
		note:   prefix + string(store.NoteKey()),
		leader: prefix + "leader",
		meta:   prefix + string(store.MetaKey()),
	}
	k.leaderFrom = k.leader + "/"
	k.leaderTo = end(k.leaderFrom)
	return k
}
