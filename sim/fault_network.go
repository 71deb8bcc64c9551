package sim

import (
	"net/http"
	"time"

	"github.com/cirrus-id/cirrus/sim/kernel"
	"github.com/cirrus-id/cirrus/sim/plan"
)

// Cut, and Foreign: somebody else answers in the service's place.

func (w *world) cut(d kernel.Dice) {
	name := w.apps[d.Below(uint64(len(w.apps)))].machine.Name
	until := w.now() + d.Tail(w.plan.TTL, 4*w.plan.TTL)
	ways := d.Below(3)
	text := []string{"both ways", "to the server", "from the server"}[ways]
	if ways != 2 {
		w.net.toServer[name] = until
	}
	if ways != 1 {
		w.net.fromServer[name] = until
	}
	w.note(Record{Kind: RecordNetwork, Machine: name, Peer: "server", Node: -1, Until: until,
		Text: "cut off " + text})
}

// foreignAnswers are what somebody between a client and the service says in the
// service's place: a proxy, a login page, a load balancer.
var foreignAnswers = []answer{
	page(http.StatusUnauthorized), page(http.StatusForbidden), page(http.StatusNotFound),
	page(http.StatusTooManyRequests), page(http.StatusBadGateway),
	page(http.StatusOK), // in the place of an answer
	{status: http.StatusTemporaryRedirect, header: http.Header{"Location": {"http://elsewhere/"}}},
	// nothing at all
	{status: http.StatusOK, header: http.Header{"Content-Type": {"application/proto"}}},
	inConnectsForm(http.StatusForbidden,
		"permission_denied"), inConnectsForm(http.StatusUnauthorized, "unauthenticated"),
	inConnectsForm(http.StatusPreconditionFailed,
		"failed_precondition"), inConnectsForm(http.StatusNotFound, "not_found"),
}

func page(status int) answer {
	return answer{status: status, header: http.Header{"Content-Type": {"text/html"}},
		body: []byte("<html>who are you?</html>")}
}

func inConnectsForm(status int, code string) answer {
	return answer{status: status, header: http.Header{"Content-Type": {"application/json"}},
		body: []byte(`{"code":"` + code + `","message":"who are you?"}`)}
}

// intercept lets somebody else answer a holder's call. It reports whether the
// request is kept from the service.
func (n *network) intercept(c *call) bool {
	w := n.w
	i := w.appIndex(c.from)
	if i < 0 || !w.on(plan.Foreign) || !w.fault(plan.Foreign, i, 60) {
		return false
	}
	d := w.dice("foreign", i)
	a, kept := foreignAnswers[d.Below(uint64(len(foreignAnswers)))], d.Below(2) == 0
	w.loop.At(w.now()+d.Duration(200*time.Microsecond, 3*time.Millisecond), "foreign answer",
		func() {
			if c.answer != nil || c.err != nil || c.from.Dead || c.gaveUp {
				return
			}
			w.note(Record{Kind: RecordAnswer, Machine: c.from.Machine.Name, Process: c.from.Number,
				Peer: "a forger", Message: c.number, Call: c.procedure, Pool: c.request.Pool,
				Node: c.request.Node, Epoch: c.request.Epoch, Text: http.StatusText(a.status)})
			w.saw("somebody else answered in the service's place")
			c.answer = &answer{status: a.status, header: a.header.Clone(), body: a.body}
			c.from.Machine.Touch()
		})
	return kept
}
