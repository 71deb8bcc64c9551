package service

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/cirrus-id/cirrus/proto/cirrus/v1/cirrusv1connect"
)

// writeDeadlines is a connection that remembers its write deadlines.
type writeDeadlines struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (d *writeDeadlines) SetWriteDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

// A stream whose reader takes nothing ends, and the connection's next request
// does not inherit its deadline.
func TestStreamsAreImpatient(t *testing.T) {
	for path, want := range map[string]int{
		cirrusv1connect.AdminServiceWatchProcedure:       3, // write, flush, lift
		healthWatchProcedure:                             3,
		cirrusv1connect.LeaseServiceHeartbeatProcedure:   0,
		cirrusv1connect.AdminServiceListLeasesProcedure:  0,
		"/grpc.reflection.v1.ServerReflection/Something": 0,
	} {
		d := &writeDeadlines{ResponseRecorder: httptest.NewRecorder()}
		Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if _, err := w.Write([]byte("event")); err != nil {
				t.Error(err)
			}
			w.(http.Flusher).Flush()
		})).ServeHTTP(d, httptest.NewRequest(http.MethodPost, path, nil))
		if len(d.set) != want {
			t.Errorf("%s: %d write deadlines, want %d", path, len(d.set), want)
			continue
		}
		for i, at := range d.set {
			if last := i == len(d.set)-1; at.IsZero() != last {
				t.Errorf("%s: write deadline %d is %v", path, i, at)
			}
		}
	}
}
