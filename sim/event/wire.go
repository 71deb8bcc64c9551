package event

import (
	"time"

	"github.com/cirrus-id/cirrus/fencing"
)

// The names of the calls that are checked.
const (
	CallAcquire   = "Acquire"
	CallHeartbeat = "Heartbeat"
	CallRelease   = "Release"
	CallRevoke    = "Revoke"
	CallBatch     = "HeartbeatBatch"
	CallList      = "ListLeases"
)

// Process is one of those that run on a machine, one after the other. The zero
// value is none.
type Process struct {
	Machine string
	Number  int
}

// Key names a node ID.
type Key struct {
	Pool string
	Node int
}

// KeyOf is the key of a record.
func KeyOf(r *fencing.Record) Key { return Key{string(r.Pool), int(r.Node)} }

// Call is a request on the wire.
type Call struct {
	Number    int
	Procedure string
	From      Process
	// FromApp: From is an app's process that runs, and not a replica, the operator
	// or a process that is gone.
	FromApp bool
	// Peer: a replica forwards it for the operation Parent, if that is not 0.
	Peer   bool
	Parent int
	*Request
}

// Request is what a request says, as it is read on the wire.
type Request struct {
	Pool     string
	Node     int // −1: none
	Epoch    uint64
	App      string
	Instance string
	Last     *int64
	TTL      time.Duration // 0: the pool's
	Wait     time.Duration // in line
	Items    []*Request    // of a batch
}

// Reply is what an answer says.
type Reply struct {
	Code  string // empty: it is good
	Good  bool
	Lost  bool // LEASE_LOST
	Lease bool // it brings a lease
	Node  int
	Epoch uint64
	// Of a lease.
	Instance       string
	App            string
	TTL            time.Duration
	Server         int64
	Floor, Ceiling int64
	Items          []*Reply // of a batch
}
