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
	return n, n.Validate()
}

// leaseRef reads which lease a request is about.
func leaseRef(pool string, node uint32, epoch uint64, instance string) (fencing.LeaseRef,
	*fencing.Refusal) {
	id := fencing.InstanceID(instance)
	if instance == "" {
		return fencing.LeaseRef{},
			badField("instance_id", "it is missing: give the one that Acquire answered")
	}
	if r := id.Validate(); r != nil {
		return fencing.LeaseRef{}, r
	}
	name, r := poolName(pool)
	return fencing.LeaseRef{
		Pool: name, Node: snowflake.NodeID(node), Epoch: fencing.Epoch(epoch), Instance: id.Hash(),
	}, r
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
		return 0, badField(field,
			"it is no valid duration: give seconds and nanoseconds of one sign, such as \"30s\"")
	}
	if d.Seconds > math.MaxInt64/int64(time.Second) ||
		d.Seconds < math.MinInt64/int64(time.Second) {
		return 0, badField(field,
			fmt.Sprintf("%d s is out of range: give at most %v", d.Seconds, fencing.MaxDuration))
	}
	return d.AsDuration(), nil
}

// positive is duration for fields in which 0, if given, is a mistake.
func positive(field string, d *durationpb.Duration) (time.Duration, *fencing.Refusal) {
	v, r := duration(field, d)
	if r == nil && d != nil && v <= 0 {
		return 0, badField(field,
			fmt.Sprintf("%v is not above 0: give a positive duration, or leave the field out", v))
	}
	return v, r
}

func wireLayout(l snowflake.Layout) *cirrusv1.Layout {
	m := &cirrusv1.Layout{}
	setLayout(m, l)
	return m
}

// layout reads a layout, given whole.
func layout(l *cirrusv1.Layout) (snowflake.Layout, *fencing.Refusal) {
	for _, bits := range []uint32{l.TimestampBits, l.NodeBits, l.SequenceBits} {
		if bits > 63 {
			return snowflake.Layout{},
				badField("layout",
					fmt.Sprintf(
						"%d bits do not fit into 63: give three numbers that do, such as 41, 10 and 12", bits))
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
	w := &struct {
		lease cirrusv1.Lease
		terms leaseTerms
	}{}
	w.terms.set(l)
	fillLease(&w.lease, l, instance, &w.terms)
	return &w.lease
}

// leaseTerms are the messages in a Lease's message, in one piece with it or, in
// a batch, shared by those that have the same: they are most of its cost.
type leaseTerms struct {
	ttl, every durationpb.Duration
	layout     cirrusv1.Layout
}

func (t *leaseTerms) set(l fencing.Lease) {
	setDuration(&t.ttl, l.TTL)
	setDuration(&t.every, l.HeartbeatEvery())
	setLayout(&t.layout, l.Layout)
}

func fillLease(m *cirrusv1.Lease, l fencing.Lease, instance string, terms *leaseTerms) {
	m.Pool, m.NodeId, m.Epoch = string(l.Pool), uint32(l.Node), uint64(l.Epoch)
	m.AppId, m.InstanceId = string(l.App), instance
	m.Ttl, m.HeartbeatEvery, m.Layout = &terms.ttl, &terms.every, &terms.layout
	m.ServerTimeMs, m.FloorMs, m.CeilingMs = int64(l.ServerTime), int64(l.Floor), int64(l.Ceiling)
}

func setDuration(m *durationpb.Duration, d time.Duration) {
	m.Seconds, m.Nanos = int64(d/time.Second), int32(d%time.Second)
}

func setLayout(m *cirrusv1.Layout, l snowflake.Layout) {
	m.OriginMs = int64(l.Origin)
	m.TimestampBits, m.NodeBits, m.SequenceBits = uint32(l.TimestampBits), uint32(l.NodeBits),
		uint32(l.SequenceBits)
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

		LayoutEndsAtMs: int64(p.Layout.LastTimestamp()),
		LongestTtl:     durationpb.New(p.LongestTTL),
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
