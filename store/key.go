package store

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

// The keys, in their order: the meta, the pools by name, the records by pool and node
// ID. Decoder relies on that order: it gets the format before anything else, and a pool
// before its records.
//
//	meta
//	pool/NAME
//	record/NAME 0x00 NODE    the node ID in four bytes, big-endian
//
// 0x00 is below every character of a pool's name, so the records of a pool are adjacent,
// and in the order of the pools.
const (
	metaKey      = "meta"
	poolPrefix   = "pool/"
	recordPrefix = "record/"
	nodeLen      = 5 // the 0x00 and the node ID
)

// MetaKey returns the key of the meta.
func MetaKey() []byte { return []byte(metaKey) }

// PoolKey returns the key of the pool of that name.
func PoolKey(name fencing.PoolName) []byte { return append([]byte(poolPrefix), name...) }

// RecordKey returns the key of the record of the node ID in the pool.
func RecordKey(pool fencing.PoolName, node snowflake.NodeID) []byte {
	return appendRecordKey(nil, pool, node)
}

// RecordsFrom returns the lower bound of the keys of all records.
func RecordsFrom() []byte { return []byte(recordPrefix) }

// RecordsTo returns their upper bound, which is none of them.
func RecordsTo() []byte { return []byte("record0") } // '0' follows '/'

// IsKey reports whether the key is one of a store's, well formed or not. In etcd,
// foreign keys may be among a store's.
func IsKey(key string) bool {
	return key == metaKey || strings.HasPrefix(key, poolPrefix) ||
		strings.HasPrefix(key, recordPrefix)
}

func appendRecordKey(b []byte, pool fencing.PoolName, node snowflake.NodeID) []byte {
	b = append(append(b, recordPrefix...), pool...)
	b = append(b, 0)
	return binary.BigEndian.AppendUint32(b, uint32(node))
}

// parseRecordKey parses what RecordKey has put after the prefix. The pool's name that it
// returns is a part of rest.
func parseRecordKey(rest []byte) (pool []byte, node snowflake.NodeID, ok bool) {
	at := len(rest) - nodeLen
	if at < 0 || rest[at] != 0 {
		return nil, 0, false
	}
	return rest[:at], snowflake.NodeID(binary.BigEndian.Uint32(rest[at+1:])), true
}

// describeKey returns a name of the key for people.
func describeKey(key []byte) string {
	k := string(key)
	if rest, ok := strings.CutPrefix(k, recordPrefix); ok {
		if pool, node, ok := parseRecordKey([]byte(rest)); ok {
			return fmt.Sprintf("the record of node ID %d in pool %q", node, pool)
		}
	}
	if name, ok := strings.CutPrefix(k, poolPrefix); ok {
		return fmt.Sprintf("the pool %q", name)
	}
	if k == metaKey {
		return "the meta"
	}
	return fmt.Sprintf("the key %q", k)
}
