package service

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"google.golang.org/protobuf/proto"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// fuzzed is a service whose clocks stand still, so that whatever changes was
// changed by the request.
type fuzzed struct {
	s       *Service
	store   *testStore
	handler http.Handler
	held    *cirrusv1.Lease
	calls   int
	before  string
}

const fuzzedNodes = 50

func newFuzzed(t testing.TB) *fuzzed {
	t.Helper()
	clock := clockwork.NewFakeClockAt(theDay)
	f := &fuzzed{store: newTestStore(newBatch(t, theDay, true, nodes(fuzzedNodes)))}
	var err error
	f.s, err = New(context.Background(),
		Config{Store: f.store, Clock: clock, Steady: fakeSteady{clock, theDay},
			Logger: slog.New(slog.DiscardHandler), Random: bytes.NewReader(make([]byte, 1<<20))})
	if err != nil {
		t.Fatal(err)
	}
	f.handler = f.s.Handler()
	resp, err := leases{f.s}.Acquire(context.Background(),
		&cirrusv1.AcquireRequest{AppId: "held", InstanceId: "0123456789abcdef"})
	if err != nil {
		t.Fatal(err)
	}
	f.held = resp.Lease
	f.before = dumpOf(t, f.s, f.store)
	return f
}

// send sends a body, and checks what holds of every request: no panic, no
// INTERNAL, an error that is a sentence, and nothing changed where there is
// one.
func (f *fuzzed) send(t *testing.T, procedure, ctype string, body []byte) {
	t.Helper()
	// Nobody has to wait for a free node ID: there are more than calls.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req := httptest.NewRequest(http.MethodPost, procedure, bytes.NewReader(body)).WithContext(ctx)
	req.Header.Set("Content-Type", ctype)
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, req)
	if w.Code == http.StatusOK {
		f.before = dumpOf(t, f.s, f.store)
	} else {
		f.checkRefused(t, w, body)
	}
	of := f.s.state.Load().term
	of.mu.Lock()
	defer of.mu.Unlock()
	if err := of.core.Check(); err != nil {
		t.Fatalf("%q: %v", body, err)
	}
	if of.waiting.len() != 0 || len(f.store.faults) != 0 {
		t.Fatalf("%q: %d wait, %v", body, of.waiting.len(), f.store.faults)
	}
}

func (f *fuzzed) checkRefused(t *testing.T, w *httptest.ResponseRecorder, body []byte) {
	t.Helper()
	var e struct{ Code, Message string }
	reply, err := io.ReadAll(w.Body)
	if err == nil {
		err = json.Unmarshal(reply, &e)
	}
	switch {
	case err != nil:
		t.Fatalf("%q: the error %q is no JSON: %v", body, reply, err)
	case w.Code >= 500 && e.Code != "deadline_exceeded", e.Code == "internal", e.Code == "unknown",
		len(e.Message) < 10:
		t.Fatalf("%q: %d %q", body, w.Code, reply)
	}
	if after := dumpOf(t, f.s, f.store); after != f.before {
		t.Fatalf("%q was refused (%q), and changed\n%s\nto\n%s", body, reply, f.before, after)
	}
}

// fuzz sends each input to a service that is made anew now and then.
func fuzz(f *testing.F, procedure, ctype string, seeds ...string) {
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	var one *fuzzed
	f.Cleanup(func() {
		if one != nil {
			one.s.Close()
		}
	})
	f.Fuzz(func(t *testing.T, body []byte) {
		if one == nil || one.calls >= fuzzedNodes-1 {
			if one != nil {
				one.s.Close()
			}
			one = newFuzzed(t)
		}
		one.calls++
		one.send(t, procedure, ctype, body)
	})
}

func FuzzAcquireJSON(f *testing.F) {
	fuzz(f, cirrusv1connect.LeaseServiceAcquireProcedure, asJSON,
		`{"appId":"a"}`, `{"appId":"a","instanceId":"0123456789abcdef"}`,
		`{"appId":"a","ttl":"5s","wait":"10s","pool":"default"}`,
		`{"appId":"a","pool":"west"}`, `{"appId":"a","ttl":"-1s"}`, `{"appId":5}`, `{}`, ``, `null`,
		`{"appId":"\u0000"}`,
		`{"appId":"a","wait":"9223372036.999999999s"}`,
		`{"appId":"a","instanceId":"0123456789abcde\n"}`)
}

func FuzzHeartbeatJSON(f *testing.F) {
	fuzz(f, cirrusv1connect.LeaseServiceHeartbeatProcedure, asJSON,
		`{"instanceId":"0123456789abcdef","epoch":"1882559664357376"}`,
		`{"nodeId":63,"epoch":"1","instanceId":"0123456789abcdef"}`,
		`{"nodeId":4294967295,"epoch":18446744073709551615,"instanceId":"0123456789abcdef"}`,
		`{"nodeId":-1}`)
}

func FuzzHeartbeatProto(f *testing.F) {
	held := &cirrusv1.HeartbeatRequest{NodeId: 0, Epoch: fuzzedEpoch,
		InstanceId: "0123456789abcdef"}
	fuzz(f, cirrusv1connect.LeaseServiceHeartbeatProcedure, asProto, wire(held),
		wire(&cirrusv1.HeartbeatRequest{Pool: "default", NodeId: 63, Epoch: 1<<64 - 1,
			InstanceId: strings.Repeat("~", 64)}), "", "\x0a\x01\xff", "\xff\xff\xff\xff")
}

func FuzzBatchProto(f *testing.F) {
	held := &cirrusv1.HeartbeatRequest{NodeId: 0, Epoch: fuzzedEpoch,
		InstanceId: "0123456789abcdef"}
	fuzz(f, cirrusv1connect.LeaseServiceHeartbeatBatchProcedure, asProto,
		wire(
			&cirrusv1.HeartbeatBatchRequest{Heartbeats: []*cirrusv1.HeartbeatRequest{held, {},
				{Pool: "west", Epoch: 1, InstanceId: held.InstanceId}, held}}),
		strings.Repeat("\x0a\x00", 1025), "\x0a\x05\x10", "")
}

func FuzzReleaseJSON(f *testing.F) {
	fuzz(f, cirrusv1connect.LeaseServiceReleaseProcedure, asJSON,
		`{"instanceId":"0123456789abcdef","epoch":"1882559664357376","lastTimestampMs":"1795348800005"}`,
		`{"instanceId":"0123456789abcdef","epoch":"1882559664357376","lastTimestampMs":"0"}`,
		`{"instanceId":"0123456789abcdef","epoch":"1882559664357376","lastTimestampMs":"-9223372036854775808"}`,
		`{"instanceId":"0123456789abcdef","epoch":"1882559664357376","lastTimestampMs":"9223372036854775807"}`)
}

func FuzzRevokeProto(f *testing.F) {
	fuzz(f, cirrusv1connect.AdminServiceRevokeProcedure, asProto,
		wire(&cirrusv1.RevokeRequest{Epoch: fuzzedEpoch}),
		wire(&cirrusv1.RevokeRequest{NodeId: 1 << 31, Epoch: 1}), "")
}

func FuzzCreatePoolJSON(f *testing.F) {
	fuzz(f, cirrusv1connect.AdminServiceCreatePoolProcedure, asJSON,
		`{"pool":{"name":"east","ttl":"20s","maxTtl":"60s","quarantine":"15s","nodeIds":{"first":1,"last":9}}}`,
		`{"pool":{"name":"x","layout":{"originMs":"0","timestampBits":45,"nodeBits":9,"sequenceBits":9}}}`,
		`{"pool":{"layout":{"timestampBits":297,"nodeBits":4294967295}}}`,
		`{"pool":{"name":"x","unsafe":true,"quarantine":"0s","ttl":"1s"}}`,
		`{"pool":{"layout":{"originMs":"-9223372036854775808","timestampBits":41,"nodeBits":10,"sequenceBits":12}}}`, `{"pool":null}`, `{}`)
}

func FuzzUpdatePoolJSON(f *testing.F) {
	fuzz(f, cirrusv1connect.AdminServiceUpdatePoolProcedure, asJSON,
		`{"pool":{"nodeIds":{"last":1023}}}`, `{"pool":{"ttl":"1s","quarantine":"2592000s"}}`,
		`{"pool":{"layout":{}}}`,
		`{"pool":{"nodeIds":{"first":4294967295,"last":0}}}`, `{"pool":{"unsafe":false}}`,
		`{"pool":null}`, `{}`)
}

func FuzzListLeasesJSON(f *testing.F) {
	fuzz(f, cirrusv1connect.AdminServiceListLeasesProcedure, asJSON,
		`{}`, `{"pageToken":"0","pageSize":1}`, `{"pageToken":"4294967295"}`, `{"pageToken":"١"}`,
		`{"pageSize":4294967295}`, `{"pool":"\u0000"}`)
}

// fuzzedEpoch is what the first grant after a start on theDay gets (S2).
var fuzzedEpoch = uint64(theDay.Unix()+1) << 20

func wire(m proto.Message) string { return string(must(proto.Marshal(m))) }

// The seeds are what they should be: some are answered well, some refused.
func TestFuzzedServiceAnswers(t *testing.T) {
	f := newFuzzed(t)
	defer f.s.Close()
	f.send(t, cirrusv1connect.LeaseServiceHeartbeatProcedure, asProto,
		[]byte(wire(heartbeatRequest(f.held))))
	f.send(t, cirrusv1connect.LeaseServiceReleaseProcedure, asProto,
		[]byte(wire(releaseRequest(f.held, nil))))
	if rec, _ := f.store.record(fencing.DefaultPool, 0); rec.Status != fencing.Ended ||
		uint64(rec.Epoch) != fuzzedEpoch {
		t.Errorf("the seeds speak of epoch %d, the store has %v", fuzzedEpoch, rec)
	}
}
