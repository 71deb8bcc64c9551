package store

import (
	"cmp"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"

	storev1 "github.com/cirrus-id/cirrus/proto/cirrus/store/v1"
)

// Format is the version of the keys and values that this binary writes, and
// the newest that it reads.
const Format = 2

// Encode hands every key and value of the batch to put, which must not keep
// them, and stops at the first error. It refuses what Decoder would refuse, and
// a key that is in the batch twice; put may then have been called already.
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

// encoder keeps its buffers from one value to the next: a batch may hold a
// million records.
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

// storeID is nil for no ID, so that the field is left out.
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
		m.Silence = &storev1.Silence{LeftNs: int64(r.Silence.Left), CeilingMs: int64(r.Silence.Ceiling)}
	}
	return e.write(checkRecord(r), m)
}

// write puts the message under e.key, unless the check found something.
func (e *encoder) write(check error, m proto.Message) error {
	if check != nil {
		return fmt.Errorf("nothing was written: %s can't be stored, since %w; this is a bug in Cirrus, report it", describeKey(e.key), check)
	}
	var err error
	if e.value, err = (proto.MarshalOptions{}).MarshalAppend(e.value[:0], m); err != nil {
		return fmt.Errorf("nothing was written: %s can't be encoded: %w; this is a bug in Cirrus, report it", describeKey(e.key), err)
	}
	return e.put(e.key, e.value)
}

// slot is where a record stands.
type slot struct {
	pool fencing.PoolName
	node snowflake.NodeID
}

func (s slot) compare(o slot) int {
	return cmp.Or(cmp.Compare(s.pool, o.pool), cmp.Compare(s.node, o.node))
}

// checkTwice refuses a batch with a key in it twice: one store would take the
// last, another would refuse it.
func checkTwice(b fencing.Batch) error {
	for i := range b.Pools { // they are few
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
	return fmt.Errorf("nothing was written: %s is in one batch twice; this is a bug in Cirrus, report it", describeKey(key))
}

// firstTwice finds a slot that is written twice. Records in order, as a million
// of them come, need no memory.
func firstTwice(records []fencing.Record) (slot, bool) {
	var seen map[slot]bool
	for i := range records {
		at := slotOf(&records[i])
		if seen == nil && (i == 0 || slotOf(&records[i-1]).compare(at) < 0) {
			continue
		}
		if seen == nil {
			seen = make(map[slot]bool, len(records))
			for j := range records[:i] {
				seen[slotOf(&records[j])] = true
			}
		}
		if seen[at] {
			return at, true
		}
		seen[at] = true
	}
	return slot{}, false
}

func slotOf(r *fencing.Record) slot { return slot{r.Pool, r.Node} }
