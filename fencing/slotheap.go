package fencing

import "time"

// slotHeap has the slot that is due first at its root. Heartbeats move deadlines
// without touching the heap, so due is a lower bound.
type slotHeap []*slot

// due returns the root if it is due, else nil.
func (h slotHeap) due(now time.Duration) *slot {
	if len(h) == 0 || h[0].due > now {
		return nil
	}
	return h[0]
}

func (h *slotHeap) push(l *slot) {
	l.heapAt = int32(len(*h))
	*h = append(*h, l)
	h.up(len(*h) - 1)
}

// later makes the root due later.
func (h slotHeap) later(due time.Duration) {
	h[0].due = due
	h.down(0)
}

func (h *slotHeap) remove(l *slot) {
	i, last := int(l.heapAt), len(*h)-1
	h.swap(i, last)
	(*h)[last] = nil
	*h = (*h)[:last]
	if i < last {
		h.down(i)
		h.up(i)
	}
}

func (h slotHeap) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].heapAt, h[j].heapAt = int32(i), int32(j)
}

func (h slotHeap) up(i int) {
	for parent := (i - 1) / 2; i > 0 && h[i].due < h[parent].due; parent = (i - 1) / 2 {
		h.swap(i, parent)
		i = parent
	}
}

func (h slotHeap) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if right := child + 1; right < len(h) && h[right].due < h[child].due {
			child = right
		}
		if h[i].due <= h[child].due {
			return
		}
		h.swap(i, child)
		i = child
	}
}

// slotList lists the free slots, longest free first.
type slotList struct {
	first, last *slot
	len         int
}

func (q *slotList) push(l *slot) {
	l.prev, l.next = q.last, nil
	if q.last == nil {
		q.first = l
	} else {
		q.last.next = l
	}
	q.last = l
	q.len++
}

func (q *slotList) remove(l *slot) {
	if l.prev == nil {
		q.first = l.next
	} else {
		l.prev.next = l.next
	}
	if l.next == nil {
		q.last = l.prev
	} else {
		l.next.prev = l.prev
	}
	l.prev, l.next = nil, nil
	q.len--
}
