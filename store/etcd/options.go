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
	// DefaultPrefix is what a store's keys begin with.
	DefaultPrefix = "/cirrus/"
	// DefaultSessionTTL is how long the other replicas wait for a silent leader.
	DefaultSessionTTL = 5 * time.Second
	// MaxOps is the maximum number of writes in a transaction, without the
	// comparisons: etcd's own default limit.
	MaxOps = 128
	// pageSize keeps an answer to some 2 MB, which etcd sends within a few
	// hundredths of a second.
	pageSize = 10_000
)

// Options are the settings of New.
type Options struct {
	// Prefix is what all the store's keys begin with; it ends with a slash.
	// "": DefaultPrefix.
	Prefix string
	// Self is this replica. Required; no other process may ever have its ID.
	Self store.Member
	// SessionTTL is what Cluster.SessionTTL returns; 0: DefaultSessionTTL.
	SessionTTL time.Duration
	// Random is the source of term records; nil: crypto/rand.
	Random io.Reader
	// Wait blocks until the channel is closed; nil: it receives from the channel. A
	// Cluster blocks nowhere else, outside the KV and the Election, so a simulator
	// can schedule it.
	Wait func(<-chan struct{})
	// PageSize is how many keys Load reads in one request; 0: 10,000.
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

// checkPrefix requires a slash at the end, so that no prefix is the beginning of
// another one: a store under /cirrus would read the keys of /cirrus2.
func checkPrefix(prefix string) error {
	if strings.Contains(prefix, "//") {
		return fmt.Errorf("the prefix %q has two slashes in a row: take one, such as in %s", prefix,
			DefaultPrefix)
	}
	if len(prefix) < 2 || !strings.HasSuffix(prefix, "/") ||
		strings.ContainsFunc(prefix, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf(
			"the prefix %q is none for a store: take printable ASCII characters with a slash at the end, such as %s", prefix, DefaultPrefix)
	}
	return nil
}

// keys are the keys under a prefix that the package itself uses, and bounds of
// ranges.
type keys struct {
	prefix, end          string
	term                 string
	note                 string
	leader               string // without the slash that precedes a session's part
	leaderFrom, leaderTo string
	meta                 string
}

func keysUnder(prefix string) keys {
	k := keys{
		prefix: prefix, end: endOf(prefix),
		term:   prefix + "term",
		note:   prefix + string(store.NoteKey()),
		leader: prefix + "leader",
		meta:   prefix + string(store.MetaKey()),
	}
	k.leaderFrom = k.leader + "/"
	k.leaderTo = endOf(k.leaderFrom)
	return k
}
