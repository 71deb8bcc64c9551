package fencing

import (
	"fmt"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// epochsPerSecond is more than the grants that any pool makes in a second. So a
// start that comes later begins above all epochs that were granted before (S2, S7).
const epochsPerSecond = 1 << 20

// maxRecoverBehind is how far the wall clock may be behind mark − stride of a store
// that is to be recovered.
const maxRecoverBehind = time.Minute

// NewStore returns the first batch of a new store with one pool (S7). vouched says
// that the operator vouches that nobody holds a node ID from an earlier store.
func NewStore(wall snowflake.Millis, stride time.Duration, vouched bool, p Pool) (Batch, error) {
	if wall < 0 || wall > lastServerTime {
		return Batch{}, fmt.Errorf(
			"the wall clock says %d ms since 1970, which no clock that is right does: set the clock and try again", wall)
	}
	if err := validStride(stride); err != nil {
		return Batch{}, err
	}
	if r := p.Validate(stride); r != nil {
		return Batch{}, r
	}
	if r := p.validNew(wall); r != nil {
		return Batch{}, r
	}
	p.Opened, p.CreatedAt = vouched, wall
	p.LongestTTL = p.MaxTTL
	return Batch{
		Meta:  &Meta{Mark: wall, Stride: stride, CreatedAt: wall, FirstEpoch: firstEpoch(wall), Vouched: vouched},
		Pools: []Pool{p},
	}, nil
}

func validStride(stride time.Duration) error {
	if stride < MinStride || stride > MaxStride {
		return fmt.Errorf("stride %v is out of range: give %v to %v", stride, MinStride, MaxStride)
	}
	return nil
}

// firstEpoch returns the first epoch of a store that is created at this time. It
// counts milliseconds: if a store is lost and another one created within the same
// second, their epochs differ too.
func firstEpoch(wall snowflake.Millis) Epoch { return Epoch(max(wall, 1)) * epochsPerSecond / 1000 }

// base returns the epoch from which a start or a term grants (S2): above all that
// earlier ones can have granted, even if the store has lost those grants. last is
// the base of the last start that wrote a mark, which each does before it grants.
// Server time covers a start whose server time was lower; last covers one whose
// server time was the same or higher. So the base rises at every start, even if two
// of them come within one millisecond.
func base(server snowflake.Millis, last Epoch) Epoch {
	return max(firstEpoch(server), last) + epochsPerSecond
}

// Recover returns the batch that makes a store restored from a copy suspicious
// again (S7). What was promised and granted after the copy was taken is unknown.
// But it was at server times up to now + stride, under epochs below the base of
// now, and for the longest TTL at most. The copy doesn't know of a max_ttl that was
// raised after it was taken: longest, if above 0, is the longest that any pool had.
func Recover(snap Snapshot, wall snowflake.Millis, stride, longest time.Duration) (Batch, error) {
	if err := validStride(stride); err != nil {
		return Batch{}, err
	}
	// S8: the mark was written up to a stride ahead, so it is no sign of a wrong
	// clock to be that far behind it.
	been := snap.Meta.Mark.Add(-snap.Meta.Stride)
	switch {
	case longest < 0 || longest > MaxDuration:
		return Batch{}, fmt.Errorf("a longest TTL of %v is out of range: give 0 to %v", longest,
			MaxDuration)
	case wall < 0 || wall > lastServerTime || wall < been.Add(-maxRecoverBehind):
		return Batch{}, fmt.Errorf("the wall clock (%d) is behind a time at which the store was served (%d): a recovered store counts from the wall clock, so set it and try again", wall, been)
	}
	stride = max(stride, snap.Meta.Stride)
	meta := snap.Meta
	meta.Mark = max(meta.Mark, wall.Add(stride))
	meta.Stride = stride
	meta.Vouched = false
	meta.FirstEpoch = max(firstEpoch(wall), meta.FirstEpoch)

	pools := make([]Pool, len(snap.Pools))
	at := make(map[PoolName]*Pool, len(pools))
	for i, p := range snap.Pools {
		p.Opened = false
		p.remember(longest)
		pools[i] = p
		at[p.Name] = &pools[i]
	}
	for i := range snap.Records {
		rec := &snap.Records[i]
		if at[rec.Pool] == nil {
			return Batch{}, noSuchPool(rec)
		}
		at[rec.Pool].remember(rec.TTL) // may be granted under an earlier, longer max_ttl
	}
	records := make([]Record, len(snap.Records))
	for i, rec := range snap.Records {
		rec.Status, rec.Silence = Ended, Silence{}
		rec.Ceiling = max(rec.Ceiling, meta.Mark.Add(at[rec.Pool].LongestTTL))
		records[i] = rec
	}
	return Batch{Meta: &meta, Pools: pools, Records: records}, nil
}
