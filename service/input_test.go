package service

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

const (
	asJSON  = "application/json"
	asProto = "application/proto"
	asWeb   = "application/grpc-web+proto"
)

// rawCase is a request as bytes, and what it should get.
type rawCase struct {
	name   string
	path   string
	ctype  string
	body   []byte
	header http.Header
	status int    // of HTTP
	code   string // of Connect's JSON, or of grpc-status; "": don't look
	words  string // in the body
}

// TestBadInput sends what no good client would: each gets the right code, and
// changes nothing.
func TestBadInput(t *testing.T) {
	h := newHost(t, nil)
	p := h.protocols()[1]
	ctx := context.Background()
	lease := must(p.leases.Acquire(ctx, acquireRequest("", "one", 0))).Lease
	before := h.dump()
	cases := append(jsonCases(lease), protoCases()...)
	for _, c := range append(cases, httpCases()...) {
		t.Run(c.name, func(t *testing.T) {
			h.sendRaw(t, c)
			if after := h.dump(); after != before {
				t.Errorf("something changed:\n%s\nwas\n%s", after, before)
			}
		})
	}
	if _, err := p.leases.Heartbeat(ctx, heartbeatRequest(lease)); err != nil {
		t.Errorf("the server is not well after that: %v", err)
	}
	if strings.Contains(h.log.String(), "panic") {
		t.Errorf("something panicked:\n%s", h.log)
	}
}

func jsonCases(l *cirrusv1.Lease) []rawCase {
	const acquire, beat = cirrusv1connect.LeaseServiceAcquireProcedure, cirrusv1connect.LeaseServiceHeartbeatProcedure
	const create, update = cirrusv1connect.AdminServiceCreatePoolProcedure, cirrusv1connect.AdminServiceUpdatePoolProcedure
	ref := fmt.Sprintf(`"instanceId":%q,"epoch":"%d"`, l.InstanceId, l.Epoch)
	bad := func(name, path, body, words string) rawCase {
		return rawCase{name: name, path: path, ctype: asJSON, body: []byte(body), status: 400,
			code: "invalid_argument", words: words}
	}
	return []rawCase{
		bad("nothing", acquire, ``, "JSON"),
		bad("no object", acquire, `[]`, "JSON"),
		bad("null", acquire, `null`, "JSON"),
		bad("two objects", acquire, `{"appId":"a"}{"appId":"b"}`, "JSON"),
		bad("half an object", acquire, `{"appId":"a"`, "JSON"),
		bad("an app ID that is a number", acquire, `{"appId":5}`, "appId"),
		bad("an app ID that is a list", acquire, `{"appId":["a"]}`, "appId"),
		bad("an app ID that is not UTF-8", acquire, "{\"appId\":\"\xff\xfe\"}", "UTF-8"),
		bad("half a surrogate pair", acquire, `{"appId":"\ud800"}`, ""),
		bad("a field twice", acquire, `{"appId":"a","app_id":"b"}`, "duplicate"),
		bad("a TTL that is a number", acquire, `{"appId":"a","ttl":30}`,
			`ttl: 30 is no duration in JSON: write \"30s\"`),
		bad("a TTL that is a fraction", acquire, `{"appId":"a","ttl":1.5}`, `write \"1.5s\"`),
		bad("a TTL that is a word", acquire, `{"appId":"a","ttl":"soon"}`,
			"write seconds with an s"),
		bad("a TTL that is nothing", acquire, `{"appId":"a","ttl":""}`, "write seconds with an s"),
		bad("a TTL that is true", acquire, `{"appId":"a","ttl":true}`, "write seconds with an s"),
		bad("a TTL without a unit", acquire, `{"appId":"a","ttl":"30"}`, `write \"30s\"`),
		bad("a TTL in minutes", acquire, `{"appId":"a","ttl":"1m"}`, `write \"60s\"`),
		bad("a TTL of several units", acquire, `{"appId":"a","ttl":"1h2m3.5s"}`,
			`write \"3723.5s\"`),
		bad("a TTL in milliseconds", acquire, `{"appId":"a","ttl":"1500ms"}`, `write \"1.5s\"`),
		bad("a TTL as its fields", acquire, `{"appId":"a","ttl":{"seconds":30}}`, `write \"30s\"`),
		bad("a TTL as more of its fields", acquire, `{"appId":"a","ttl":{"seconds":30,"nanos":1}}`,
			"write seconds with an s"),
		bad("a TTL as a field that is none", acquire, `{"appId":"a","ttl":{"minutes":30}}`,
			"write seconds with an s"),
		bad("a wait in minutes", acquire, `{"appId":"a","wait":"1m"}`,
			`wait: \"1m\" is no duration`),
		bad("a quarantine in hours, within a pool", create,
			`{"pool":{"name":"p","quarantine":"1h"}}`,
			`pool.quarantine: \"1h\" is no duration in JSON: write \"3600s\"`),
		bad("a misspelt field", acquire,
			`{"appId":"a","instanceID":"c0ffee00c0ffee00c0ffee00c0ffee00"}`,
			`\"instanceID\": there is no such field in cirrus.v1.AcquireRequest, which has pool, appId, instanceId, ttl, wait`),
		bad("a field of another name", acquire, `{"appId":"a","ttlSeconds":5}`,
			`\"ttlSeconds\": there is no such field`),
		bad("a misspelt field within a pool", update,
			`{"pool":{"name":"default","quarentine":"60s"}}`,
			`\"pool.quarentine\": there is no such field in cirrus.v1.Pool`),
		bad("an origin beside its layout", create,
			`{"pool":{"name":"p","originMs":"1577836800000","layout":{"timestampBits":41,"nodeBits":10,"sequenceBits":12}}}`, `layout {originMs, timestampBits`),
		bad("a misspelt field in a batch", cirrusv1connect.LeaseServiceHeartbeatBatchProcedure,
			`{"heartbeats":[{},{"nodeID":1}]}`, `\"heartbeats[1].nodeID\"`),
		bad("a field that is no text", acquire, "{\"appId\":\"a\",\"\x01\":1}", "JSON"),
		bad("a long field", acquire, `{"appId":"a","`+letters(100_000)+`":1}`,
			"there is no such field"),
		bad("a TTL of an age", acquire, `{"appId":"a","ttl":"315576000000s"}`, "ttl"),
		bad("a TTL of more than an age", acquire, `{"appId":"a","ttl":"999999999999999999s"}`,
			"ttl: "),
		bad("a wait of an age", acquire, `{"appId":"a","wait":"-315576000000s"}`, "wait"),
		bad("a node ID that is negative", beat, `{`+ref+`,"nodeId":-1}`, "nodeId"),
		bad("a node ID that is too large for its type", beat, `{`+ref+`,"nodeId":4294967296}`,
			"nodeId"),
		bad("a node ID that is a fraction", beat, `{`+ref+`,"nodeId":0.5}`, "nodeId"),
		bad("a node ID that is out of range", beat, `{`+ref+`,"nodeId":1024}`, "node_id"),
		bad("an epoch that is negative", beat, `{"instanceId":"0123456789abcdef","epoch":"-1"}`,
			"epoch"),
		bad("an epoch that is too large for its type", beat,
			`{"instanceId":"0123456789abcdef","epoch":"18446744073709551616"}`, "epoch"),
		bad("an epoch that is left out", beat, `{"instanceId":"0123456789abcdef"}`, "epoch"),
		bad("a deep nest", acquire,
			strings.Repeat(`{"layout":`, 20_000)+strings.Repeat(`}`, 20_000), ""),
		bad("a batch with a null in it", cirrusv1connect.LeaseServiceHeartbeatBatchProcedure,
			`{"heartbeats":[null]}`, ""),
		bad("a batch that is none", cirrusv1connect.LeaseServiceHeartbeatBatchProcedure,
			`{"heartbeats":{}}`, ""),
		bad("a page of a negative size", cirrusv1connect.AdminServiceListLeasesProcedure,
			`{"pageSize":-1}`, "pageSize"),
		bad("a last timestamp of 0", cirrusv1connect.LeaseServiceReleaseProcedure,
			`{`+ref+`,"lastTimestampMs":"0"}`, "last_timestamp_ms"),
		bad("a last timestamp that is a word", cirrusv1connect.LeaseServiceReleaseProcedure,
			`{`+ref+`,"lastTimestampMs":"now"}`, "lastTimestampMs"),
	}
}

func protoCases() []rawCase {
	const acquire = cirrusv1connect.LeaseServiceAcquireProcedure
	str := func(field protowire.Number, s string) []byte {
		return protowire.AppendString(protowire.AppendTag(nil, field, protowire.BytesType), s)
	}
	// A Duration whose parts have different signs, and one of too many nanoseconds.
	odd := func(seconds, nanos int64) []byte {
		d := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType),
			uint64(seconds))
		d = protowire.AppendVarint(protowire.AppendTag(d, 2, protowire.VarintType), uint64(nanos))
		return append(str(2, "app"),
			protowire.AppendBytes(protowire.AppendTag(nil, 4, protowire.BytesType), d)...)
	}
	bad := func(name, words string, body []byte) rawCase {
		return rawCase{name: name, path: acquire, ctype: asProto, body: body, status: 400,
			code: "invalid_argument", words: words}
	}
	return []rawCase{
		bad("proto: noise", "", []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")),
		bad("proto: an app ID that is not UTF-8", "UTF-8", str(2, "\xff\xfe")),
		bad("proto: an app ID that is longer than the message",
			"", protowire.AppendVarint(protowire.AppendTag(nil, 2, protowire.BytesType), 1<<40)),
		bad("proto: nothing", "app_id", nil),
		bad("proto: a TTL of two signs", "ttl", odd(5, -5)),
		bad("proto: a TTL of too many nanoseconds", "ttl", odd(5, 2_000_000_000)),
		bad("proto: a TTL of the most seconds", "ttl", odd(1<<62, 0)),
		bad("proto: a TTL of an age", "ttl", odd(9_223_372_037, 0)),
		bad("proto: a TTL that is negative", "ttl", odd(-5, 0)),
		// Broken framing is INTERNAL in gRPC: what is broken may be a proxy.
		{name: "gRPC-Web: half an envelope", path: acquire, ctype: asWeb, body: []byte{0, 0, 0}, status: 200, code: "13"},
		{name: "gRPC-Web: an envelope longer than its body", path: acquire, ctype: asWeb, body: envelope(0, 100, str(2, "app")), status: 200, code: "13"},
		{name: "gRPC-Web: an envelope of 4 GB", path: acquire, ctype: asWeb, body: envelope(0, 1<<32-1, str(2, "app")), status: 200, code: "8"},
		{name: "gRPC-Web: compressed with nothing", path: acquire, ctype: asWeb, body: envelope(1, 5, str(2, "app")), status: 200, code: "13"},
		{name: "gRPC-Web: two messages", path: acquire, ctype: asWeb, body: append(envelope(0, 5, str(2, "app")), envelope(0, 5, str(2, "app"))...), status: 200, code: "12"},
		{name: "gRPC-Web: none", path: acquire, ctype: asWeb, status: 200, code: "12"},
	}
}

func httpCases() []rawCase {
	const acquire = cirrusv1connect.LeaseServiceAcquireProcedure
	five := []byte(`{"appId":"` + strings.Repeat("a", 5<<20) + `"}`)
	packed := http.Header{"Content-Encoding": {"gzip"}}
	var cases []rawCase
	for _, path := range []string{acquire, cirrusv1connect.LeaseServiceHeartbeatProcedure,
		cirrusv1connect.LeaseServiceHeartbeatBatchProcedure,
		cirrusv1connect.AdminServiceCreatePoolProcedure} {
		cases = append(cases,
			rawCase{name: "5 MB to " + path, path: path, ctype: asJSON, body: five, status: 429,
				code: "resource_exhausted"},
			rawCase{name: "5 MB of proto to " + path, path: path, ctype: asProto, body: five,
				status: 429, code: "resource_exhausted"},
			rawCase{name: "a gzip bomb to " + path, path: path, ctype: asJSON, body: bomb(),
				header: packed, status: 429, code: "resource_exhausted"})
	}
	return append(cases,
		rawCase{name: "a gzip bomb in an envelope", path: acquire, ctype: asWeb,
			body: envelope(1, len(bomb()), bomb()), header: http.Header{"Grpc-Encoding": {"gzip"}},
			status: 200, code: "8"},
		rawCase{name: "gzip that is none", path: acquire, ctype: asJSON,
			body: []byte(`{"appId":"a"}`), header: packed, status: 400, code: "invalid_argument"},
		rawCase{name: "an unknown compression", path: acquire, ctype: asJSON,
			body: []byte(`{"appId":"a"}`), header: http.Header{"Content-Encoding": {"zip"}},
			status: 501, code: "unimplemented"},
		rawCase{name: "an unknown type", path: acquire, ctype: "text/plain",
			body: []byte(`{"appId":"a"}`), status: 415,
			code: "invalid_argument", words: "application/json"},
		rawCase{name: "no type", path: acquire, body: []byte(`{"appId":"a"}`), status: 415,
			code: "invalid_argument", words: `Content-Type \"\"`},
		rawCase{name: "an unknown charset", path: acquire, ctype: asJSON + "; charset=latin1",
			body: []byte(`{"appId":"a"}`), status: 415},
		rawCase{name: "an unknown path", path: "/nothing", ctype: asJSON, body: []byte(`{}`),
			status: 404},
		rawCase{name: "an unknown procedure", path: "/cirrus.v1.LeaseService/Steal", ctype: asJSON,
			body: []byte(`{}`), status: 404},
		rawCase{name: "the root", path: "/", ctype: asJSON, body: []byte(`{}`), status: 404},
		rawCase{name: "a malformed timeout", path: acquire, ctype: asJSON,
			body: []byte(`{"appId":"a"}`), header: http.Header{"Connect-Timeout-Ms": {"soon"}},
			status: 400, code: "invalid_argument"},
	)
}

func envelope(flags byte, length int, body []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{flags}, uint32(length)), body...)
}

// bomb is small, and 32 MB when unpacked.
var bomb = sync.OnceValue(func() []byte { return zipped(bytes.Repeat([]byte("a"), 32<<20)) })

func zipped(data []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	must(z.Write(data))
	z.Close()
	return b.Bytes()
}

func (h *host) sendRaw(t *testing.T, c rawCase) {
	t.Helper()
	req := must(http.NewRequest(http.MethodPost, h.url+c.path, bytes.NewReader(c.body)))
	for k, v := range c.header {
		req.Header[k] = v
	}
	if c.ctype != "" {
		req.Header.Set("Content-Type", c.ctype)
	}
	resp, err := h.h1.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body := must(io.ReadAll(resp.Body))
	if resp.StatusCode != c.status {
		t.Fatalf("got status %d (%.300s), want %d", resp.StatusCode, body, c.status)
	}
	if !strings.Contains(strings.ToLower(string(body)), strings.ToLower(c.words)) {
		t.Errorf("%.300s does not say %q", body, c.words)
	}
	switch {
	case c.code == "":
	case c.ctype == asWeb:
		if got := webStatus(resp.Header, body); got != c.code {
			t.Errorf("got grpc-status %q (%v %q), want %s", got, resp.Header, body, c.code)
		}
	default:
		var e struct{ Code, Message string }
		if err := json.Unmarshal(body, &e); err != nil || e.Code != c.code {
			t.Fatalf("got %.300s, want code %s", body, c.code)
		}
		checkSentence(t, c.name, e.Message)
	}
}

// webStatus finds a gRPC-Web reply's status, in its header or its trailers.
func webStatus(header http.Header, body []byte) string {
	if s := header.Get("Grpc-Status"); s != "" {
		return s
	}
	_, after, _ := strings.Cut(strings.ToLower(string(body)), "grpc-status:")
	status, _, _ := strings.Cut(after, "\r\n")
	return strings.TrimSpace(status)
}

// A gzip bomb is not unpacked further than its size has to be known; what is
// just large enough still is.
func TestGunzipStops(t *testing.T) {
	for size, want := range map[int]error{MaxRequestBytes: nil, MaxRequestBytes + 2: errUnpacked,
		32 << 20: errUnpacked} {
		packed := bytes.NewReader(bomb())
		if size < 32<<20 {
			packed = bytes.NewReader(zipped(make([]byte, size)))
		}
		g := newGunzip()
		for range 2 { // it is used again
			if err := g.Reset(packed); err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, g)
			if !errors.Is(err, want) || n > MaxRequestBytes+1 || err == nil && int(n) != size {
				t.Errorf("%d bytes: unpacked %d, %v", size, n, err)
			}
			must(packed.Seek(0, io.SeekStart))
		}
	}
}

// Every procedure refuses GET, and says how to ask.
func TestGet(t *testing.T) {
	h := newHost(t, nil)
	before := h.dump()
	for _, path := range []string{cirrusv1connect.LeaseServiceAcquireProcedure,
		cirrusv1connect.LeaseServiceReleaseProcedure,
		cirrusv1connect.AdminServiceCreatePoolProcedure,
		cirrusv1connect.AdminServiceListPoolsProcedure, healthCheckProcedure} {
		resp, err := h.h1.Get(h.url + path + `?encoding=json&message={"appId":"a"}`)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "POST" {
			t.Errorf("GET %s: %s, Allow %q", path, resp.Status, resp.Header.Get("Allow"))
		}
	}
	if h.dump() != before {
		t.Error("a GET changed something")
	}
}

// A body that is cut off changes nothing.
func TestBodyCutOff(t *testing.T) {
	h := newHost(t, nil)
	before := h.dump()
	body := `{"appId":"cut-off"}`
	for _, head := range []string{
		"Content-Length: 100\r\n\r\n" + body,
		"Transfer-Encoding: chunked\r\n\r\n13\r\n" + body,
		"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + body + "\r\n0\r\n\r\n",
		"Content-Length: 19\r\nContent-Length: 20\r\n\r\n" + body,
	} {
		c, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: cirrus\r\nContent-Type: application/json\r\n%s",
			cirrusv1connect.LeaseServiceAcquireProcedure, head)
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil {
			resp.Body.Close()
		}
		if err == nil && resp.StatusCode < 400 {
			t.Errorf("%q: got %s", head, resp.Status)
		}
		c.Close()
	}
	if after := h.dump(); after != before {
		t.Errorf("something changed:\n%s", after)
	}
}

// A body that never ends holds its connection for so long and no longer; a
// stream may last.
func TestEndlessBody(t *testing.T) {
	inBubble(t, bubbleOptions{}, func(b *bubble) {
		w := b.watch("")
		c, err := b.net.dial(context.Background(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		answered := start(func(context.Context) (string, error) {
			r := bufio.NewReader(c)
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				return "", err
			}
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			c.Close()
			return resp.Status, err
		})
		fmt.Fprintf(
			c, "POST %s HTTP/1.1\r\nHost: cirrus\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", cirrusv1connect.LeaseServiceAcquireProcedure)
		b.pass(defaultTimes.arrive - time.Second)
		answered.waits(t, "a request whose body goes on")
		b.pass(2 * time.Second)
		if !answered.ended() || strings.HasPrefix(answered.resp, "200") {
			t.Errorf("a request without an end: %v, %v, %q", answered.ended(), answered.err,
				answered.resp)
		}
		b.acquired("a")
		w.sees(t, "SYNCED", "GRANTED a held")
	})
}

// What is no POST is told what to send.
func TestOtherMethods(t *testing.T) {
	h := newHost(t, nil)
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete,
		http.MethodOptions, "BREW"} {
		resp, err := h.h1.Do(
			must(http.NewRequest(method, h.url+cirrusv1connect.LeaseServiceAcquireProcedure,
				strings.NewReader(`{"appId":"a"}`))))
		if err != nil {
			t.Fatal(err)
		}
		var e struct{ Code, Message string }
		err = json.NewDecoder(resp.Body).Decode(&e)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusMethodNotAllowed ||
			e.Code != "invalid_argument" || !strings.Contains(e.Message, "send a POST") {
			t.Errorf("%s: %s %+v, %v", method, resp.Status, e, err)
		}
		checkSentence(t, method, e.Message)
	}
}

// JSON shows a node ID of 0: it is a node ID.
func TestJSONShowsZero(t *testing.T) {
	h := newHost(t, nil)
	send := func(path, body string) string {
		resp, err := h.h1.Post(h.url+path, asJSON, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return strings.ReplaceAll(string(must(io.ReadAll(resp.Body))), " ", "")
	}
	for _, c := range []struct{ path, body, want string }{
		{cirrusv1connect.LeaseServiceAcquireProcedure, `{"appId":"a"}`, `"nodeId":0`},
		{cirrusv1connect.AdminServiceListLeasesProcedure, `{}`, `"nextPageToken":""`},
		{cirrusv1connect.AdminServiceGetPoolProcedure, `{}`, `"opensAtMs":"0"`},
		{healthCheckProcedure, `{}`, `"status":"SERVING"`},
	} {
		if got := send(c.path, c.body); !strings.Contains(got, c.want) {
			t.Errorf("%s answers %s, without %s", c.path, got, c.want)
		}
	}
	if got := send(cirrusv1connect.AdminServiceListLeasesProcedure, `{}`); !strings.Contains(got,
		`"nodeId":0`) || !strings.Contains(got, `"revoked":false`) {
		t.Errorf("ListLeases answers %s", got)
	}
}
