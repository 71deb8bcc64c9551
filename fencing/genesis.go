package fencing

import (
	"fmt"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// epochsPerSecond is more grants than any pool makes in a second, so whatever
// begins later begins above all epochs that were granted before (S2, S7).
const epochsPerSecond = 1 << 20

// maxRecoverBehind is how far the wall clock may lie behind mark − stride of a
// store that is to be recovered.
const maxRecoverBehind = time.Minute

// NewStore is the first batch of a new store with one pool (S7). vouched says
// that its operator vouches that nobody holds IDs from an earlier one.
func NewStore(wall snowflake.Millis, stride time.Duration, vouched bool, p Pool) (Batch, error) {
	if wall < 0 || wall > lastServerTime {
		return Batch{}, fmt.Errorf("the wall clock says %d ms since 1970, which no clock that is right does: set the clock and try again", wall)
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

// firstEpoch counts to the millisecond: two stores that are made within one
// second, the first of them lost, have epochs apart as well.
func firstEpoch(wall snowflake.Millis) Epoch { return Epoch(max(wall, 1)) * epochsPerSecond / 1000 }

// base is where the epochs of a start or a term begin (S2): above all that an
// earlier one can have granted, though the store may have lost those grants. An
// earlier one began below the first operand if its server time was not above
// this one's, and at last if it was. So base rises at every start, also twice
// within one millisecond.
func base(server snowflake.Millis, last Epoch) Epoch {
	return max(firstEpoch(server), last) + epochsPerSecond
}

// Recover makes a store that was restored from a copy suspicious again (S7):
// what was promised and granted after the copy was taken is unknown, but it
// was at server times up to now + stride, under epochs below the base of now,
// and for the longest TTL at most. A copy can't know of a max_ttl that was raised
// after it was taken: longest, if above 0, is the longest that any pool had.
func Recover(snap Snapshot, wall snowflake.Millis, stride, longest time.Duration) (Batch, error) {
	if err := validStride(stride); err != nil {
		return Batch{}, err
	}
	// S8: the mark was written up to a stride ahead, so it is no sign of a wrong
	// clock to be that far behind it.
	been := snap.Meta.Mark.Add(-snap.Meta.Stride)
	switch {
	case longest < 0 || longest > MaxDuration:
		return Batch{}, fmt.Errorf("a longest TTL of %v is out of range: give 0 to %v", longest, MaxDuration)
	case wall < 0 || wall > lastServerTime || wall < been.Add(-maxRecoverBehind):
		return Batch{}, fmt.Errorf("the wall clock (%d) is behind a time at which the store was served (%d): what is recovered is reckoned by the wall clock, so set it and try again", wall, been)
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
		at[rec.Pool].remember(rec.TTL) // granted under an older, longer max_ttl
	}
	records := make([]Record, len(snap.Records))
	for i, rec := range snap.Records {
		rec.Status, rec.Silence = Ended, Silence{}
		rec.Ceiling = max(rec.Ceiling, meta.Mark.Add(at[rec.Pool].LongestTTL))
		records[i] = rec
	}
	return Batch{Meta: &meta, Pools: pools, Records: records}, nil
}
