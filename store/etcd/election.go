package etcd

import (
	"context"
	"encoding/json"

	"github.com/cirrus-id/cirrus/store"
)

// Election chooses one replica at a time, as well as it can: for a while two
// may think that they are chosen. Nothing but liveness may rest on it.
type Election interface {
	// Campaign waits until this replica is chosen, or ctx ends. It rides out
	// what goes wrong meanwhile.
	Campaign(ctx context.Context) (Elected, error)
	// Leader is who is chosen, as store.Cluster has it.
	Leader() (store.Member, <-chan struct{})
	// Close ends it, with what it runs beside its callers.
	Close() error
}

// Elected is an election won.
type Elected interface {
	// Key is there, created at Revision, for as long as nobody else is chosen.
	Key() string
	Revision() int64
	// Lost is closed once another may have been chosen.
	Lost() <-chan struct{}
	// Resign lets another be chosen. Lost is closed when it returns, even if
	// it errs.
	Resign(ctx context.Context) error
}

// member is how a replica stands in the value of its key in the election.
type member struct {
	ID      string `json:"id"`
	Address string `json:"address"`
}

func encodeMember(m store.Member) string {
	b, _ := json.Marshal(member(m)) // two strings
	return string(b)
}

// decodeMember takes what it can't read for a replica without an address.
func decodeMember(value []byte) store.Member {
	var m member
	if json.Unmarshal(value, &m) != nil {
		return store.Member{ID: string(value)}
	}
	return store.Member(m)
}
