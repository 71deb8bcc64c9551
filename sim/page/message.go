package page

import (
	"fmt"
	"slices"
	"time"

	"github.com/cirrus-id/cirrus/sim"
)

// call is a request and its answers. request and answers are places in the chart's
// messages.
type call struct {
	sent     time.Duration
	from     int
	to       int
	text     string
	request  []int // not arrived yet
	answers  []int // not arrived yet
	requests int   // how many have arrived
}

// message adds a record about a message.
func (b *builder) message(r *sim.Record) {
	c := b.calls[r.Message]
	if r.Kind == sim.RecordSend {
		b.sent(r)
		return
	}
	if c == nil {
		return
	}
	switch {
	case r.Kind == sim.RecordArrive:
		b.arrives(c, r)
	case r.Kind == sim.RecordReply:
		c.answers = append(c.answers, b.trip(trip{
			From: b.machines[r.Machine].index, To: c.from, Sent: micros(r.At), Came: -1,
			Answer: true, Text: sentence(r),
		}))
		if n := b.nodeOf(r); n != nil && r.Text == "" {
			n.promised(r)
		}
	case r.Kind == sim.RecordAnswer:
		b.came(&c.answers, r)
	case b.machines[r.Machine].index != c.from:
		b.lost(&c.answers, r, len(c.answers)-1) // the one sent last
	default:
		b.lost(&c.request, r, 0)
	}
}

// trip adds a message to the chart and returns its place.
func (b *builder) trip(t trip) int {
	b.chart.Messages = append(b.chart.Messages, t)
	return len(b.chart.Messages) - 1
}

// sent adds a request.
func (b *builder) sent(r *sim.Record) {
	c := &call{sent: r.At, from: b.machines[r.Machine].index, text: sentence(r)}
	if to := b.machines[r.Peer]; to != nil {
		c.to = to.index
	}
	b.calls[r.Message] = c
	c.request = append(c.request,
		b.trip(trip{From: c.from, To: c.to, Sent: micros(r.At), Came: -1, Text: c.text}))
}

// arrives ends a request's trip. If it has ended before, the request is a duplicate.
func (b *builder) arrives(c *call, r *sim.Record) {
	if len(c.request) == 0 {
		text := fmt.Sprintf("%s (a duplicate)", c.text)
		if c.requests == 0 {
			text = fmt.Sprintf("%s (a duplicate of the lost one)", c.text)
		}
		c.request = append(c.request,
			b.trip(trip{From: c.from, To: c.to, Sent: micros(c.sent), Text: text}))
	}
	c.requests++
	// only now it is known which server it reaches
	b.chart.Messages[c.request[0]].To = b.machines[r.Machine].index
	b.came(&c.request, r)
}

// came ends the trip of the first waiting message.
func (b *builder) came(waiting *[]int, r *sim.Record) {
	if len(*waiting) > 0 {
		b.chart.Messages[(*waiting)[0]].Came = micros(r.At)
		*waiting = slices.Delete(*waiting, 0, 1)
	}
}

// lost says why the i-th waiting message never arrives.
func (b *builder) lost(waiting *[]int, r *sim.Record, i int) {
	if i >= 0 && i < len(*waiting) {
		b.chart.Messages[(*waiting)[i]].Lost = r.Text
		*waiting = slices.Delete(*waiting, i, i+1)
	}
}

// finishMessages marks the messages that neither arrived nor were lost.
func (b *builder) finishMessages() {
	for i := range b.chart.Messages {
		if m := &b.chart.Messages[i]; m.Came < 0 && m.Lost == "" {
			m.Lost = "nothing ran at its destination"
		}
	}
}
