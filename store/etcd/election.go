package etcd

import (
	"context"
	"encoding/json"

	"github.com/cirrus-id/cirrus/store"
)

// Election chooses one replica at a time, to the best of its knowledge: for a while
// two replicas may both be elected. Nothing but liveness may rest on it.
type Election interface {
	// Campaign waits until this replica is elected, or ctx ends. It retries after
	// any other error.
	Campaign(ctx context.Context) (Elected, error)
	// Leader returns the elected replica, as store.Cluster.Leader does.
	Leader() (store.Member, <-chan struct{})
	// Close ends the election with all its goroutines.
	Close() error
}

// Elected is an election won.
type Elected interface {
	// Key exists, created at Revision, until another replica may be elected.
	Key() string
	Revision() int64
	// Lost is closed once another replica may have been elected.
	Lost() <-chan struct{}
	// Resign lets another replica be elected. Lost is closed when it returns, even
	// if it errs.
	Resign(ctx context.Context) error
}

// member is the value of a replica's key in the election.
type member struct {
	ID      string `json:"id"`
	Address string `json:"address"`
}

func encodeMember(m store.Member) string {
	b, _ := json.Marshal(member(m)) // two strings never fail
	return string(b)
}

// decodeMember decodes such a value. What it can't decode is the ID of a replica
// without an address.
func decodeMember(value []byte) store.Member {
	var m member
	if json.Unmarshal(value, &m) != nil {
		return store.Member{ID: string(value)}
	}
	return store.Member(m)
}
