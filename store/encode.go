package store

import (
	"cmp"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"

	storev1 "github.com/cirrus-id/cirrus/proto/cirrus/store/v1"
)

// Format is the format of the keys and values that this binary writes, and the newest
// one that it reads.
const Format = 2

// Encode calls put with each key and value of the batch, and stops at the first error.
// put must not keep them. Encode errs for what Decoder would refuse, and for a key that
// is in the batch twice; put may have been called before that.
func Encode(b fencing.Batch, put func(key, value []byte) error) error {
	if err := checkTwice(b); err != nil {
		return err
	}
	e := encoder{put: put}
	if b.Meta != nil {
		if err := e.meta(b.Meta); err != nil {
			return err
		}
	}
	for i := range b.Pools {
		if err := e.pool(&b.Pools[i]); err != nil {
			return err
		}
	}
	for i := range b.Records {
		if err := e.record(&b.Records[i]); err != nil {
			return err
		}
	}
	return nil
}

// encoder reuses its buffers for each value, since a batch may hold a million records.
type encoder struct {
	put        func(key, value []byte) error
	key, value []byte
	msg        storev1.StoredRecord
}

func (e *encoder) meta(m *fencing.Meta) error {
	e.key = append(e.key[:0], metaKey...)
	return e.write(checkMeta(m), &storev1.StoredMeta{
		Format:     Format,
		MarkMs:     int64(m.Mark),
		StrideNs:   int64(m.Stride),
		CreatedMs:  int64(m.CreatedAt),
		FirstEpoch: uint64(m.FirstEpoch),
		Vouched:    m.Vouched,

		SuspectForNs: int64(m.SuspectFor),
		StoreId:      storeID(m.ID),
	})
}

func (e *encoder) pool(p *fencing.Pool) error {
	e.key = append(append(e.key[:0], poolPrefix...), p.Name...)
	return e.write(checkPool(p), &storev1.StoredPool{
		Name:          string(p.Name),
		OriginMs:      int64(p.Layout.Origin),
		TimestampBits: uint32(p.Layout.TimestampBits),
		NodeBits:      uint32(p.Layout.NodeBits),
		SequenceBits:  uint32(p.Layout.SequenceBits),
		FirstNode:     uint32(p.First),
		LastNode:      uint32(p.Last),
		TtlNs:         int64(p.TTL),
		MaxTtlNs:      int64(p.MaxTTL),
		QuarantineNs:  int64(p.Quarantine),
		Unsafe:        p.Unsafe,
		Opened:        p.Opened,
		CreatedMs:     int64(p.CreatedAt),
		LongestTtlNs:  int64(p.LongestTTL),
	})
}

// storeID returns nil for no ID, so that the field is left out.
func storeID(id fencing.StoreID) []byte {
	if id == (fencing.StoreID{}) {
		return nil
	}
	return id[:]
}

func (e *encoder) record(r *fencing.Record) error {
	e.key = appendRecordKey(e.key[:0], r.Pool, r.Node)
	m := &e.msg
	m.Epoch = uint64(r.Epoch)
	m.AppId = string(r.App)
	m.InstanceHash = r.Instance[:]
	m.TtlNs = int64(r.TTL)
	m.FloorMs = int64(r.Floor)
	m.CeilingMs = int64(r.Ceiling)
	m.Status = storev1.Status(r.Status)
	m.Silence = nil
	if r.Silence.Noted {
		m.Silence = &storev1.Silence{LeftNs: int64(r.Silence.Left),
			CeilingMs: int64(r.Silence.Ceiling)}
	}
	return e.write(checkRecord(r), m)
}

// write puts the message under e.key, unless the check found something.
func (e *encoder) write(check error, m proto.Message) error {
	if check != nil {
		return fmt.Errorf(
			"nothing was written: %s can't be stored, since %w; this is a bug in Cirrus, report it",
			describeKey(e.key), check)
	}
	var err error
	if e.value, err = (proto.MarshalOptions{}).MarshalAppend(e.value[:0], m); err != nil {
		return fmt.Errorf(
			"nothing was written: %s can't be encoded: %w; this is a bug in Cirrus, report it",
			describeKey(e.key), err)
	}
	return e.put(e.key, e.value)
}

// position is the pool and node ID of a record.
type position struct {
	pool fencing.PoolName
	node snowflake.NodeID
}

func (p position) compare(o position) int {
	return cmp.Or(cmp.Compare(p.pool, o.pool), cmp.Compare(p.node, o.node))
}

// checkTwice errs if a key is in the batch twice: one store would keep the last value,
// another would err.
func checkTwice(b fencing.Batch) error {
	for i := range b.Pools { // there are few
		for j := range i {
			if b.Pools[i].Name == b.Pools[j].Name {
				return twice(PoolKey(b.Pools[i].Name))
			}
		}
	}
	if r, ok := firstTwice(b.Records); ok {
		return twice(RecordKey(r.pool, r.node))
	}
	return nil
}

func twice(key []byte) error {
	return fmt.Errorf(
		"nothing was written: %s is in one batch twice; this is a bug in Cirrus, report it",
		describeKey(key))
}

// firstTwice returns a position that is written twice. It needs no memory as long as
// the records are in order, as they are in a batch of a million.
func firstTwice(records []fencing.Record) (position, bool) {
	var seen map[position]bool
	for i := range records {
		at := positionOf(&records[i])
		if seen == nil && (i == 0 || positionOf(&records[i-1]).compare(at) < 0) {
			continue
		}
		if seen == nil {
			seen = make(map[position]bool, len(records))
			for j := range records[:i] {
				seen[positionOf(&records[j])] = true
			}
		}
		if seen[at] {
			return at, true
		}
		seen[at] = true
	}
	return position{}, false
}

func positionOf(r *fencing.Record) position { return position{r.Pool, r.Node} }
