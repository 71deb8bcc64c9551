package fencing

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
	"unicode/utf8"

	"github.com/cirrus-id/cirrus/snowflake"
)

// AppID is what an app calls itself: 1 to 253 bytes of UTF-8. A hint for
// stickiness and for people; it proves nothing.
type AppID string

// Validate says what is wrong with the app ID, if anything.
func (a AppID) Validate() *Refusal {
	switch {
	case len(a) == 0 || len(a) > MaxAppID:
		return invalid("app_id", "it has %d bytes: give 1 to %d, such as the name of the app or pod", len(a), MaxAppID)
	case !utf8.ValidString(string(a)):
		return invalid("app_id", "%q is not UTF-8: give text", string(a))
	}
	return nil
}

// InstanceID identifies one incarnation of an app, and with it the holder of
// a lease: 16 to 64 printable ASCII characters, of which 128 bits are random.
// It is a secret: whoever knows it can keep or release the lease.
type InstanceID string

// Validate says what is wrong with the instance ID, if anything, without
// repeating the secret.
func (i InstanceID) Validate() *Refusal {
	if len(i) < MinInstanceID || len(i) > MaxInstanceID {
		return invalid("instance_id", "it has %d characters: give %d to %d, or none to get one", len(i), MinInstanceID, MaxInstanceID)
	}
	for n, c := range []byte(i) {
		if c < ' ' || c > '~' {
			return invalid("instance_id", "character %d is not printable ASCII: give, for instance, 128 random bits in hex", n+1)
		}
	}
	return nil
}

// Hash is what the server keeps of an instance ID.
func (i InstanceID) Hash() InstanceHash { return sha256.Sum256([]byte(i)) }

// InstanceHash is the SHA-256 of an instance ID.
type InstanceHash [sha256.Size]byte

// String gives the first bytes in hex: enough to tell two apart in a test's
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
	// Wall is the wall clock: what can be set, wrong, or jump. Only server
	// time looks at it (S8).
	Wall snowflake.Millis
}

// Status says whether a record is live.
type Status uint8

// The statuses of a record. A live or revoked record runs out with its
// deadline; an ended one is over.
const (
	Live Status = iota + 1
	Ended
	Revoked
)

// String gives the status in lower case.
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
	// TTL is the lease's own; it stays the same for its life.
	TTL    time.Duration
	Status Status
	// Floor is server time at the grant. Ceiling is the last ms promised:
	// for a live or revoked record what the grant promised (later ones are
	// bounded by mark + TTL), for an ended one the last ever.
	Floor, Ceiling snowflake.Millis
	// Silence is the record's silence note, if it has one (S5).
	Silence Silence
}

// Silence is a note that no heartbeat of a live or revoked record has been
// answered for a while (S5). A start goes on from it (S6). The zero value is no
// note.
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

// Meta is what the store keeps once.
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
	// FirstEpoch is the base of the last start that wrote a mark (S2): all that
	// was granted before that start has epochs below it. In a store that has
	// not been served yet it is as high as its creation can tell, and the first
	// start's base lies above it (S7).
	FirstEpoch Epoch
	// Vouched says that an operator vouches that nobody holds IDs from an
	// earlier store: pools are open at once (S7).
	Vouched bool
	// SuspectFor is the least time that a pool which is not opened must be run
	// before it may grant (S7): 0 to MaxSuspicion.
	SuspectFor time.Duration
	// ID names the store wherever it is moved to; zero in stores of older
	// versions that were not moved yet.
	ID StoreID
}

// StoreID is 16 random bytes that a store is given by whoever creates it.
type StoreID [16]byte

// Snapshot is all that a store holds, as Load returns it.
type Snapshot struct {
	Meta    Meta
	Pools   []Pool
	Records []Record
}

// Batch is one commit: all or nothing, durable when it is acknowledged. No
// key (the meta, a pool's name, a record's pool and node ID) is in it twice.
type Batch struct {
	Meta    *Meta
	Pools   []Pool
	Records []Record
}

// Lease is a promise to its holder, as a grant or a heartbeat is answered.
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
	// DefaultTTL, DefaultQuarantine and DefaultStride are what a store and
	// its pools get that are told nothing else.
	DefaultTTL        = 30 * time.Second
	DefaultQuarantine = 30 * time.Second
	DefaultStride     = 10 * time.Second
	// MinStride is the shortest stride: below it the mark would be written
	// all the time.
	MinStride = 100 * time.Millisecond
	// MaxStride is the longest stride: the later a dead app's node ID comes back
	// after a start, and the longer a deposed server may promise.
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
