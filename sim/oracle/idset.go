package oracle

// idSet is a set of numbers that are not 0. It is made for a few ten thousand
// IDs in a few ms.
type idSet struct {
	slots []uint64
	used  int
}

func newIDSet() idSet { return idSet{slots: make([]uint64, 1<<14)} }

// add puts a number in, and reports whether it was new.
func (s *idSet) add(n uint64) bool {
	if s.used*2 >= len(s.slots) {
		s.grow()
	}
	mask := uint64(len(s.slots) - 1)
	for i := n * 0x9e3779b97f4a7c15 >> 20 & mask; ; i = (i + 1) & mask {
		switch s.slots[i] {
		case 0:
			s.slots[i] = n
			s.used++
			return true
		case n:
			return false
		}
	}
}

func (s *idSet) grow() {
	old := s.slots
	s.slots, s.used = make([]uint64, 2*len(old)), 0
	for _, n := range old {
		if n != 0 {
			s.add(n)
		}
	}
}
