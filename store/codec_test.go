package store_test

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/cirrus-id/cirrus/fencing"
	storev1 "github.com/cirrus-id/cirrus/proto/cirrus/store/v1"
	"github.com/cirrus-id/cirrus/snowflake"
	"github.com/cirrus-id/cirrus/store"
	"github.com/cirrus-id/cirrus/store/storetest"
)

// pairs returns the keys and values of a batch, in the order of the keys.
func pairs(t interface{ Fatal(...any) }, b fencing.Batch) [][2][]byte {
	var out [][2][]byte
	err := store.Encode(b, func(key, value []byte) error {
		out = append(out, [2][]byte{bytes.Clone(key), bytes.Clone(value)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(out, func(a, b [2][]byte) int { return bytes.Compare(a[0], b[0]) })
	return out
}

// TestKeysInOrder: the keys are in the order meta, pools, records, whatever the names.
func TestKeysInOrder(t *testing.T) {
	name := rapid.StringMatching(`[a-z0-9-]{1,63}`)
	node := rapid.Uint32Max(1<<22 - 1)
	rapid.Check(t, func(t *rapid.T) {
		p, q := fencing.PoolName(name.Draw(t, "p")), fencing.PoolName(name.Draw(t, "q"))
		m, n := snowflake.NodeID(node.Draw(t, "m")), snowflake.NodeID(node.Draw(t, "n"))
		keys := [][]byte{store.MetaKey(), store.PoolKey(p), store.RecordsFrom(),
			store.RecordKey(p, n), store.RecordsTo()}
		if !slices.IsSortedFunc(keys, bytes.Compare) {
			t.Fatalf("out of order: %q", keys)
		}
		want := bytes.Compare([]byte(p), []byte(q))
		if want == 0 {
			want = int(m) - int(n)
		}
		if got := bytes.Compare(store.RecordKey(p, m), store.RecordKey(q, n)); got*want < 0 ||
			(got == 0) != (want == 0) {
			t.Fatalf("%s/%d and %s/%d compare as %d", p, m, q, n, got)
		}
	})
}

// TestRoundTrip: Decoder returns what Encode has encoded.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		meta, pool := storetest.Meta(), storetest.Pool("p")
		meta.Mark = snowflake.Millis(rapid.Int64Range(0, 1<<49-1).Draw(t, "mark"))
		r := storetest.Record("p", snowflake.NodeID(rapid.IntRange(0, 1023).Draw(t, "node")), 1)
		r.Epoch = fencing.Epoch(rapid.Uint64Min(1).Draw(t, "epoch"))
		r.App = fencing.AppID(rapid.StringN(1, 63, fencing.MaxAppID).Draw(t, "app"))
		r.Status = fencing.Status(rapid.IntRange(1, 3).Draw(t, "status"))
		r.Floor = snowflake.Millis(rapid.Int64Range(0, 1<<49-1).Draw(t, "floor"))
		r.Ceiling = snowflake.Millis(rapid.Int64Range(int64(r.Floor)-1, 1<<49-1).Draw(t, "ceiling"))
		if r.Status != fencing.Ended && rapid.Bool().Draw(t, "noted") {
			r.Silence = fencing.Silence{
				Noted: true,
				Left: time.Duration(rapid.Int64Range(int64(-fencing.MaxDuration),
					int64(r.TTL+fencing.MaxDuration)).Draw(t, "left")),
				Ceiling: snowflake.Millis(rapid.Int64Range(int64(r.Floor)-1, 1<<49-1).Draw(t,
					"noted ceiling")),
			}
		}
		copy(r.Instance[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "instance"))

		var d store.Decoder
		for _, kv := range pairs(t,
			fencing.Batch{Meta: &meta, Pools: []fencing.Pool{pool}, Records: []fencing.Record{r}}) {
			if err := d.Add(kv[0], kv[1]); err != nil {
				t.Fatal(err)
			}
		}
		got, err := d.Snapshot()
		want := fencing.Snapshot{Meta: meta, Pools: []fencing.Pool{pool},
			Records: []fencing.Record{r}}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, %v, want %+v", got, err, want)
		}
	})
}

// TestOlderFormat: a store of format 1 is decoded like one of the present format; it has no
// silence notes. The next meta that is written has the present format.
func TestOlderFormat(t *testing.T) {
	meta, pool := storetest.Meta(), storetest.Pool("p")
	want := fencing.Snapshot{Meta: meta, Pools: []fencing.Pool{pool},
		Records: []fencing.Record{storetest.Record("p", 1, 1)}}
	var d store.Decoder
	for _, kv := range pairs(t,
		fencing.Batch{Meta: &meta, Pools: want.Pools, Records: want.Records}) {
		if bytes.Equal(kv[0], store.MetaKey()) {
			var m storev1.StoredMeta
			if err := proto.Unmarshal(kv[1], &m); err != nil || m.Format != store.Format {
				t.Fatalf("format %d, %v, want %d", m.Format, err, store.Format)
			}
			m.Format = 1
			var err error
			if kv[1], err = proto.Marshal(&m); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Add(kv[0], kv[1]); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := d.Snapshot(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

// TestMetaFirst: nothing is decoded before the meta, which has the format.
func TestMetaFirst(t *testing.T) {
	meta := storetest.Meta()
	kvs := pairs(t, fencing.Batch{
		Meta: &meta, Pools: []fencing.Pool{storetest.Pool("p")},
		Records: []fencing.Record{storetest.Record("p", 1, 1)},
	})
	for _, kv := range kvs[1:] {
		var d store.Decoder
		if err := d.Add(kv[0], kv[1]); !errors.Is(err, store.ErrDamaged) {
			t.Errorf("%q before the meta: %v, want ErrDamaged", kv[0], err)
		}
		if _, err := d.Snapshot(); !errors.Is(err, store.ErrDamaged) {
			t.Errorf("Snapshot without a meta: %v, want ErrDamaged", err)
		}
	}
}

// FuzzDecoder: any key and value is decoded or refused, and what was decoded can be encoded
// again.
func FuzzDecoder(f *testing.F) {
	meta, pool := storetest.Meta(), storetest.Pool("p")
	kvs := pairs(f, fencing.Batch{
		Meta: &meta, Pools: []fencing.Pool{pool},
		Records: []fencing.Record{storetest.Record("p", 1, 1)},
	})
	for _, kv := range kvs {
		f.Add(kv[0], kv[1])
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		var d store.Decoder
		for _, kv := range kvs[:2] {
			if err := d.Add(kv[0], kv[1]); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Add(key, value); err != nil {
			if !errors.Is(err, store.ErrDamaged) && !errors.Is(err, store.ErrNewerFormat) {
				t.Errorf("%q: %v, want ErrDamaged or ErrNewerFormat", key, err)
			}
			return
		}
		snap, err := d.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		for i := range snap.Pools { // the fuzzer may add the pool again
			pairs(t, fencing.Batch{Meta: &snap.Meta, Pools: snap.Pools[i : i+1],
				Records: snap.Records})
		}
	})
}
