package fencing

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
	"unicode/utf8"

	"github.com/cirrus-id/cirrus/snowflake"
)

// AppID is the name that an app gives itself: 1 to 253 bytes of UTF-8. It helps an
// app to get the same node ID again and people to find it; it proves nothing.
type AppID string

// Validate refuses a malformed app ID.
func (a AppID) Validate() *Refusal {
	switch {
	case len(a) == 0 || len(a) > MaxAppID:
		return invalid("app_id",
			"it has %d bytes: give 1 to %d, such as the name of the app or pod", len(a), MaxAppID)
	case !utf8.ValidString(string(a)):
		return invalid("app_id", "%q is not UTF-8: give text", string(a))
	}
	return nil
}

// InstanceID identifies one incarnation of an app, and with it the holder of
// a lease: 16 to 64 printable ASCII characters, of which 128 bits are random.
// It is a secret: whoever knows it can keep or release the lease.
type InstanceID string

// Validate refuses a malformed instance ID, without repeating the secret.
func (i InstanceID) Validate() *Refusal {
	if len(i) < MinInstanceID || len(i) > MaxInstanceID {
		return invalid("instance_id", "it has %d characters: give %d to %d, or none to get one",
			len(i), MinInstanceID, MaxInstanceID)
	}
	for n, c := range []byte(i) {
		if c < ' ' || c > '~' {
			return invalid("instance_id",
				"character %d is not printable ASCII: give, for instance, 128 random bits in hex",
				n+1)
		}
	}
	return nil
}

// Hash is what the server keeps of an instance ID.
func (i InstanceID) Hash() InstanceHash { return sha256.Sum256([]byte(i)) }

// InstanceHash is the SHA-256 of an instance ID.
type InstanceHash [sha256.Size]byte

// String returns the first bytes in hex: enough to tell two apart in a test's
// transcript, too little to be mistaken for the secret.
func (h InstanceHash) String() string { return hex.EncodeToString(h[:4]) }

// Epoch is the fencing token: it strictly rises over the grants of a pool.
// 0 is no epoch.
type Epoch uint64

// Now is one reading of both clocks of a server.
type Now struct {
	// Steady is the steady clock since an arbitrary start. It never goes
	// back and counts the time that the machine was suspended.
	Steady time.Duration
	// Wall is the wall clock, which may be set, jump or be wrong. Only server time
	// uses it (S8).
	Wall snowflake.Millis
}

// Status says whether a record is live.
type Status uint8

// The statuses of a record. A lease whose record is live or revoked ends at its
// deadline; one whose record is ended has ended before.
const (
	Live Status = iota + 1
	Ended
	Revoked
)

// String returns the status in lower case.
func (s Status) String() string {
	switch s {
	case Live:
		return "live"
	case Ended:
		return "ended"
	case Revoked:
		return "revoked"
	}
	return "unknown"
}

// Record is what the store keeps of a lease, one per node ID ever granted.
type Record struct {
	Pool     PoolName
	Node     snowflake.NodeID
	Epoch    Epoch
	App      AppID
	Instance InstanceHash
	// TTL is the TTL of this lease; it never changes.
	TTL    time.Duration
	Status Status
	// Floor is server time at the grant. Ceiling is the last ms promised. In a live
	// or revoked record, it is what the grant promised, and mark + TTL bounds what
	// was promised later; in an ended record, it is the last ms ever promised.
	Floor, Ceiling snowflake.Millis
	// Silence is the record's silence note, if it has one (S5).
	Silence Silence
}

// Silence is a note that no heartbeat of a live or revoked record has been
// answered for a while (S5). A start counts the lease's deadline from it (S6). The
// zero value is no note.
type Silence struct {
	// Noted says that there is a note.
	Noted bool
	// Left is the time until the lease's deadline when the note was decided
	// on, rounded up to a ms; below 0 once the deadline has passed, but no less
	// than −MaxDuration.
	Left time.Duration
	// Ceiling is the last ms promised under the lease by then.
	Ceiling snowflake.Millis
}

// Meta is what the store keeps once, beside pools and records.
type Meta struct {
	// Mark: no promise has ever been made, by any process, at a server time
	// above it; so no ceiling above Mark + the lease's TTL was ever promised.
	Mark snowflake.Millis
	// Stride is how far ahead the mark was written at most, and for how long a
	// server may promise after a write of it: MinStride to MaxStride, or to
	// MaxDuration in a store of an older version.
	Stride time.Duration
	// CreatedAt is the wall clock when the store was created.
	CreatedAt snowflake.Millis
	// FirstEpoch is the base of the last start that wrote a mark (S2): all epochs
	// granted before that start are below it. In a store that was never served, it
	// comes from the wall clock at the creation, and the first start's base lies
	// above it (S7).
	FirstEpoch Epoch
	// Vouched says that an operator vouches that nobody holds IDs from an
	// earlier store: pools are open at once (S7).
	Vouched bool
	// SuspectFor is the least time that a pool which is not opened must be run
	// before it may grant (S7): 0 to MaxSuspicion.
	SuspectFor time.Duration
	// ID identifies the store wherever it is moved to. It is zero in a store of an
	// older version that was not moved yet.
	ID StoreID
}

// StoreID is 16 random bytes, drawn when the store is created.
type StoreID [16]byte

// Snapshot is everything that a store holds, as Load returns it.
type Snapshot struct {
	Meta    Meta
	Pools   []Pool
	Records []Record
}

// Batch is one commit: it is written wholly or not at all, and durable when it is
// acknowledged. No key (the meta, a pool's name, a record's pool and node ID) occurs
// in it twice.
type Batch struct {
	Meta    *Meta
	Pools   []Pool
	Records []Record
}

// Lease is the promise to a holder: the answer to Acquire or Heartbeat.
type Lease struct {
	Pool  PoolName
	Node  snowflake.NodeID
	Epoch Epoch
	App   AppID
	TTL   time.Duration
	// ServerTime is the server's when it made the promise.
	ServerTime snowflake.Millis
	// Floor and Ceiling bound the timestamps that the holder may put into
	// IDs, both inclusive.
	Floor, Ceiling snowflake.Millis
	Layout         snowflake.Layout
}

// HeartbeatEvery is how often the holder sends heartbeats, before jitter (C3).
func (l Lease) HeartbeatEvery() time.Duration { return l.TTL / 3 }

// Bounds on what a pool and a request may ask for.
const (
	// MinTTL is the shortest TTL.
	MinTTL = time.Second
	// MaxDuration is the longest TTL and quarantine: 30 days.
	MaxDuration = 30 * 24 * time.Hour
	// MaxSuspicion is the longest SuspectFor: 90 days, which is more than the
	// longest TTL, quarantine and stride together.
	MaxSuspicion = 3 * MaxDuration
	// DefaultTTL, DefaultQuarantine and DefaultStride apply to a store and its pools
	// if nothing else is configured.
	DefaultTTL        = 30 * time.Second
	DefaultQuarantine = 30 * time.Second
	DefaultStride     = 10 * time.Second
	// MinStride is the shortest stride: below it the mark would be written
	// all the time.
	MinStride = 100 * time.Millisecond
	// MaxStride is the longest stride. With a longer one, a dead app's node ID would
	// be free later after a start, and a deposed server could promise for longer.
	MaxStride = time.Hour
	// MaxPools is how many pools a store may have.
	MaxPools = 1000
	// MaxPoolName, MaxAppID, MinInstanceID and MaxInstanceID are lengths in
	// bytes.
	MaxPoolName   = 63
	MaxAppID      = 253
	MinInstanceID = 16
	MaxInstanceID = 64
)
