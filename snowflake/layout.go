package snowflake

import (
	"fmt"
	"strconv"
	"strings"
)

// NodeID is the part of an ID that distinguishes its minter from all others:
// 0 … 2^NodeBits−1 of the layout.
type NodeID uint32

// Sequence is the part of an ID that distinguishes the IDs of one node ID and one
// millisecond: 0 … 2^SequenceBits−1 of the layout.
type Sequence uint32

// maxOrigin is the last ms of the year 9999. With it, no sum of times can
// overflow.
const maxOrigin Millis = 253402300799999

// Layout says how the 63 usable bits of an ID are divided, from the highest
// to the lowest: timestamp, node, sequence. The timestamp counts milliseconds
// since Origin.
//
// The zero value is not valid; start from DefaultLayout.
type Layout struct {
	// Origin is the layout's custom epoch in Unix ms: the instant that an ID
	// with timestamp 0 stands for. 0 to 253402300799999 (the year 9999).
	Origin Millis
	// TimestampBits is 32 to 45, NodeBits and SequenceBits are 1 to 22 each;
	// their sum is at most 63.
	TimestampBits, NodeBits, SequenceBits uint8
}

// DefaultLayout is the layout of Twitter's Snowflake: 41/10/12 bits from 2010-11-04T01:42:54.657Z.
var DefaultLayout = Layout{Origin: 1288834974657, TimestampBits: 41, NodeBits: 10, SequenceBits: 12}

// Validate returns an error that says what is wrong with the layout, or nil.
func (l Layout) Validate() error {
	switch {
	case l.Origin < 0:
		return fmt.Errorf("layout origin %d is negative: give Unix ms from 0 up", l.Origin)
	case l.Origin > maxOrigin:
		return fmt.Errorf("layout origin %d is past the year 9999: give Unix ms up to %d", l.Origin,
			maxOrigin)
	case l.TimestampBits < 32 || l.TimestampBits > 45:
		return fmt.Errorf("layout has %d timestamp bits: give 32 to 45", l.TimestampBits)
	case l.NodeBits < 1 || l.NodeBits > 22:
		return fmt.Errorf("layout has %d node bits: give 1 to 22", l.NodeBits)
	case l.SequenceBits < 1 || l.SequenceBits > 22:
		return fmt.Errorf("layout has %d sequence bits: give 1 to 22", l.SequenceBits)
	case int(l.TimestampBits)+int(l.NodeBits)+int(l.SequenceBits) > 63:
		return fmt.Errorf("layout %s has %d bits: give 63 at most in all", l,
			int(l.TimestampBits)+int(l.NodeBits)+int(l.SequenceBits))
	}
	return nil
}

// ParseLayout reads a layout's bits as String writes them, "41/10/12". The layout
// that it returns is valid and has DefaultLayout's origin.
func ParseLayout(s string) (Layout, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 3 {
		return Layout{}, fmt.Errorf(
			"layout %q is not of the form timestamp/node/sequence: write it like 41/10/12", s)
	}
	var bits [3]uint8
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 8)
		if err != nil {
			return Layout{}, fmt.Errorf(
				"layout %q: %q is not a number of bits: write it like 41/10/12", s, part)
		}
		bits[i] = uint8(n)
	}
	l := Layout{Origin: DefaultLayout.Origin, TimestampBits: bits[0], NodeBits: bits[1],
		SequenceBits: bits[2]}
	if err := l.Validate(); err != nil {
		return Layout{}, err
	}
	return l, nil
}

// String returns the bits as timestamp/node/sequence, "41/10/12" for the default.
func (l Layout) String() string {
	return fmt.Sprintf("%d/%d/%d", l.TimestampBits, l.NodeBits, l.SequenceBits)
}

// MaxNode returns the highest node ID of the layout.
func (l Layout) MaxNode() NodeID { return 1<<l.NodeBits - 1 }

// MaxSequence returns the highest sequence of the layout.
func (l Layout) MaxSequence() Sequence { return 1<<l.SequenceBits - 1 }

// LastTimestamp returns the last Unix ms that an ID of this layout can carry.
func (l Layout) LastTimestamp() Millis { return l.Origin + 1<<l.TimestampBits - 1 }

// Parts are the parts of an ID in a given layout.
type Parts struct {
	Timestamp Millis // Unix ms, origin included
	Node      NodeID
	Sequence  Sequence
}

// Compose makes an ID from its parts. It is an error if a part does not fit into
// its bits of the layout.
func (l Layout) Compose(p Parts) (ID, error) {
	switch {
	case p.Timestamp < l.Origin || p.Timestamp > l.LastTimestamp():
		return 0, fmt.Errorf("timestamp %d is not in %d to %d, which layout %s can carry",
			p.Timestamp, l.Origin, l.LastTimestamp(), l)
	case p.Node > l.MaxNode():
		return 0, fmt.Errorf("node ID %d is above %d, the highest of layout %s", p.Node,
			l.MaxNode(), l)
	case p.Sequence > l.MaxSequence():
		return 0, fmt.Errorf("sequence %d is above %d, the highest of layout %s", p.Sequence,
			l.MaxSequence(), l)
	}
	return ID(p.Timestamp-l.Origin)<<(l.NodeBits+l.SequenceBits) |
		ID(p.Node)<<l.SequenceBits | ID(p.Sequence), nil
}

// Decompose returns the parts of an ID. It is an error if the ID has higher bits
// than the layout.
func (l Layout) Decompose(id ID) (Parts, error) {
	if id < 0 || id>>(l.NodeBits+l.SequenceBits)>>l.TimestampBits != 0 {
		return Parts{}, fmt.Errorf("ID %d does not fit layout %s: was it minted with another one?",
			id, l)
	}
	return Parts{
		Timestamp: l.Origin + Millis(id>>(l.NodeBits+l.SequenceBits)),
		Node:      NodeID(id>>l.SequenceBits) & l.MaxNode(),
		Sequence:  Sequence(id) & l.MaxSequence(),
	}, nil
}
