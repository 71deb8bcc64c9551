package service

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

// Every RPC does what it says, whichever way it is asked.
func TestEveryRPC(t *testing.T) {
	h := newHost(t, nil)
	for i, p := range h.protocols() {
		t.Run(p.name, func(t *testing.T) {
			pool := fmt.Sprintf("pool-%d", i)
			createsPool(t, p, pool)
			lease := acquires(t, h, p, pool)
			beats(t, h, p, lease)
			lists(t, p, lease)
			revokes(t, p, pool)
			frees(t, p, pool)
			if _, err := p.leases.Release(context.Background(),
				releaseRequest(lease, nil)); err != nil {
				t.Fatal(err)
			}
			if _, err := p.leases.Release(context.Background(),
				releaseRequest(lease, nil)); err != nil {
				t.Fatalf("a repeated release: %v", err)
			}
		})
	}
}

func createsPool(t *testing.T, p protocol, name string) {
	t.Helper()
	ctx := context.Background()
	want := &cirrusv1.Pool{
		Name: name,
		Layout: &cirrusv1.Layout{OriginMs: 1_700_000_000_000, TimestampBits: 42, NodeBits: 4,
			SequenceBits: 17},
		NodeIds: &cirrusv1.NodeRange{First: 0, Last: 7}, Ttl: proto3(20 * time.Second),
		MaxTtl:     proto3(time.Minute),
		Quarantine: proto3(15 * time.Second),
	}
	created, err := p.admin.CreatePool(ctx, &cirrusv1.CreatePoolRequest{Pool: want})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.admin.CreatePool(ctx, &cirrusv1.CreatePoolRequest{Pool: want}); err != nil {
		t.Fatalf("a repeated creation: %v", err)
	}
	yes := true
	updated, err := p.admin.UpdatePool(ctx, &cirrusv1.UpdatePoolRequest{Pool: &cirrusv1.Pool{
		Name: name, NodeIds: &cirrusv1.NodeRange{Last: 15}, Quarantine: proto3(time.Second),
		Unsafe: &yes}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.admin.GetPool(ctx, &cirrusv1.GetPoolRequest{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []*cirrusv1.Pool{created.Pool, updated.Pool, got.Pool} {
		if shown.Name != name || shown.Layout.SequenceBits != 17 ||
			shown.Ttl.AsDuration() != 20*time.Second || !shown.Opened || shown.Unsafe == nil {
			t.Errorf("shown %v, want all of %v", shown, want)
		}
	}
	if got.Pool.NodeIds.Last != 15 || !got.Pool.GetUnsafe() ||
		got.Pool.Quarantine.AsDuration() != time.Second || created.Pool.NodeIds.Last != 7 {
		t.Errorf("GetPool shows %v after the update", got.Pool)
	}
	all, err := p.admin.ListPools(ctx, &cirrusv1.ListPoolsRequest{})
	if err != nil || len(all.Pools) < 2 || all.Pools[0].Name != "default" {
		t.Errorf("ListPools: %v, %v", all, err)
	}
}

// S11: what can't be taken back is done where the request confirms it.
func TestConfirmedPools(t *testing.T) {
	h := newHost(t, nil)
	p := h.protocols()[0]
	ctx := context.Background()
	pool := &cirrusv1.Pool{
		Name: "slow",
		Layout: &cirrusv1.Layout{OriginMs: 1_577_836_800, TimestampBits: 41, NodeBits: 10,
			SequenceBits: 12}, MaxTtl: proto3(25 * time.Hour),
	}
	for missing, req := range map[string]*cirrusv1.CreatePoolRequest{
		"confirm_early_origin": {Pool: pool, ConfirmLongTimes: true},
		"confirm_long_times":   {Pool: pool, ConfirmEarlyOrigin: true},
	} {
		_, err := p.admin.CreatePool(ctx, req)
		var e *connect.Error
		if !errors.As(err, &e) || e.Code() != connect.CodeInvalidArgument {
			t.Fatalf("half confirmed: %v", err)
		}
		info, _, _ := details(t, e)
		if got := info.GetMetadata()[ConfirmedBy]; got != missing {
			t.Errorf("half confirmed, it asks for the field %q, want %q", got, missing)
		}
	}
	made, err := p.admin.CreatePool(ctx,
		&cirrusv1.CreatePoolRequest{Pool: pool, ConfirmLongTimes: true, ConfirmEarlyOrigin: true})
	if want := pool.Layout.OriginMs + 1<<41 - 1; err != nil || made.Pool.LayoutEndsAtMs != want {
		t.Fatalf("confirmed: %v, %v, want its layout to end at %d", made, err, want)
	}
	longer := &cirrusv1.Pool{Name: "slow", MaxTtl: proto3(26 * time.Hour)}
	if got, err := p.admin.UpdatePool(ctx,
		&cirrusv1.UpdatePoolRequest{Pool: longer, ConfirmLongTimes: true}); err != nil ||
		got.Pool.MaxTtl.AsDuration() != 26*time.Hour {
		t.Errorf("an update, confirmed: %v, %v", got, err)
	}
}

func acquires(t *testing.T, h *host, p protocol, pool string) *cirrusv1.Lease {
	t.Helper()
	ctx := context.Background()
	resp, err := p.leases.Acquire(ctx,
		&cirrusv1.AcquireRequest{Pool: pool, AppId: "app ✓", Ttl: proto3(30 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	l, now := resp.Lease, h.clock.Now().UnixMilli()
	if l.Pool != pool || l.NodeId != 0 || l.Epoch == 0 || l.AppId != "app ✓" ||
		len(l.InstanceId) != 32 ||
		l.Ttl.AsDuration() != 30*time.Second || l.HeartbeatEvery.AsDuration() != 10*time.Second ||
		l.ServerTimeMs != now || l.FloorMs != now || l.CeilingMs != now+30_000 ||
		l.Layout.NodeBits != 4 {
		t.Fatalf("got %v at %d", l, now)
	}
	again, err := p.leases.Acquire(ctx,
		&cirrusv1.AcquireRequest{Pool: pool, AppId: "app ✓", InstanceId: l.InstanceId})
	if err != nil || again.Lease.Epoch != l.Epoch || again.Lease.NodeId != l.NodeId ||
		again.Lease.Ttl.AsDuration() != 30*time.Second {
		t.Fatalf("the same instance got %v, %v", again, err)
	}
	other, err := p.leases.Acquire(ctx, &cirrusv1.AcquireRequest{Pool: pool, AppId: "app ✓"})
	if err != nil || other.Lease.Epoch != l.Epoch+1 || other.Lease.NodeId != 1 ||
		other.Lease.InstanceId == l.InstanceId {
		t.Fatalf("another instance got %v, %v", other, err)
	}
	return l
}

func beats(t *testing.T, h *host, p protocol, l *cirrusv1.Lease) {
	t.Helper()
	ctx := context.Background()
	h.clock.Advance(time.Second)
	beat, err := p.leases.Heartbeat(ctx, heartbeatRequest(l))
	if err != nil || beat.Lease.CeilingMs != l.CeilingMs+1000 || beat.Lease.FloorMs != l.FloorMs ||
		beat.Lease.Epoch != l.Epoch || beat.Lease.InstanceId != l.InstanceId {
		t.Fatalf("the heartbeat got %v, %v", beat, err)
	}
	nobody := &cirrusv1.HeartbeatRequest{Pool: l.Pool, NodeId: l.NodeId, Epoch: l.Epoch,
		InstanceId: secret("nobody")}
	batch, err := p.leases.HeartbeatBatch(ctx,
		&cirrusv1.HeartbeatBatchRequest{Heartbeats: []*cirrusv1.HeartbeatRequest{
			heartbeatRequest(l), nobody,
			{Pool: "none-such", NodeId: 1, Epoch: 1, InstanceId: l.InstanceId}, {Pool: l.Pool, InstanceId: l.InstanceId}, {}, heartbeatRequest(l)}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"", "failed_precondition LEASE_LOST", "not_found POOL_NOT_FOUND",
		"invalid_argument INVALID_FIELD", "invalid_argument INVALID_FIELD", ""}
	if len(batch.Results) != len(want) {
		t.Fatalf("%d results, want %d", len(batch.Results), len(want))
	}
	for i, r := range batch.Results {
		e := r.GetError()
		switch {
		case want[i] == "" && (e != nil || r.GetLease().GetEpoch() != l.Epoch):
			t.Errorf("result %d: %v", i, r)
		case want[i] != "" && (e == nil || e.Code+" "+e.Reason != want[i] || r.GetLease() != nil):
			t.Errorf("result %d: got %v, want %s", i, r, want[i])
		case want[i] != "":
			checkSentence(t, "a result", e.Message)
		}
	}
}

func lists(t *testing.T, p protocol, l *cirrusv1.Lease) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	page, err := p.admin.ListLeases(ctx, &cirrusv1.ListLeasesRequest{Pool: l.Pool})
	if err != nil || len(page.Leases) != 2 || page.NextPageToken != "" {
		t.Fatalf("ListLeases: %v, %v", page, err)
	}
	row := page.Leases[0]
	if row.Pool != l.Pool || row.NodeId != l.NodeId || row.Epoch != l.Epoch ||
		row.AppId != l.AppId || row.State != cirrusv1.LeaseState_LEASE_STATE_HELD ||
		row.TimeLeft.AsDuration() != 30*time.Second || row.FloorMs != l.FloorMs ||
		row.CeilingMs != l.CeilingMs+1000 || row.Ttl.AsDuration() != 30*time.Second || row.Revoked {
		t.Errorf("ListLeases shows %v of %v", row, l)
	}
	if want := row.CeilingMs - row.TimeLeft.AsDuration().Milliseconds(); page.ServerTimeMs != want {
		t.Errorf("ListLeases shows server time %d, want %d", page.ServerTimeMs, want)
	}
	stream, err := p.admin.Watch(ctx, &cirrusv1.WatchRequest{Pool: l.Pool})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	for _, want := range []string{"PRESENT app ✓ held", "PRESENT app ✓ held", "SYNCED"} {
		if !stream.Receive() || line(stream.Msg()) != want {
			t.Fatalf("Watch: %v, %v, want %s", stream.Msg(), stream.Err(), want)
		}
	}
	cancel()
	if stream.Receive() || connect.CodeOf(stream.Err()) != connect.CodeCanceled {
		t.Errorf("after its end, the stream says %v", stream.Err())
	}
}

func revokes(t *testing.T, p protocol, pool string) {
	t.Helper()
	ctx := context.Background()
	l, err := p.leases.Acquire(ctx, acquireRequest(pool, "victim", 0))
	if err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"a revoke", "a repeated revoke"} {
		got, err := p.admin.Revoke(ctx,
			&cirrusv1.RevokeRequest{Pool: pool, NodeId: l.Lease.NodeId, Epoch: l.Lease.Epoch})
		if err != nil || !got.Lease.Revoked ||
			got.Lease.State != cirrusv1.LeaseState_LEASE_STATE_QUARANTINED ||
			got.Lease.TimeLeft.AsDuration() < 20*time.Second {
			t.Errorf("%s: %v, %v", when, got, err)
		}
	}
	_, err = p.leases.Heartbeat(ctx, heartbeatRequest(l.Lease))
	lostLease.check(t, "a heartbeat of a revoked lease", err)
}

func frees(t *testing.T, p protocol, pool string) {
	t.Helper()
	ctx := context.Background()
	l, err := p.leases.Acquire(ctx, acquireRequest(pool, "dead", 0))
	if err != nil {
		t.Fatal(err)
	}
	last := l.Lease.FloorMs - 1
	for _, when := range []string{"a Free", "a repeated Free"} {
		got, err := p.admin.Free(ctx,
			&cirrusv1.FreeRequest{Pool: pool, NodeId: l.Lease.NodeId, Epoch: l.Lease.Epoch,
				LastTimestampMs: &last})
		if err != nil || got.Lease.State != cirrusv1.LeaseState_LEASE_STATE_FREE ||
			got.Lease.CeilingMs != last {
			t.Errorf("%s: %v, %v", when, got, err)
		}
	}
	_, err = p.leases.Heartbeat(ctx, heartbeatRequest(l.Lease))
	lostLease.check(t, "a heartbeat of a freed lease", err)
}

// longBits is a layout that ends in a bit more than two years.
var longBits = &cirrusv1.Layout{OriginMs: theDay.UnixMilli(), TimestampBits: 36, NodeBits: 10,
	SequenceBits: 12}

// errorRow is a row of the table of errors.
type errorRow struct {
	name string
	do   func(p protocol) error
	want wanted
}

func (h *host) acquireRow(name string, req *cirrusv1.AcquireRequest, want wanted) errorRow {
	return errorRow{"Acquire: " + name, func(p protocol) error {
		_, err := p.leases.Acquire(context.Background(), req)
		return err
	}, want}
}

func (h *host) beatRows(name string, req *cirrusv1.HeartbeatRequest, want wanted) []errorRow {
	return []errorRow{
		{"Heartbeat: " + name, func(p protocol) error {
			_, err := p.leases.Heartbeat(context.Background(), req)
			return err
		}, want},
		{"Release: " + name, func(p protocol) error {
			_, err := p.leases.Release(context.Background(),
				&cirrusv1.ReleaseRequest{Pool: req.Pool, NodeId: req.NodeId, Epoch: req.Epoch,
					InstanceId: req.InstanceId})
			return err
		}, want},
	}
}

func (h *host) poolRows(name string, pool *cirrusv1.Pool, create, update wanted) []errorRow {
	rows := []errorRow{{"CreatePool: " + name, func(p protocol) error {
		_, err := p.admin.CreatePool(context.Background(), &cirrusv1.CreatePoolRequest{Pool: pool})
		return err
	}, create}}
	if update != (wanted{}) {
		rows = append(rows, errorRow{"UpdatePool: " + name, func(p protocol) error {
			_, err := p.admin.UpdatePool(context.Background(),
				&cirrusv1.UpdatePoolRequest{Pool: pool})
			return err
		}, update})
	}
	return rows
}

// TestErrorTable goes through every row of the table of errors, every way of
// asking: code, details, a sentence, and nothing changed.
func TestErrorTable(t *testing.T) {
	h := newHost(t, nodes(2))
	ctx := context.Background()
	p := h.protocols()[1]
	full := must(p.leases.Acquire(ctx, acquireRequest("", "one", 0))).Lease
	must(p.leases.Acquire(ctx, acquireRequest("", "two", 0)))
	must(p.admin.CreatePool(ctx,
		&cirrusv1.CreatePoolRequest{Pool: &cirrusv1.Pool{Name: "ending", Layout: longBits}}))
	must(p.admin.CreatePool(ctx, &cirrusv1.CreatePoolRequest{Pool: &cirrusv1.Pool{Name: "roomy"}}))
	rows := h.leaseErrors(full)
	rows = append(rows, h.poolErrors()...)
	rows = append(rows, h.listErrors()...)
	before := h.dump()
	for _, p := range h.protocols() {
		t.Run(p.name, func(t *testing.T) {
			for _, row := range rows {
				row.want.check(t, row.name, row.do(p))
			}
			if after := h.dump(); after != before {
				t.Errorf("something changed:\n%s\nwas\n%s", after, before)
			}
		})
	}
}

func (h *host) leaseErrors(held *cirrusv1.Lease) []errorRow {
	unknown := wanted{code: connect.CodeNotFound, reason: fencing.ReasonPoolNotFound,
		words: `"west"`}
	ask := func(edit func(*cirrusv1.AcquireRequest)) *cirrusv1.AcquireRequest {
		req := acquireRequest("roomy", "app", 0)
		edit(req)
		return req
	}
	rows := []errorRow{
		h.acquireRow("no app ID", ask(func(r *cirrusv1.AcquireRequest) { r.AppId = "" }),
			badInput("app_id")),
		h.acquireRow("a long app ID",
			ask(func(r *cirrusv1.AcquireRequest) { r.AppId = letters(254) }), badInput("app_id")),
		h.acquireRow("a huge app ID",
			ask(func(r *cirrusv1.AcquireRequest) { r.AppId = letters(500_000) }),
			badInput("app_id")),
		h.acquireRow("a short instance ID",
			ask(func(r *cirrusv1.AcquireRequest) { r.InstanceId = letters(15) }),
			badInput("instance_id")),
		h.acquireRow("a long instance ID",
			ask(func(r *cirrusv1.AcquireRequest) { r.InstanceId = letters(65) }),
			badInput("instance_id")),
		h.acquireRow("an instance ID with a newline",
			ask(func(r *cirrusv1.AcquireRequest) { r.InstanceId = letters(16) + "\n" }),
			badInput("instance_id")),
		h.acquireRow("an instance ID beyond ASCII",
			ask(func(r *cirrusv1.AcquireRequest) { r.InstanceId = letters(16) + "é" }),
			badInput("instance_id")),
		h.acquireRow("a TTL of 0", ask(func(r *cirrusv1.AcquireRequest) { r.Ttl = proto3(0) }),
			badInput("ttl")),
		h.acquireRow("a TTL below 0",
			ask(func(r *cirrusv1.AcquireRequest) { r.Ttl = proto3(-time.Second) }),
			badInput("ttl")),
		h.acquireRow("a TTL below 1 s",
			ask(func(r *cirrusv1.AcquireRequest) { r.Ttl = proto3(time.Second - 1) }),
			badInput("ttl")),
		h.acquireRow("a TTL above max_ttl",
			ask(func(r *cirrusv1.AcquireRequest) { r.Ttl = proto3(30*time.Second + 1) }),
			badInput("ttl")),
		h.acquireRow("a wait below 0",
			ask(func(r *cirrusv1.AcquireRequest) { r.Wait = proto3(-1) }), badInput("wait")),
		h.acquireRow("a wait above 60 s",
			ask(func(r *cirrusv1.AcquireRequest) { r.Wait = proto3(time.Minute + 1) }),
			badInput("wait")),
		h.acquireRow("an unknown pool", ask(func(r *cirrusv1.AcquireRequest) { r.Pool = "west" }),
			unknown),
		h.acquireRow("a bad pool name", ask(func(r *cirrusv1.AcquireRequest) { r.Pool = "We st" }),
			badInput("pool")),
		h.acquireRow("a long pool name",
			ask(func(r *cirrusv1.AcquireRequest) { r.Pool = letters(64) }), badInput("pool")),
		h.acquireRow("a huge pool name",
			ask(func(r *cirrusv1.AcquireRequest) { r.Pool = letters(500_000) }), badInput("pool")),
		h.acquireRow("a full pool", acquireRequest("", "late", 0), noFree),
		{"HeartbeatBatch: 1025", func(p protocol) error {
			_, err := p.leases.HeartbeatBatch(context.Background(),
				&cirrusv1.HeartbeatBatchRequest{Heartbeats: make1025(held)})
			return err
		}, badInput("heartbeats")},
		h.releaseRow("a last timestamp of 0", held, 0),
		h.releaseRow("a negative last timestamp", held, -1),
	}
	edited := func(edit func(*cirrusv1.HeartbeatRequest)) *cirrusv1.HeartbeatRequest {
		req := heartbeatRequest(held)
		edit(req)
		return req
	}
	for _, c := range []struct {
		name string
		edit func(*cirrusv1.HeartbeatRequest)
		want wanted
	}{
		{"no instance ID", func(r *cirrusv1.HeartbeatRequest) { r.InstanceId = "" }, badInput("instance_id")},
		{"a short instance ID", func(r *cirrusv1.HeartbeatRequest) { r.InstanceId = "x" }, badInput("instance_id")},
		{"another instance", func(r *cirrusv1.HeartbeatRequest) { r.InstanceId = secret("other") }, lostLease},
		{"an epoch of 0", func(r *cirrusv1.HeartbeatRequest) { r.Epoch = 0 }, badInput("epoch")},
		{"an old epoch", func(r *cirrusv1.HeartbeatRequest) { r.Epoch-- }, lostLease},
		{"a later epoch", func(r *cirrusv1.HeartbeatRequest) { r.Epoch++ }, lostLease},
		{"a node ID that the layout can't have", func(r *cirrusv1.HeartbeatRequest) { r.NodeId = 1024 }, badInput("node_id")},
		{"the largest node ID of all", func(r *cirrusv1.HeartbeatRequest) { r.NodeId = 1<<32 - 1 }, badInput("node_id")},
		{"a node ID never granted", func(r *cirrusv1.HeartbeatRequest) { r.NodeId = 1000 }, lostLease},
		{"an unknown pool", func(r *cirrusv1.HeartbeatRequest) { r.Pool = "west" }, unknown},
		{"a bad pool name", func(r *cirrusv1.HeartbeatRequest) { r.Pool = "west/" }, badInput("pool")},
	} {
		rows = append(rows, h.beatRows(c.name, edited(c.edit), c.want)...)
	}
	return rows
}

func (h *host) releaseRow(name string, l *cirrusv1.Lease, last int64) errorRow {
	return errorRow{"Release: " + name, func(p protocol) error {
		_, err := p.leases.Release(context.Background(), releaseRequest(l, &last))
		return err
	}, badInput("last_timestamp_ms")}
}

func (h *host) poolErrors() []errorRow {
	forbidden := wanted{code: connect.CodeFailedPrecondition, reason: fencing.ReasonForbidden}
	exists := wanted{code: connect.CodeAlreadyExists, reason: fencing.ReasonPoolExists}
	unknown := wanted{code: connect.CodeNotFound, reason: fencing.ReasonPoolNotFound}
	var rows []errorRow
	add := func(name string, edit func(*cirrusv1.Pool), create, update wanted) {
		pool := &cirrusv1.Pool{Name: "roomy"}
		if update == (wanted{}) {
			pool.Name = "new"
		}
		edit(pool)
		rows = append(rows, h.poolRows(name, pool, create, update)...)
	}
	both := func(name, field string,
		edit func(*cirrusv1.Pool)) {
		add(name, edit, badInput(field), badInput(field))
	}
	both("a bad name", "pool", func(p *cirrusv1.Pool) { p.Name = "Ä" })
	both("a TTL below 1 s", "ttl", func(p *cirrusv1.Pool) { p.Ttl = proto3(time.Millisecond) })
	both("a TTL of 0", "ttl", func(p *cirrusv1.Pool) { p.Ttl = proto3(0) })
	both("a TTL of a year", "ttl",
		func(p *cirrusv1.Pool) { p.Ttl, p.MaxTtl = proto3(8760*time.Hour), proto3(8760*time.Hour) })
	both("a max_ttl below the TTL",
		"max_ttl", func(p *cirrusv1.Pool) { p.MaxTtl = proto3(time.Second) })
	both("a negative quarantine",
		"quarantine", func(p *cirrusv1.Pool) { p.Quarantine = proto3(-time.Second) })
	both("a quarantine below the stride",
		"quarantine", func(p *cirrusv1.Pool) { p.Quarantine = proto3(time.Second) })
	both("a quarantine below a tenth of the TTL", "quarantine", func(p *cirrusv1.Pool) {
		p.Ttl, p.MaxTtl, p.Quarantine = proto3(1000*time.Second), proto3(1000*time.Second),
			proto3(99*time.Second)
	})
	add("node IDs the wrong way round",
		func(p *cirrusv1.Pool) { p.NodeIds = &cirrusv1.NodeRange{First: 5, Last: 4} },
		badInput("node_ids"), wanted{})
	add("node IDs beyond the layout",
		func(p *cirrusv1.Pool) { p.NodeIds = &cirrusv1.NodeRange{Last: 1024} },
		badInput("node_ids"), badInput("node_ids"))
	add(
		"too many bits", func(p *cirrusv1.Pool) {
			p.Layout = &cirrusv1.Layout{TimestampBits: 41,
				NodeBits: 11, SequenceBits: 12}
		}, badInput("layout"), wanted{})
	add("far too many bits", func(p *cirrusv1.Pool) {
		p.Layout = &cirrusv1.Layout{TimestampBits: 41 + 256, NodeBits: 10, SequenceBits: 12}
	}, badInput("layout"), badInput("layout"))
	add("no bits", func(p *cirrusv1.Pool) { p.Layout = &cirrusv1.Layout{} }, badInput("layout"),
		wanted{})
	add("a negative origin", func(p *cirrusv1.Pool) {
		p.Layout = &cirrusv1.Layout{OriginMs: -1, TimestampBits: 41, NodeBits: 10, SequenceBits: 12}
	}, badInput("layout"), wanted{})
	add("no origin", func(p *cirrusv1.Pool) {
		p.Layout = &cirrusv1.Layout{TimestampBits: 41, NodeBits: 10, SequenceBits: 12}
	}, badInput("origin_ms"), wanted{})
	add("an origin in seconds", func(p *cirrusv1.Pool) {
		p.Layout = &cirrusv1.Layout{OriginMs: 1_577_836_800, TimestampBits: 41, NodeBits: 10,
			SequenceBits: 12}
	}, badInput("origin_ms"), wanted{})
	add("a max_ttl above a day", func(p *cirrusv1.Pool) { p.MaxTtl = proto3(25 * time.Hour) },
		badInput("max_ttl"), wanted{})
	add("max_ttl raised above a day", func(p *cirrusv1.Pool) { p.MaxTtl = proto3(25 * time.Hour) },
		exists, badInput("max_ttl"))
	add("quarantine raised above a day",
		func(p *cirrusv1.Pool) { p.Quarantine = proto3(25 * time.Hour) }, exists,
		badInput("quarantine"))
	add("an origin in the future", func(p *cirrusv1.Pool) {
		p.Layout = &cirrusv1.Layout{OriginMs: theDay.UnixMilli() + 1, TimestampBits: 41,
			NodeBits: 10, SequenceBits: 12}
	}, forbidden, wanted{})
	add("a layout that ends within a year", func(p *cirrusv1.Pool) {
		p.Layout = &cirrusv1.Layout{OriginMs: theDay.UnixMilli(), TimestampBits: 34, NodeBits: 10,
			SequenceBits: 12}
	}, forbidden, wanted{})
	add("another layout", func(p *cirrusv1.Pool) { p.Layout = longBits }, exists, forbidden)
	add(
		"fewer node IDs", func(p *cirrusv1.Pool) {
			p.NodeIds = &cirrusv1.NodeRange{First: 1,
				Last: 1023}
		}, exists, forbidden)
	add("other timings", func(p *cirrusv1.Pool) { p.Ttl = proto3(20 * time.Second) }, exists,
		wanted{})
	rows[len(rows)-1].do = func(p protocol) error {
		_, err := p.admin.CreatePool(context.Background(),
			&cirrusv1.CreatePoolRequest{Pool: &cirrusv1.Pool{Name: "roomy",
				Ttl: proto3(20 * time.Second)}})
		return err
	}
	rows = append(rows,
		errorRow{"UpdatePool: an unknown pool", func(p protocol) error {
			_, err := p.admin.UpdatePool(context.Background(),
				&cirrusv1.UpdatePoolRequest{Pool: &cirrusv1.Pool{Name: "west",
					Ttl: proto3(time.Minute)}})
			return err
		}, unknown},
		errorRow{"GetPool: an unknown pool", func(p protocol) error {
			_, err := p.admin.GetPool(context.Background(), &cirrusv1.GetPoolRequest{Name: "west"})
			return err
		}, unknown},
		errorRow{"GetPool: a bad name", func(p protocol) error {
			_, err := p.admin.GetPool(context.Background(),
				&cirrusv1.GetPoolRequest{Name: letters(100_000)})
			return err
		}, badInput("pool")})
	return rows
}

func (h *host) listErrors() []errorRow {
	list := func(name string, req *cirrusv1.ListLeasesRequest, want wanted) errorRow {
		return errorRow{"ListLeases: " + name, func(p protocol) error {
			_, err := p.admin.ListLeases(context.Background(), req)
			return err
		}, want}
	}
	pools := func(name string, req *cirrusv1.ListPoolsRequest, want wanted) errorRow {
		return errorRow{"ListPools: " + name, func(p protocol) error {
			_, err := p.admin.ListPools(context.Background(), req)
			return err
		}, want}
	}
	revoke := func(name string, req *cirrusv1.RevokeRequest, want wanted) errorRow {
		return errorRow{"Revoke: " + name, func(p protocol) error {
			_, err := p.admin.Revoke(context.Background(), req)
			return err
		}, want}
	}
	free := func(name string, req *cirrusv1.FreeRequest, want wanted) errorRow {
		return errorRow{"Free: " + name, func(p protocol) error {
			_, err := p.admin.Free(context.Background(), req)
			return err
		}, want}
	}
	unknown := wanted{code: connect.CodeNotFound, reason: fencing.ReasonPoolNotFound}
	return []errorRow{
		free("an unknown pool", &cirrusv1.FreeRequest{Pool: "west", Epoch: 1}, unknown),
		free("an epoch of 0", &cirrusv1.FreeRequest{}, badInput("epoch")),
		free("a node ID out of range", &cirrusv1.FreeRequest{NodeId: 1024, Epoch: 1},
			badInput("node_id")),
		free("another epoch", &cirrusv1.FreeRequest{Epoch: 1}, lostLease),
		free("a node ID never granted", &cirrusv1.FreeRequest{NodeId: 9, Epoch: 1}, lostLease),
		list("an unknown pool", &cirrusv1.ListLeasesRequest{Pool: "west"}, unknown),
		list("a bad pool name", &cirrusv1.ListLeasesRequest{Pool: "\u200b"}, badInput("pool")),
		list("a page of 1001", &cirrusv1.ListLeasesRequest{PageSize: 1001}, badInput("page_size")),
		list("a token that is no number", &cirrusv1.ListLeasesRequest{PageToken: "x"},
			badInput("page_token")),
		list("a negative token", &cirrusv1.ListLeasesRequest{PageToken: "-1"},
			badInput("page_token")),
		list("a token too large", &cirrusv1.ListLeasesRequest{PageToken: "4294967296"},
			badInput("page_token")),
		list("a huge token", &cirrusv1.ListLeasesRequest{PageToken: letters(500_000)},
			badInput("page_token")),
		pools("a page of 1001", &cirrusv1.ListPoolsRequest{PageSize: 1001}, badInput("page_size")),
		pools("a token that is no name", &cirrusv1.ListPoolsRequest{PageToken: "a b"},
			badInput("page_token")),
		pools("a huge token", &cirrusv1.ListPoolsRequest{PageToken: letters(500_000)},
			badInput("page_token")),
		revoke("an unknown pool", &cirrusv1.RevokeRequest{Pool: "west", Epoch: 1}, unknown),
		revoke("a bad pool name", &cirrusv1.RevokeRequest{Pool: "west_", Epoch: 1},
			badInput("pool")),
		revoke("an epoch of 0", &cirrusv1.RevokeRequest{}, badInput("epoch")),
		revoke("a node ID out of range", &cirrusv1.RevokeRequest{NodeId: 1024, Epoch: 1},
			badInput("node_id")),
		revoke("another epoch", &cirrusv1.RevokeRequest{Epoch: 1}, lostLease),
		revoke("a node ID never granted", &cirrusv1.RevokeRequest{NodeId: 9, Epoch: 1}, lostLease),
	}
}

func letters(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a' + byte(i%26)
	}
	return string(b)
}

func make1025(l *cirrusv1.Lease) []*cirrusv1.HeartbeatRequest {
	all := make([]*cirrusv1.HeartbeatRequest, MaxBatch+1)
	for i := range all {
		all[i] = heartbeatRequest(l)
	}
	return all
}

// A lease that would reach past the layout's last timestamp is refused, and
// the pool's others go on.
func TestLayoutExhausted(t *testing.T) {
	h := newHost(t, nil)
	p := h.protocols()[3]
	ctx := context.Background()
	must(p.admin.CreatePool(ctx,
		&cirrusv1.CreatePoolRequest{Pool: &cirrusv1.Pool{Name: "ending", Layout: longBits}}))
	ends := time.Duration(1<<36-1) * time.Millisecond
	h.clock.Advance(ends - 31*time.Second)
	last, err := p.leases.Acquire(ctx, acquireRequest("ending", "last", 0))
	if err != nil {
		t.Fatal(err)
	}
	h.clock.Advance(2 * time.Second)
	_, err = p.leases.Acquire(ctx, acquireRequest("ending", "later", 0))
	wanted{code: connect.CodeFailedPrecondition, reason: fencing.ReasonLayoutExhausted}.check(t,
		"Acquire", err)
	if _, err := p.leases.Heartbeat(ctx, heartbeatRequest(last.Lease)); err != nil {
		t.Error(err)
	}
}

// A call's own deadline ends it, and says so.
func TestDeadlineOfCall(t *testing.T) {
	h := newHost(t, nodes(1))
	must(h.protocols()[0].leases.Acquire(context.Background(), acquireRequest("", "one", 0)))
	for _, p := range h.protocols() {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		_, err := p.leases.Acquire(ctx, acquireRequest("", "late", time.Minute))
		cancel()
		if connect.CodeOf(err) != connect.CodeDeadlineExceeded {
			t.Errorf("%s: %v", p.name, err)
		}
	}
	await(t, "the queue to be empty",
		func() bool { return metricOf(t, h.s, "cirrus_waiting_requests") == 0 })
}

// await waits for a condition that others bring about.
func await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still waiting for %s", what)
		}
	}
}

// Pages hold what they should, in order, and lead from one to the next.
func TestPages(t *testing.T) {
	h := newHost(t, func(p *fencing.Pool) { p.First, p.Last = 10, 260 })
	ctx := context.Background()
	p := h.protocols()[3]
	for i := range 250 {
		must(p.leases.Acquire(ctx, acquireRequest("", fmt.Sprintf("app-%03d", i), 0)))
	}
	for _, c := range []struct{ size, pages int }{{0, 3}, {1, 250}, {100, 3}, {249, 2}, {250, 1},
		{1000, 1}} {
		next, pages, want := "", 0, uint32(10)
		for {
			page := must(p.admin.ListLeases(ctx,
				&cirrusv1.ListLeasesRequest{PageSize: uint32(c.size), PageToken: next}))
			for _, row := range page.Leases {
				if row.NodeId != want {
					t.Fatalf("page %d of %d shows node ID %d, want %d", pages, c.size, row.NodeId,
						want)
				}
				want++
			}
			pages++
			if next = page.NextPageToken; next == "" {
				break
			}
		}
		if pages != c.pages || want != 260 {
			t.Errorf("pages of %d: got %d up to node ID %d, want %d up to 259", c.size, pages,
				want-1, c.pages)
		}
	}
	for i := range 5 {
		must(p.admin.CreatePool(ctx,
			&cirrusv1.CreatePoolRequest{Pool: &cirrusv1.Pool{Name: fmt.Sprintf("pool-%d", i)}}))
	}
	var names []string
	for next := ""; ; {
		page := must(p.admin.ListPools(ctx,
			&cirrusv1.ListPoolsRequest{PageSize: 2, PageToken: next}))
		for _, pool := range page.Pools {
			names = append(names, pool.Name)
		}
		if next = page.NextPageToken; next == "" {
			break
		}
	}
	if got := fmt.Sprint(names); got != "[default pool-0 pool-1 pool-2 pool-3 pool-4]" {
		t.Errorf("ListPools shows %s", got)
	}
}
