package sim

import (
	"net/http"
	"time"

	"github.com/cirrus-id/cirrus/client"
)

// foreignAnswers are what somebody between a client and the service says in the
// service's place: a proxy, a login page, a load balancer.
var foreignAnswers = []answer{
	page(http.StatusUnauthorized), page(http.StatusForbidden), page(http.StatusNotFound), page(http.StatusTooManyRequests), page(http.StatusBadGateway),
	page(http.StatusOK), // in the place of an answer
	{status: http.StatusTemporaryRedirect, header: http.Header{"Location": {"http://elsewhere/"}}},
	{status: http.StatusOK, header: http.Header{"Content-Type": {"application/proto"}}}, // nothing at all
	inConnectsForm(http.StatusForbidden, "permission_denied"), inConnectsForm(http.StatusUnauthorized, "unauthenticated"),
	inConnectsForm(http.StatusPreconditionFailed, "failed_precondition"), inConnectsForm(http.StatusNotFound, "not_found"),
}

func page(status int) answer {
	return answer{status: status, header: http.Header{"Content-Type": {"text/html"}}, body: []byte("<html>who are you?</html>")}
}

func inConnectsForm(status int, code string) answer {
	return answer{status: status, header: http.Header{"Content-Type": {"application/json"}}, body: []byte(`{"code":"` + code + `","message":"who are you?"}`)}
}

// intercept lets somebody else answer a holder's call. It says whether the
// request is kept from the service.
func (n *network) intercept(c *call) bool {
	w := n.w
	i := w.appIndex(c.from)
	if i < 0 || !w.on(Foreign) || !w.fault(Foreign, i, 60) {
		return false
	}
	d := w.dice("foreign", i)
	a, kept := foreignAnswers[d.Below(uint64(len(foreignAnswers)))], d.Below(2) == 0
	w.loop.at(w.now()+d.duration(200*time.Microsecond, 3*time.Millisecond), "foreign answer", func() {
		if c.answer != nil || c.err != nil || c.from.dead || c.gaveUp {
			return
		}
		w.note(Record{Kind: RecordAnswer, Machine: c.from.machine.name, Process: c.from.number, Peer: "a stranger", Message: c.number, Call: c.procedure,
			Pool: c.request.pool, Node: c.request.node, Epoch: c.request.epoch, Text: http.StatusText(a.status)})
		w.saw("somebody else answered in the service's place")
		c.answer = &answer{status: a.status, header: a.header.Clone(), body: a.body}
		c.from.machine.touch()
	})
	return kept
}

// endedBy looks at what a holder tells of the end of a lease, or of itself: only
// the service's own words can be why (C5).
func (a *app) endedBy(p *process, e client.Event) {
	switch {
	case a.proc != p:
	case e.Change == client.Lost && a.losses == 0:
		a.w.violate(PromiseAnswer, "%s takes its lease of node ID %d for lost, but the service has not told it so", a.machine.name, e.Lease.Node)
	case e.Change == client.Lost:
		a.losses = 0
	case e.Change == client.Refused:
		a.refused(p, "takes itself for refused")
	}
}

// refused looks whether the service has refused anything to a holder that ends.
func (a *app) refused(p *process, what string) {
	if a.proc == p && a.noes == 0 {
		a.w.violate(PromiseAnswer, "%s %s, but the service has refused it nothing", a.machine.name, what)
	}
}
