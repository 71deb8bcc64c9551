package oracle

import (
	"github.com/cirrus-id/cirrus/sim/event"
	"github.com/cirrus-id/cirrus/snowflake"
)

// P2 uniqueness: no two IDs that were minted are equal.

// Split returns the timestamp, in Unix ms, and the node ID of an ID.
func Split(id snowflake.ID) (timestamp int64, node int) {
	l := snowflake.DefaultLayout
	return int64(l.Origin) + int64(id>>(l.NodeBits+l.SequenceBits)),
		int(id>>l.SequenceBits) & int(l.MaxNode())
}

// minted judges an ID. pool tells apart what two pools mint.
func (o *Oracle) minted(a *app, pool int, id snowflake.ID) {
	ts, node := Split(id)
	if !o.ids.add(uint64(id)<<2 | uint64(pool)) {
		o.violate(PromiseUniqueness, "ID %d (node ID %d, timestamp %d) was minted twice, now by %s",
			id, node, ts, a.name())
	}
	o.mintsInWindow(a, event.Key{Pool: string(a.pool), Node: node}, ts)
}
