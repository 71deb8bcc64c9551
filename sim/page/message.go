package page

import (
	"fmt"
	"slices"
	"time"

	"github.com/cirrus-id/cirrus/sim"
)

// call is a request under way, with its answers.
type call struct {
	sent     time.Duration
	from     int
	to       int
	text     string
	request  []int // messages that have not come, by their place in the chart
	answers  []int
	requests int // that came
}

// travels adds what a record tells of a message.
func (b *builder) travels(r *sim.Record) {
	c := b.calls[r.Message]
	if r.Kind == sim.RecordSend {
		b.leaves(r)
		return
	}
	if c == nil {
		return
	}
	switch {
	case r.Kind == sim.RecordArrive:
		b.arrives(c, r)
	case r.Kind == sim.RecordReply:
		c.answers = append(c.answers, b.trip(trip{From: b.machines[r.Machine].index, To: c.from, Left: micros(r.At), Came: -1, Answer: true, Text: sentence(r)}))
		if n := b.nodeOf(r); n != nil && r.Text == "" {
			n.promised(r)
		}
	case r.Kind == sim.RecordAnswer:
		b.came(&c.answers, r)
	case b.machines[r.Machine].index != c.from:
		b.lost(&c.answers, r, len(c.answers)-1) // the one that has just left
	default:
		b.lost(&c.request, r, 0)
	}
}

func (b *builder) trip(t trip) int {
	b.chart.Messages = append(b.chart.Messages, t)
	return len(b.chart.Messages) - 1
}

func (b *builder) leaves(r *sim.Record) {
	c := &call{sent: r.At, from: b.machines[r.Machine].index, text: sentence(r)}
	if to := b.machines[r.Peer]; to != nil {
		c.to = to.index
	}
	b.calls[r.Message] = c
	c.request = append(c.request, b.trip(trip{From: c.from, To: c.to, Left: micros(r.At), Came: -1, Text: c.text}))
}

// arrives ends a request's way; a second arrival is a double.
func (b *builder) arrives(c *call, r *sim.Record) {
	if len(c.request) == 0 {
		text := fmt.Sprintf("%s (a double)", c.text)
		if c.requests == 0 {
			text = fmt.Sprintf("%s (a double of the one that was lost)", c.text)
		}
		c.request = append(c.request, b.trip(trip{From: c.from, To: c.to, Left: micros(c.sent), Text: text}))
	}
	c.requests++
	b.chart.Messages[c.request[0]].To = b.machines[r.Machine].index // now it shows which server it is for
	b.came(&c.request, r)
}

func (b *builder) came(waiting *[]int, r *sim.Record) {
	if len(*waiting) > 0 {
		b.chart.Messages[(*waiting)[0]].Came = micros(r.At)
		*waiting = slices.Delete(*waiting, 0, 1)
	}
}

func (b *builder) lost(waiting *[]int, r *sim.Record, i int) {
	if i >= 0 && i < len(*waiting) {
		b.chart.Messages[(*waiting)[i]].Lost = r.Text
		*waiting = slices.Delete(*waiting, i, i+1)
	}
}

// stranded says of what neither came nor was lost that nobody took it.
func (b *builder) stranded() {
	for i := range b.chart.Messages {
		if m := &b.chart.Messages[i]; m.Came < 0 && m.Lost == "" {
			m.Lost = "nobody was there to take it"
		}
	}
}
