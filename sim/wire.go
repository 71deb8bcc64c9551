package sim

import (
	"encoding/base64"
	"encoding/json"
	"net/http"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"

	"github.com/cirrus-id/cirrus/fencing"
	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
	"github.com/cirrus-id/cirrus/sim/event"
)

func readRequest(procedure string, body []byte) *event.Request {
	r := &event.Request{Node: -1}
	switch procedure {
	case event.CallAcquire:
		var m cirrusv1.AcquireRequest
		read(body, &m)
		r.Pool, r.App, r.Instance = m.GetPool(), m.GetAppId(), m.GetInstanceId()
		r.TTL, r.Wait = m.GetTtl().AsDuration(), m.GetWait().AsDuration()
	case event.CallHeartbeat:
		var m cirrusv1.HeartbeatRequest
		read(body, &m)
		takeHeartbeat(r, &m)
	case event.CallBatch:
		var m cirrusv1.HeartbeatBatchRequest
		read(body, &m)
		for _, h := range m.GetHeartbeats() {
			item := &event.Request{}
			takeHeartbeat(item, h)
			r.Items = append(r.Items, item)
		}
	case event.CallRelease:
		var m cirrusv1.ReleaseRequest
		read(body, &m)
		r.Pool, r.Node, r.Epoch, r.Instance, r.Last = m.GetPool(), int(m.GetNodeId()), m.GetEpoch(),
			m.GetInstanceId(), m.LastTimestampMs
	case event.CallRevoke:
		var m cirrusv1.RevokeRequest
		read(body, &m)
		r.Pool, r.Node, r.Epoch = m.GetPool(), int(m.GetNodeId()), m.GetEpoch()
	}
	poolOrDefault(r)
	return r
}

func poolOrDefault(r *event.Request) {
	if r.Pool == "" {
		r.Pool = string(fencing.DefaultPool)
	}
}

func takeHeartbeat(r *event.Request, m *cirrusv1.HeartbeatRequest) {
	r.Pool, r.Node, r.Epoch, r.Instance = m.GetPool(), int(m.GetNodeId()), m.GetEpoch(),
		m.GetInstanceId()
	poolOrDefault(r)
}

func read(body []byte, m proto.Message) {
	if err := proto.Unmarshal(body, m); err != nil {
		panic("sim: a message can't be read: " + err.Error())
	}
}

func readReply(c *call, a *answer) *event.Reply {
	r := &event.Reply{Node: c.request.Node, Epoch: c.request.Epoch, Good: a.status == 200}
	if !r.Good {
		var e struct {
			Code string `json:"code"`
		}
		if err := json.Unmarshal(a.body, &e); err != nil || e.Code == "" {
			panic("sim: an error can't be read: " + string(a.body))
		}
		r.Code = e.Code
		r.Lost = e.Code == "failed_precondition" &&
			(c.procedure == event.CallHeartbeat || c.procedure == event.CallRelease)
		return r
	}
	switch c.procedure {
	case event.CallAcquire:
		var m cirrusv1.AcquireResponse
		read(a.body, &m)
		takeLease(r, m.GetLease())
	case event.CallHeartbeat:
		var m cirrusv1.HeartbeatResponse
		read(a.body, &m)
		takeLease(r, m.GetLease())
	case event.CallBatch:
		var m cirrusv1.HeartbeatBatchResponse
		read(a.body, &m)
		for i, h := range m.GetResults() {
			item := &event.Reply{Node: c.request.Items[i].Node, Epoch: c.request.Items[i].Epoch,
				Good: h.GetError() == nil}
			if e := h.GetError(); e != nil {
				item.Code = e.GetCode()
				item.Lost = e.GetCode() == "failed_precondition"
			} else {
				takeLease(item, h.GetLease())
			}
			r.Items = append(r.Items, item)
		}
	}
	return r
}

func takeLease(r *event.Reply, l *cirrusv1.Lease) {
	r.Lease = true
	r.Node, r.Epoch, r.Instance, r.App = int(l.GetNodeId()), l.GetEpoch(), l.GetInstanceId(),
		l.GetAppId()
	r.TTL = l.GetTtl().AsDuration()
	r.Server, r.Floor, r.Ceiling = l.GetServerTimeMs(), l.GetFloorMs(), l.GetCeilingMs()
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
