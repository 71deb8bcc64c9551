package storetest

import (
	"math"
	"strings"
	"time"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"
)

// start is the creation time of the tests' stores, in Unix ms.
const start snowflake.Millis = 1_800_000_000_000

// latest is the last point in time that a store may hold.
const latest snowflake.Millis = 1<<49 - 1

// Meta returns the meta of a new store.
func Meta() fencing.Meta {
	return fencing.Meta{
		Mark:       start,
		Stride:     fencing.DefaultStride,
		CreatedAt:  start,
		FirstEpoch: fencing.Epoch(start/1000) << 20,
		Vouched:    true,
	}
}

// Pool returns a pool with the defaults, opened.
func Pool(name fencing.PoolName) fencing.Pool {
	p := fencing.NewPool(name)
	p.Opened = true
	p.CreatedAt = start
	return p
}

// Record returns the live record of a grant with that epoch.
func Record(pool fencing.PoolName, node snowflake.NodeID, epoch fencing.Epoch) fencing.Record {
	return fencing.Record{
		Pool:     pool,
		Node:     node,
		Epoch:    epoch,
		App:      "app",
		Instance: fencing.InstanceID(strings.Repeat("i", fencing.MinInstanceID)).Hash(),
		TTL:      fencing.DefaultTTL,
		Status:   fencing.Live,
		Floor:    start + snowflake.Millis(epoch%1_000_000),
		Ceiling:  start + snowflake.Millis(epoch%1_000_000) + 30_000,
	}
}

// extremeMeta returns a meta with each field at its bound.
func extremeMeta() fencing.Meta {
	return fencing.Meta{Mark: latest, Stride: fencing.MaxDuration, CreatedAt: latest,
		FirstEpoch: math.MaxUint64, SuspectFor: fencing.MaxDuration,
		ID: fencing.StoreID{0: 0xff, 15: 1}}
}

// extremePools returns the largest and the smallest pool, and pools whose names a careless
// key would confuse.
func extremePools() []fencing.Pool {
	most := fencing.Pool{
		Name: fencing.PoolName(strings.Repeat("z", fencing.MaxPoolName)),
		Layout: snowflake.Layout{Origin: 253_402_300_799_999, TimestampBits: 40, NodeBits: 22,
			SequenceBits: 1},
		First:      0,
		Last:       1<<22 - 1,
		TTL:        fencing.MaxDuration,
		MaxTTL:     fencing.MaxDuration,
		Quarantine: fencing.MaxDuration,
		Unsafe:     true,
		Opened:     true,
		CreatedAt:  latest,
		LongestTTL: fencing.MaxDuration,
	}
	least := fencing.Pool{
		Name:   "-",
		Layout: snowflake.Layout{TimestampBits: 32, NodeBits: 1, SequenceBits: 1},
		First:  1,
		Last:   1,
		TTL:    fencing.MinTTL,
		MaxTTL: fencing.MinTTL,
		Unsafe: true,
	}
	// In the order of their names, which is that of Load.
	return []fencing.Pool{least, Pool("a"), Pool("a-"), Pool("a-b"), Pool("a0"), Pool("ab"), most}
}

// extremeRecords returns records in the order of Load, too.
func extremeRecords() []fencing.Record {
	least := fencing.Record{
		Pool: "-", Node: 1, Epoch: 1, App: "\x00", TTL: fencing.MinTTL, Status: fencing.Ended,
		Floor: 0, Ceiling: -1, // released unused, at the beginning of time
	}
	most := fencing.Record{
		Pool: extremePools()[6].Name, Node: 1<<22 - 1, Epoch: math.MaxUint64,
		App: fencing.AppID(strings.Repeat("a", fencing.MaxAppID-4) + "\U0010FFFF"),
		TTL: fencing.MaxDuration, Status: fencing.Revoked, Floor: latest, Ceiling: latest,
	}
	for i := range most.Instance {
		most.Instance[i] = 0xff
	}
	most.Silence = fencing.Silence{Noted: true, Left: -fencing.MaxDuration, Ceiling: latest}
	named := Record("a", 0x2f, 7)
	named.App = "日本語/\n\"pool\"\u202e\t\x7f"
	odd := Record("a-b", 1023, 8)
	odd.TTL = 1234567891 * time.Nanosecond
	odd.Silence = fencing.Silence{Noted: true, Ceiling: odd.Floor - 1}
	return []fencing.Record{
		least,
		Record("a", 0, 1), Record("a", 1, 2), named, Record("a", 255, 3), Record("a", 256, 4),
		Record("a", 1023, 5),
		Record("a-", 0, 6),
		Record("a-b", 0, 6), odd,
		Record("a0", 0, 1), Record("ab", 0, 1),
		most,
	}
}
