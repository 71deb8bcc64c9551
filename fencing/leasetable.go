package fencing

import (
	"iter"
	"slices"

	"github.com/cirrus-id/cirrus/snowflake"
)

// pageLeases is how many leases a page of a leaseTable has.
const pageLeases = 64

// leaseTable finds a lease by its node ID. Node IDs lie close together, so pages
// of pointers take a fifth of what a map takes.
type leaseTable struct {
	pages []*[pageLeases]*lease // nil: none of the page's
	len   int
}

// at is the lease of a node ID, nil if it has none.
func (t *leaseTable) at(node snowflake.NodeID) *lease {
	if page := int(node / pageLeases); page < len(t.pages) && t.pages[page] != nil {
		return t.pages[page][node%pageLeases]
	}
	return nil
}

// add adds the lease of a node ID that has none.
func (t *leaseTable) add(l *lease) {
	page := int(l.node / pageLeases)
	if page >= len(t.pages) {
		t.pages = append(t.pages, make([]*[pageLeases]*lease, page+1-len(t.pages))...)
	}
	if t.pages[page] == nil {
		t.pages[page] = new([pageLeases]*lease)
	}
	t.pages[page][l.node%pageLeases] = l
	t.len++
}

// all are the leases, in order of their node IDs.
func (t *leaseTable) all() iter.Seq[*lease] {
	return func(yield func(*lease) bool) {
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

func (t *leaseTable) clone() leaseTable {
	c := leaseTable{pages: slices.Clone(t.pages), len: t.len}
	for i, page := range c.pages {
		if page == nil {
			continue
		}
		c.pages[i] = new([pageLeases]*lease)
		for j, l := range page {
			if l != nil {
				c.pages[i][j] = l.clone()
			}
		}
	}
	return c
}
