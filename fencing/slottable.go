package fencing

import (
	"iter"
	"slices"

	"github.com/cirrus-id/cirrus/snowflake"
)

// pageSlots is how many slots a page of a slotTable has.
const pageSlots = 64

// slotTable finds a slot by its node ID. Node IDs lie close together, so pages
// of pointers take a fifth of what a map takes.
type slotTable struct {
	pages []*[pageSlots]*slot // nil: none of the page's
	len   int
}

// at returns the slot of a node ID, nil if there is none.
func (t *slotTable) at(node snowflake.NodeID) *slot {
	if page := int(node / pageSlots); page < len(t.pages) && t.pages[page] != nil {
		return t.pages[page][node%pageSlots]
	}
	return nil
}

// add adds a slot whose node ID has none.
func (t *slotTable) add(l *slot) {
	page := int(l.node / pageSlots)
	if page >= len(t.pages) {
		t.pages = append(t.pages, make([]*[pageSlots]*slot, page+1-len(t.pages))...)
	}
	if t.pages[page] == nil {
		t.pages[page] = new([pageSlots]*slot)
	}
	t.pages[page][l.node%pageSlots] = l
	t.len++
}

// all yields the slots, in order of their node IDs.
func (t *slotTable) all() iter.Seq[*slot] {
	return func(yield func(*slot) bool) {
		for _, page := range t.pages {
			if page == nil {
				continue
			}
			for _, l := range page {
				if l != nil && !yield(l) {
					return
				}
			}
		}
	}
}

func (t *slotTable) clone() slotTable {
	c := slotTable{pages: slices.Clone(t.pages), len: t.len}
	for i, page := range c.pages {
		if page == nil {
			continue
		}
		c.pages[i] = new([pageSlots]*slot)
		for j, l := range page {
			if l != nil {
				c.pages[i][j] = l.clone()
			}
		}
	}
	return c
}
