package store

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/snowflake"

	storev1 "github.com/cirrus-id/cirrus/proto/cirrus/store/v1"
)

// Decoder builds a snapshot from a store's keys and values, added in the order of the
// keys. It errs for what it can't read, because a record left out would let its node ID
// be granted twice. The zero value is ready to use.
type Decoder struct {
	snap    fencing.Snapshot
	hasMeta bool
	pools   map[fencing.PoolName]int // index in snap.Pools
	msg     storev1.StoredRecord     // reused for each record
}

// Grow allocates memory for that many more records.
func (d *Decoder) Grow(records int) {
	d.snap.Records = append(make([]fencing.Record, 0, records), d.snap.Records...)
}

// Add decodes a key and its value, and keeps neither. The error wraps ErrDamaged or
// ErrNewerFormat, and names the key.
func (d *Decoder) Add(key, value []byte) error {
	var err error
	if bytes.Equal(key, []byte(metaKey)) {
		d.snap.Meta, err = DecodeMeta(value)
		d.hasMeta = err == nil
		return err
	}
	if !d.hasMeta {
		return errNoMeta
	}
	switch {
	case bytes.HasPrefix(key, []byte(recordPrefix)):
		err = d.addRecord(key[len(recordPrefix):], value)
	case bytes.HasPrefix(key, []byte(poolPrefix)):
		err = d.addPool(key[len(poolPrefix):], value)
	default:
		err = errors.New("no version of Cirrus writes such a key")
	}
	if err != nil {
		return damaged(key, err)
	}
	return nil
}

// Snapshot returns all that was added. It errs if no meta was.
func (d *Decoder) Snapshot() (fencing.Snapshot, error) {
	if !d.hasMeta {
		return fencing.Snapshot{}, errNoMeta
	}
	return d.snap, nil
}

// DecodeMeta decodes the meta's value, which must be done first: if its error wraps
// ErrNewerFormat, the store's other values may mean something else than this binary
// assumes.
func DecodeMeta(value []byte) (fencing.Meta, error) {
	var m storev1.StoredMeta
	if err := proto.Unmarshal(value, &m); err != nil {
		return fencing.Meta{}, damaged(MetaKey(), err)
	}
	if m.Format > Format {
		return fencing.Meta{},
			fmt.Errorf(
				"%w: it has format %d and this version of Cirrus reads up to %d: run the version that wrote it, or a later one", ErrNewerFormat, m.Format, Format)
	}
	if m.Format == 0 {
		return fencing.Meta{}, damaged(MetaKey(), errors.New("it has no format"))
	}
	meta := fencing.Meta{
		Mark:       snowflake.Millis(m.MarkMs),
		Stride:     time.Duration(m.StrideNs),
		CreatedAt:  snowflake.Millis(m.CreatedMs),
		FirstEpoch: fencing.Epoch(m.FirstEpoch),
		Vouched:    m.Vouched,
		SuspectFor: time.Duration(m.SuspectForNs),
	}
	if n := copy(meta.ID[:], m.StoreId); len(m.StoreId) != 0 &&
		(n != len(meta.ID) || n != len(m.StoreId)) {
		return fencing.Meta{},
			damaged(MetaKey(), fmt.Errorf("its store ID has %d bytes", len(m.StoreId)))
	}
	if err := checkMeta(&meta); err != nil {
		return fencing.Meta{}, damaged(MetaKey(), err)
	}
	return meta, nil
}

func (d *Decoder) addPool(name, value []byte) error {
	var m storev1.StoredPool
	if err := proto.Unmarshal(value, &m); err != nil {
		return err
	}
	if m.Name != string(name) {
		return fmt.Errorf("its value is that of pool %q", m.Name)
	}
	if m.TimestampBits > 63 || m.NodeBits > 63 || m.SequenceBits > 63 {
		return fmt.Errorf("its layout is %d/%d/%d", m.TimestampBits, m.NodeBits, m.SequenceBits)
	}
	p := fencing.Pool{
		Name: fencing.PoolName(m.Name),
		Layout: snowflake.Layout{
			Origin:        snowflake.Millis(m.OriginMs),
			TimestampBits: uint8(m.TimestampBits),
			NodeBits:      uint8(m.NodeBits),
			SequenceBits:  uint8(m.SequenceBits),
		},
		First:      snowflake.NodeID(m.FirstNode),
		Last:       snowflake.NodeID(m.LastNode),
		TTL:        time.Duration(m.TtlNs),
		MaxTTL:     time.Duration(m.MaxTtlNs),
		Quarantine: time.Duration(m.QuarantineNs),
		Unsafe:     m.Unsafe,
		Opened:     m.Opened,
		CreatedAt:  snowflake.Millis(m.CreatedMs),
		LongestTTL: time.Duration(m.LongestTtlNs),
	}
	if err := checkPool(&p); err != nil {
		return err
	}
	if d.pools == nil {
		d.pools = make(map[fencing.PoolName]int)
	}
	d.pools[p.Name] = len(d.snap.Pools)
	d.snap.Pools = append(d.snap.Pools, p)
	return nil
}

func (d *Decoder) addRecord(rest, value []byte) error {
	name, node, ok := parseRecordKey(rest)
	if !ok {
		return errors.New("its key is malformed")
	}
	i, ok := d.pools[fencing.PoolName(name)]
	if !ok {
		return errors.New("its pool is missing")
	}
	pool := &d.snap.Pools[i]
	if node < pool.First || node > pool.Last { // the range only grows (S11)
		return fmt.Errorf("the pool's node IDs are %d to %d", pool.First, pool.Last)
	}
	r, err := d.decodeRecord(value)
	if err != nil {
		return err
	}
	r.Pool, r.Node = pool.Name, node // one string for all records of a pool
	d.snap.Records = append(d.snap.Records, r)
	return nil
}

func (d *Decoder) decodeRecord(value []byte) (fencing.Record, error) {
	m := &d.msg
	if err := proto.Unmarshal(value, m); err != nil {
		return fencing.Record{}, err
	}
	r := fencing.Record{
		Epoch:   fencing.Epoch(m.Epoch),
		App:     fencing.AppID(m.AppId),
		TTL:     time.Duration(m.TtlNs),
		Floor:   snowflake.Millis(m.FloorMs),
		Ceiling: snowflake.Millis(m.CeilingMs),
	}
	if m.Silence != nil {
		r.Silence = fencing.Silence{Noted: true, Left: time.Duration(m.Silence.LeftNs),
			Ceiling: snowflake.Millis(m.Silence.CeilingMs)}
	}
	if m.Status >= 0 && m.Status <= 255 { // else it stays 0, which checkRecord refuses
		r.Status = fencing.Status(m.Status)
	}
	if copy(r.Instance[:], m.InstanceHash) != len(r.Instance) ||
		len(m.InstanceHash) != len(r.Instance) {
		return fencing.Record{}, fmt.Errorf("its instance hash has %d bytes", len(m.InstanceHash))
	}
	return r, checkRecord(&r)
}

var errNoMeta = damaged(MetaKey(), errors.New("it is missing"))

// damaged returns that the key can't be read, and what to do: a store that has lost a
// value may have lost others.
func damaged(key []byte, why error) error {
	err := fmt.Errorf(
		"%w: %s can't be read, since %w: restore the store from a copy, then recover it",
		ErrDamaged, describeKey(key), why)
	return WithHint(err, HintRecover, "")
}
