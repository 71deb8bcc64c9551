package decode

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// Layout is the layout of any system's IDs. It may have up to 64 bits and a unit of
// time of its own, and may lack a node ID or a sequence. The layouts of pools are
// snowflake.Layouts, which allow less.
type Layout struct {
	Origin snowflake.Millis
	// Unit is what the timestamp counts, in ms; above 0.
	Unit snowflake.Millis
	// Timestamp, node and sequence are numbers of bits: 64 at most in all, and at
	// least one for the timestamp, which stands highest.
	Timestamp, Node, Sequence uint8
	// SequenceFirst: the sequence stands above the node ID.
	SequenceFirst bool
}

// Parts are the parts of an ID.
type Parts struct {
	Time           snowflake.Millis // Unix ms
	Ticks          uint64           // the timestamp as it stands in the ID
	Node, Sequence uint64
}

// bits returns how many bits there are in all.
func (l Layout) bits() int { return int(l.Timestamp) + int(l.Node) + int(l.Sequence) }

// Below returns how many bits stand below the timestamp.
func (l Layout) Below() uint8 { return l.Node + l.Sequence }

// String returns the bits in the order in which --layout takes them.
func (l Layout) String() string {
	return fmt.Sprintf("%d/%d/%d", l.Timestamp, l.Node, l.Sequence)
}

// Decompose takes an ID apart. It returns an error if the ID has bits above those
// of the layout, or if its time is past the year 9999.
func (l Layout) Decompose(id uint64) (Parts, error) {
	if n := l.bits(); n < 64 && id>>n != 0 {
		return Parts{}, fmt.Errorf(
			"ID %d is above 2^%d-1, the highest of layout %s: was it minted with another one? --layout "+
				"says which", id, n, l)
	}
	p := Parts{Ticks: id >> l.Below()}
	low := id & (1<<l.Below() - 1)
	if l.SequenceFirst {
		p.Sequence, p.Node = low>>l.Node, low&(1<<l.Node-1)
	} else {
		p.Node, p.Sequence = low>>l.Sequence, low&(1<<l.Sequence-1)
	}
	if p.Ticks > uint64((LastMs-l.Origin)/l.Unit) {
		return Parts{}, fmt.Errorf(
			"ID %d is of a time past the year 9999 in layout %s: was it minted with another one? "+
				"--layout, --origin and --unit say which", id, l)
	}
	p.Time = l.Origin + snowflake.Millis(p.Ticks)*l.Unit
	return p, nil
}

// LastMs is the last ms of the year 9999.
const LastMs snowflake.Millis = 253402300799999

// Bits is a flag for the bits of a layout.
type Bits struct{ Timestamp, Node, Sequence uint8 }

// Set reads timestamp/node/sequence.
func (b *Bits) Set(s string) error {
	parts := strings.Split(s, "/")
	if len(parts) != 3 {
		return fmt.Errorf(
			"%q is not of the form timestamp/node/sequence: write it like 41/10/12, with "+
				"0 for what the IDs don't have", s)
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
	*b = Bits{uint8(n[0]), uint8(n[1]), uint8(n[2])}
	return nil
}

// String returns the bits as Set takes them.
func (b *Bits) String() string { return fmt.Sprintf("%d/%d/%d", b.Timestamp, b.Node, b.Sequence) }

// Type names the kind of value.
func (b *Bits) Type() string { return "bits" }

// Unit is a flag for the unit of a layout, in ms.
type Unit snowflake.Millis

// Set reads a duration of whole milliseconds.
func (u *Unit) Set(s string) error {
	text := s
	if strings.Trim(s, "msu") == "" { // "ms" and "s" are one of each
		text = "1" + s
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > time.Hour || d%time.Millisecond != 0 {
		return fmt.Errorf(
			"%q is no unit of timestamps: give ms, 10ms or s, or whole milliseconds up "+
				"to 1h", s)
	}
	*u = Unit(d.Milliseconds())
	return nil
}

// String returns the unit as Set takes it.
func (u *Unit) String() string { return (time.Duration(*u) * time.Millisecond).String() }

// Type names the kind of value.
func (u *Unit) Type() string { return "unit" }
