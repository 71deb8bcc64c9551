package service

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/snowflake"
)

// poolName reads a pool's name: an empty one means the default pool. A name
// that no pool can have is malformed, not unknown.
func poolName(name string) (fencing.PoolName, *fencing.Refusal) {
	if name == "" || name == string(fencing.DefaultPool) {
		return fencing.DefaultPool, nil
	}
	n := fencing.PoolName(name)
	return n, fencing.NewPool(n).Validate(0)
}

// maxQuoted is how much of what a caller sent an error repeats.
const maxQuoted = 64

// quoted repeats what a caller sent, cut short: errors travel in headers.
func quoted(sent string) string {
	if len(sent) > maxQuoted {
		return strconv.Quote(sent[:maxQuoted]) + "…"
	}
	return strconv.Quote(sent)
}

// duration reads a Duration: an absent one is 0.
func duration(field string, d *durationpb.Duration) (time.Duration, *fencing.Refusal) {
	if d == nil {
		return 0, nil
	}
	if err := d.CheckValid(); err != nil {
		return 0, badField(field, "it is no valid duration: give seconds and nanoseconds of one sign, such as \"30s\"")
	}
	if d.Seconds > math.MaxInt64/int64(time.Second) || d.Seconds < math.MinInt64/int64(time.Second) {
		return 0, badField(field, fmt.Sprintf("%d s is out of range: give at most %v", d.Seconds, fencing.MaxDuration))
	}
	return d.AsDuration(), nil
}

// positive is duration for fields in which 0, if given, is a mistake.
func positive(field string, d *durationpb.Duration) (time.Duration, *fencing.Refusal) {
	v, r := duration(field, d)
	if r == nil && d != nil && v <= 0 {
		return 0, badField(field, fmt.Sprintf("%v is not above 0: give a positive duration, or leave the field out", v))
	}
	return v, r
}

func wireLayout(l snowflake.Layout) *cirrusv1.Layout {
	return &cirrusv1.Layout{
		OriginMs:      int64(l.Origin),
		TimestampBits: uint32(l.TimestampBits),
		NodeBits:      uint32(l.NodeBits),
		SequenceBits:  uint32(l.SequenceBits),
	}
}

// layout reads a layout, given whole.
func layout(l *cirrusv1.Layout) (snowflake.Layout, *fencing.Refusal) {
	for _, bits := range []uint32{l.TimestampBits, l.NodeBits, l.SequenceBits} {
		if bits > 63 {
			return snowflake.Layout{}, badField("layout", fmt.Sprintf("%d bits do not fit into 63: give three numbers that do, such as 41, 10 and 12", bits))
		}
	}
	return snowflake.Layout{
		Origin:        snowflake.Millis(l.OriginMs),
		TimestampBits: uint8(l.TimestampBits),
		NodeBits:      uint8(l.NodeBits),
		SequenceBits:  uint8(l.SequenceBits),
	}, nil
}

// wireLease is a promise on its way to its holder, with the instance ID that
// only the holder may see.
func wireLease(l fencing.Lease, instance string) *cirrusv1.Lease {
	return &cirrusv1.Lease{
		Pool:           string(l.Pool),
		NodeId:         uint32(l.Node),
		Epoch:          uint64(l.Epoch),
		AppId:          string(l.App),
		InstanceId:     instance,
		Ttl:            durationpb.New(l.TTL),
		HeartbeatEvery: durationpb.New(l.HeartbeatEvery()),
		ServerTimeMs:   int64(l.ServerTime),
		FloorMs:        int64(l.Floor),
		CeilingMs:      int64(l.Ceiling),
		Layout:         wireLayout(l.Layout),
	}
}

var wireStates = map[fencing.State]cirrusv1.LeaseState{
	fencing.Held:        cirrusv1.LeaseState_LEASE_STATE_HELD,
	fencing.Quarantined: cirrusv1.LeaseState_LEASE_STATE_QUARANTINED,
	fencing.Free:        cirrusv1.LeaseState_LEASE_STATE_FREE,
}

func wireStatus(l fencing.LeaseStatus) *cirrusv1.LeaseStatus {
	w := &cirrusv1.LeaseStatus{
		Pool:      string(l.Pool),
		NodeId:    uint32(l.Node),
		Epoch:     uint64(l.Epoch),
		AppId:     string(l.App),
		Ttl:       durationpb.New(l.TTL),
		FloorMs:   int64(l.Floor),
		CeilingMs: int64(l.Ceiling),
		State:     wireStates[l.State],
		Revoked:   l.Revoked,
	}
	if l.State != fencing.Free {
		w.TimeLeft = durationpb.New(l.TimeLeft)
	}
	return w
}

// wirePool shows a pool; opensIn counts where it is not opened.
func wirePool(p fencing.Pool, opensIn time.Duration, server snowflake.Millis) *cirrusv1.Pool {
	w := &cirrusv1.Pool{
		Name:       string(p.Name),
		Layout:     wireLayout(p.Layout),
		NodeIds:    &cirrusv1.NodeRange{First: uint32(p.First), Last: uint32(p.Last)},
		Ttl:        durationpb.New(p.TTL),
		MaxTtl:     durationpb.New(p.MaxTTL),
		Quarantine: durationpb.New(p.Quarantine),
		Unsafe:     &p.Unsafe,
		Opened:     p.Opened,
	}
	if !p.Opened {
		w.OpensAtMs = int64(server.Add(opensIn))
	}
	return w
}

// poolChange reads which settings of a pool a request gives.
func poolChange(p *cirrusv1.Pool) (c fencing.PoolChange, r *fencing.Refusal) {
	if p == nil {
		return c, nil
	}
	if p.GetLayout() != nil {
		l, r := layout(p.Layout)
		if r != nil {
			return c, r
		}
		c.Layout = &l
	}
	if ids := p.GetNodeIds(); ids != nil {
		first, last := snowflake.NodeID(ids.First), snowflake.NodeID(ids.Last)
		c.First, c.Last = &first, &last
	}
	if c.TTL, r = given("ttl", p.GetTtl()); r != nil {
		return c, r
	}
	if c.MaxTTL, r = given("max_ttl", p.GetMaxTtl()); r != nil {
		return c, r
	}
	if c.Quarantine, r = given("quarantine", p.GetQuarantine()); r != nil {
		return c, r
	}
	c.Unsafe = p.Unsafe
	return c, nil
}

// given is duration with nil for a field that was left out.
func given(field string, d *durationpb.Duration) (*time.Duration, *fencing.Refusal) {
	if d == nil {
		return nil, nil
	}
	v, r := duration(field, d)
	return &v, r
}
