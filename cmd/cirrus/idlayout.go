package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// idLayout is how any system may have laid out the IDs that decode takes apart:
// with up to 64 bits, a unit of time of its own, and without a node ID or a
// sequence. Pools have the narrower snowflake.Layout.
type idLayout struct {
	origin snowflake.Millis
	// unit is how much time the timestamp counts by, in ms: above 0.
	unit snowflake.Millis
	// timestamp, node and sequence are numbers of bits: 64 at most in all, and at
	// least one for the timestamp, which stands highest.
	timestamp, node, sequence uint8
	// sequenceFirst: the sequence stands above the node ID.
	sequenceFirst bool
}

// idParts is what an ID says.
type idParts struct {
	time           snowflake.Millis // Unix ms
	ticks          uint64           // the timestamp as it stands in the ID
	node, sequence uint64
}

// bits are how many there are in all.
func (l idLayout) bits() int { return int(l.timestamp) + int(l.node) + int(l.sequence) }

// below are how many stand below the timestamp.
func (l idLayout) below() uint8 { return l.node + l.sequence }

// String gives the bits in the order in which --layout takes them.
func (l idLayout) String() string {
	return fmt.Sprintf("%d/%d/%d", l.timestamp, l.node, l.sequence)
}

// decompose takes an ID apart. It is an error if the ID has bits above those of
// the layout, or stands for a time that no calendar shows.
func (l idLayout) decompose(id uint64) (idParts, error) {
	if n := l.bits(); n < 64 && id>>n != 0 {
		return idParts{}, fmt.Errorf("ID %d is above 2^%d-1, the highest of layout %s: was it minted with another one? --layout says which", id, n, l)
	}
	p := idParts{ticks: id >> l.below()}
	low := id & (1<<l.below() - 1)
	if l.sequenceFirst {
		p.sequence, p.node = low>>l.node, low&(1<<l.node-1)
	} else {
		p.node, p.sequence = low>>l.sequence, low&(1<<l.sequence-1)
	}
	if p.ticks > uint64((lastCalendarMs-l.origin)/l.unit) {
		return idParts{}, fmt.Errorf("ID %d is of a time past the year 9999 in layout %s: was it minted with another one? --layout, --origin and --unit say which", id, l)
	}
	p.time = l.origin + snowflake.Millis(p.ticks)*l.unit
	return p, nil
}

// lastCalendarMs is the last ms of the year 9999.
const lastCalendarMs snowflake.Millis = 253402300799999

// idBits is decode's --layout.
type idBits struct{ timestamp, node, sequence uint8 }

// Set reads timestamp/node/sequence.
func (b *idBits) Set(s string) error {
	parts := strings.Split(s, "/")
	if len(parts) != 3 {
		return fmt.Errorf("%q is not of the form timestamp/node/sequence: write it like 41/10/12, with 0 for what the IDs don't have", s)
	}
	var n [3]uint64
	for i, part := range parts {
		var err error
		if n[i], err = strconv.ParseUint(part, 10, 8); err != nil {
			return fmt.Errorf("%q: %q is not a number of bits: write it like 41/10/12", s, part)
		}
	}
	switch all := n[0] + n[1] + n[2]; {
	case n[0] == 0:
		return fmt.Errorf("%q has no timestamp bits: give at least 1", s)
	case all > 64:
		return fmt.Errorf("%q has %d bits: give 64 at most in all", s, all)
	}
	*b = idBits{uint8(n[0]), uint8(n[1]), uint8(n[2])}
	return nil
}

// String gives the bits as Set takes them.
func (b *idBits) String() string { return fmt.Sprintf("%d/%d/%d", b.timestamp, b.node, b.sequence) }

// Type names the kind of value.
func (b *idBits) Type() string { return "bits" }

// idUnit is decode's --unit, in ms.
type idUnit snowflake.Millis

// Set reads a duration of whole milliseconds.
func (u *idUnit) Set(s string) error {
	text := s
	if strings.Trim(s, "msu") == "" { // "ms" and "s" are one of each
		text = "1" + s
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > time.Hour || d%time.Millisecond != 0 {
		return fmt.Errorf("%q is no unit of timestamps: give ms, 10ms or s, or whole milliseconds up to 1h", s)
	}
	*u = idUnit(d.Milliseconds())
	return nil
}

// String gives the unit as Set takes it.
func (u *idUnit) String() string { return (time.Duration(*u) * time.Millisecond).String() }

// Type names the kind of value.
func (u *idUnit) Type() string { return "unit" }
