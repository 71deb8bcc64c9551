package etcd

import "context"

// KV is what the package needs of etcd: linearizable transactions and reads. Open
// uses the package's own client; a simulator has another one.
type KV interface {
	// Txn does all the writes, at one revision, if every comparison holds, and
	// none otherwise; done reports which. After an error the writes may have been
	// done, or may still be done at any later time. Txn must send the transaction
	// once, and wait for the answer for a bounded time.
	Txn(ctx context.Context, t Txn) (done bool, err error)
	// Range reads keys and values in the order of the keys. It waits for the answer
	// for a bounded time.
	Range(ctx context.Context, r Range) (Page, error)
	// Cluster returns the ID of the etcd cluster that answers; "" before the first
	// answer.
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
	ForOffline  Purpose = "offline" // the checks before init, recover and migrate
	ForElection Purpose = "election"
)

// Txn is a transaction. No key may be written twice in it.
type Txn struct {
	For Purpose
	If  []Compare
	Ops []Op
}

// Compare is a comparison of a transaction. Exactly one of Value, CreateRevision and
// To is compared.
type Compare struct {
	Key string
	// Value, if not nil: the key exists and has this value.
	Value []byte
	// CreateRevision: the key was created at this revision; 0: it doesn't exist.
	CreateRevision int64
	// To, if not "": no key from Key up to, but without, To exists. Value and
	// CreateRevision are zero.
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
	// From is the first key, and To the end, itself not read; "": only From is
	// read.
	From, To string
	// Revision is the revision whose state is read; 0: the newest one at some
	// instant between the call and its return.
	Revision int64
	// Limit is the maximum number of keys to read; 0: no limit.
	Limit int
}

// Page is the result of a Range.
type Page struct {
	Keys []KeyValue
	// More is the number of keys after these that were not read.
	More int64
	// Revision is the revision whose state was read.
	Revision int64
}

// KeyValue is a key with its value.
type KeyValue struct {
	Key            string
	Value          []byte
	CreateRevision int64
}

// after returns the smallest key above key.
func after(key string) string { return key + "\x00" }

// endOf returns the smallest key above all that begin with prefix.
func endOf(prefix string) string {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1])
		}
	}
	return "\x00" // which means no end to etcd; no valid prefix gets here
}
