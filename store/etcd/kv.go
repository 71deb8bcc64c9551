package etcd

import "context"

// KV is what is asked of etcd: linearizable transactions and reads. The client
// of this package is one, a simulator brings another.
type KV interface {
	// Txn does all the writes, at one revision, if every comparison holds, and
	// nothing otherwise: done tells which. An error means that the writes may
	// have been done, or may still be, however late. It must send the
	// transaction once, and give up on its answer after a bounded time.
	Txn(ctx context.Context, t Txn) (done bool, err error)
	// Range reads keys and values in the order of the keys. It gives up after
	// a bounded time.
	Range(ctx context.Context, r Range) (Page, error)
	// Cluster names the etcd cluster that gave the last answer; "" before the
	// first.
	Cluster() string
}

// Purpose says what a round trip is for, in metrics and messages.
type Purpose string

// The purposes of this package's round trips.
const (
	ForTakeOver Purpose = "takeover"
	ForLoad     Purpose = "load"
	ForCommit   Purpose = "commit"
	ForCreate   Purpose = "create"
	ForConfirm  Purpose = "confirm"
	ForOffline  Purpose = "offline" // looking round before init, recover or migrate
	ForElection Purpose = "election"
)

// Txn is a transaction. No key may be among its writes twice.
type Txn struct {
	For Purpose
	If  []Compare
	Ops []Op
}

// Compare holds or does not. Exactly one of Value, CreateRevision and To is
// compared.
type Compare struct {
	Key string
	// Value, unless nil: the key is there and has this value.
	Value []byte
	// CreateRevision: the key was created at this revision; 0: it isn't there.
	CreateRevision int64
	// To, if not "": none of the keys from Key on up to, but without, To is
	// there. Value and CreateRevision are zero.
	To string
}

// Op is a write.
type Op struct {
	Key    string
	Value  []byte
	Delete bool // and Value is nil
}

// Range is what to read.
type Range struct {
	For Purpose
	// From is the first key; To is where the keys end, and "" stands for From
	// alone.
	From, To string
	// Revision is the state to read; 0: the newest, as it is at some instant
	// between the call and its return.
	Revision int64
	// Limit is how many keys to read at most; 0: all.
	Limit int
}

// Page is what was read.
type Page struct {
	Keys []KeyValue
	// More is how many keys are left after these.
	More int64
	// Revision is the state that was read.
	Revision int64
}

// KeyValue is a key as it stands.
type KeyValue struct {
	Key            string
	Value          []byte
	CreateRevision int64
}

// after is the smallest key above key.
func after(key string) string { return key + "\x00" }

// end is the smallest key above all that begin with prefix.
func end(prefix string) string {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1])
		}
	}
	return "\x00" // etcd's word for no end; no valid prefix needs it
}
