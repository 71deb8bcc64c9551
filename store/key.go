package store

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

// The keys, in their order: the meta, the pools by name, the records by pool
// and node ID. A decoder relies on that order: it knows the format before it
// reads anything else, and a pool before its records.
//
//	meta
//	pool/NAME
//	record/NAME 0x00 NODE    the node ID in four bytes, big-endian
//
// 0x00 is below every character of a pool's name, so a pool's records stand
// together, in the order of the pools.
const (
	metaKey      = "meta"
	poolPrefix   = "pool/"
	recordPrefix = "record/"
	nodeLen      = 5 // the 0x00 and the node ID
)

// MetaKey is the key of the meta.
func MetaKey() []byte { return []byte(metaKey) }

// PoolKey is the key of the pool of that name.
func PoolKey(name fencing.PoolName) []byte { return append([]byte(poolPrefix), name...) }

// RecordKey is the key of the record of the node ID in the pool.
func RecordKey(pool fencing.PoolName, node snowflake.NodeID) []byte {
	return appendRecordKey(nil, pool, node)
}

// RecordsFrom and RecordsTo bound the keys of all records: from the first, up
// to but without the second.
func RecordsFrom() []byte { return []byte(recordPrefix) }

// RecordsTo is where the records' keys end.
func RecordsTo() []byte { return []byte("record0") } // '0' follows '/'

// IsKey reports whether the key is one of a store's, whether or not it is well
// formed. Others' keys may stand among them where a store shares its place.
func IsKey(key string) bool {
	return key == metaKey || strings.HasPrefix(key, poolPrefix) || strings.HasPrefix(key, recordPrefix)
}

func appendRecordKey(b []byte, pool fencing.PoolName, node snowflake.NodeID) []byte {
	b = append(append(b, recordPrefix...), pool...)
	b = append(b, 0)
	return binary.BigEndian.AppendUint32(b, uint32(node))
}

// parseRecordKey returns what stands after the prefix, as RecordKey wrote it.
// The pool's name is still part of the key's bytes.
func parseRecordKey(rest []byte) (pool []byte, node snowflake.NodeID, ok bool) {
	at := len(rest) - nodeLen
	if at < 0 || rest[at] != 0 {
		return nil, 0, false
	}
	return rest[:at], snowflake.NodeID(binary.BigEndian.Uint32(rest[at+1:])), true
}

// describeKey names a key to a person.
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
