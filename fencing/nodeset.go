package fencing

import (
	"iter"
	"math/bits"
	"slices"

	"github.com/cirrus-id/cirrus/snowflake"
)

const (
	wordBits  = 64
	pageWords = 64
	pageNodes = wordBits * pageWords
)

// nodeSet is an ordered set of node IDs: a bitmap in pages. Adding a node ID takes
// the same time whatever it is and however many there are. A million node IDs take
// 128 KiB.
type nodeSet struct {
	pages []*[pageWords]uint64 // nil: no node ID of the page
	len   int
}

// add adds a node ID that the set does not have.
func (s *nodeSet) add(node snowflake.NodeID) {
	at := int(node / pageNodes)
	if at >= len(s.pages) {
		s.pages = append(s.pages, make([]*[pageWords]uint64, at+1-len(s.pages))...)
	}
	if s.pages[at] == nil {
		s.pages[at] = new([pageWords]uint64)
	}
	s.pages[at][node%pageNodes/wordBits] |= 1 << (node % wordBits)
	s.len++
}

// word returns the word that has the node ID's bit.
func (s *nodeSet) word(node snowflake.NodeID) uint64 {
	if at := int(node / pageNodes); at < len(s.pages) && s.pages[at] != nil {
		return s.pages[at][node%pageNodes/wordBits]
	}
	return 0
}

// next returns the first node ID of the set at or after from.
func (s *nodeSet) next(from snowflake.NodeID) (snowflake.NodeID, bool) {
	for node := from; int(node/pageNodes) < len(s.pages); node = (node/wordBits + 1) * wordBits {
		if s.pages[node/pageNodes] == nil {
			node |= pageNodes - 1 // the last one of its page
			continue
		}
		if rest := s.word(node) >> (node % wordBits); rest != 0 {
			return node + snowflake.NodeID(bits.TrailingZeros64(rest)), true
		}
	}
	return 0, false
}

// nextOut returns the first node ID at or after from that is not in the set.
func (s *nodeSet) nextOut(from snowflake.NodeID) snowflake.NodeID {
	for node := from; ; node = (node/wordBits + 1) * wordBits {
		if rest := ^s.word(node) >> (node % wordBits); rest != 0 {
			return node + snowflake.NodeID(bits.TrailingZeros64(rest))
		}
	}
}

// all yields the set's node IDs, in order.
func (s *nodeSet) all() iter.Seq[snowflake.NodeID] {
	return func(yield func(snowflake.NodeID) bool) {
		for node, ok := s.next(0); ok && yield(node); node, ok = s.next(node + 1) {
		}
	}
}

func (s *nodeSet) clone() nodeSet {
	c := nodeSet{pages: slices.Clone(s.pages), len: s.len}
	for i, page := range c.pages {
		if page != nil {
			copied := *page
			c.pages[i] = &copied
		}
	}
	return c
}
