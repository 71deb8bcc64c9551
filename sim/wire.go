package sim

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

// The names of the calls that are checked.
const (
	callAcquire   = "Acquire"
	callHeartbeat = "Heartbeat"
	callRelease   = "Release"
	callRevoke    = "Revoke"
	callBatch     = "HeartbeatBatch"
	callList      = "ListLeases"
)

// request is what a request says, as it is read on the wire.
type request struct {
	pool     string
	node     int // −1: none
	epoch    uint64
	app      string
	instance string
	last     *int64
	ttl      time.Duration // 0: the pool's
	wait     time.Duration // in line
	items    []*request    // of a batch
}

// reply is what an answer says.
type reply struct {
	code  string // empty: good
	good  bool
	lost  bool // LEASE_LOST
	lease bool // it brings a lease
	node  int
	epoch uint64
	// Of a lease.
	instance       string
	app            string
	ttl            time.Duration
	server         int64
	floor, ceiling int64
	items          []*reply // of a batch
}

func readRequest(procedure string, body []byte) *request {
	r := &request{node: -1}
	switch procedure {
	case callAcquire:
		var m cirrusv1.AcquireRequest
		read(body, &m)
		r.pool, r.app, r.instance = m.GetPool(), m.GetAppId(), m.GetInstanceId()
		r.ttl, r.wait = m.GetTtl().AsDuration(), m.GetWait().AsDuration()
	case callHeartbeat:
		var m cirrusv1.HeartbeatRequest
		read(body, &m)
		r.heartbeat(&m)
	case callBatch:
		var m cirrusv1.HeartbeatBatchRequest
		read(body, &m)
		for _, h := range m.GetHeartbeats() {
			item := &request{}
			item.heartbeat(h)
			r.items = append(r.items, item)
		}
	case callRelease:
		var m cirrusv1.ReleaseRequest
		read(body, &m)
		r.pool, r.node, r.epoch, r.instance, r.last = m.GetPool(), int(m.GetNodeId()), m.GetEpoch(), m.GetInstanceId(), m.LastTimestampMs
	case callRevoke:
		var m cirrusv1.RevokeRequest
		read(body, &m)
		r.pool, r.node, r.epoch = m.GetPool(), int(m.GetNodeId()), m.GetEpoch()
	}
	r.poolOrDefault()
	return r
}

func (r *request) poolOrDefault() {
	if r.pool == "" {
		r.pool = string(fencing.DefaultPool)
	}
}

func (r *request) heartbeat(m *cirrusv1.HeartbeatRequest) {
	r.pool, r.node, r.epoch, r.instance = m.GetPool(), int(m.GetNodeId()), m.GetEpoch(), m.GetInstanceId()
	r.poolOrDefault()
}

func read(body []byte, m proto.Message) {
	if err := proto.Unmarshal(body, m); err != nil {
		panic("sim: a message can't be read: " + err.Error())
	}
}

func readReply(c *call, a *answer) *reply {
	r := &reply{node: c.request.node, epoch: c.request.epoch, good: a.status == 200}
	if !r.good {
		var e struct {
			Code string `json:"code"`
		}
		if err := json.Unmarshal(a.body, &e); err != nil || e.Code == "" {
			panic("sim: an error can't be read: " + string(a.body))
		}
		r.code = e.Code
		r.lost = e.Code == "failed_precondition" && (c.procedure == callHeartbeat || c.procedure == callRelease)
		return r
	}
	switch c.procedure {
	case callAcquire:
		var m cirrusv1.AcquireResponse
		read(a.body, &m)
		r.take(m.GetLease())
	case callHeartbeat:
		var m cirrusv1.HeartbeatResponse
		read(a.body, &m)
		r.take(m.GetLease())
	case callBatch:
		var m cirrusv1.HeartbeatBatchResponse
		read(a.body, &m)
		for i, h := range m.GetResults() {
			item := &reply{node: c.request.items[i].node, epoch: c.request.items[i].epoch, good: h.GetError() == nil}
			if e := h.GetError(); e != nil {
				item.code = e.GetCode()
				item.lost = e.GetCode() == "failed_precondition"
			} else {
				item.take(h.GetLease())
			}
			r.items = append(r.items, item)
		}
	}
	return r
}

func (r *reply) take(l *cirrusv1.Lease) {
	r.lease = true
	r.node, r.epoch, r.instance, r.app = int(l.GetNodeId()), l.GetEpoch(), l.GetInstanceId(), l.GetAppId()
	r.ttl = l.GetTtl().AsDuration()
	r.server, r.floor, r.ceiling = l.GetServerTimeMs(), l.GetFloorMs(), l.GetCeilingMs()
}

// reason is that of an error; "": it is none, or gives none.
func (a *answer) reason() string {
	if a.status == http.StatusOK {
		return ""
	}
	var e struct {
		Details []struct{ Type, Value string }
	}
	if err := json.Unmarshal(a.body, &e); err != nil {
		panic("sim: an error can't be read: " + string(a.body))
	}
	for _, d := range e.Details {
		if d.Type == "google.rpc.ErrorInfo" {
			b, err := base64.RawStdEncoding.DecodeString(d.Value)
			if err != nil {
				panic("sim: an error's detail can't be read: " + d.Value)
			}
			var info errdetails.ErrorInfo
			read(b, &info)
			return info.GetReason()
		}
	}
	return ""
}
