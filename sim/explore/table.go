package explore

// table numbers the different values that it was shown, from 1 up. 0 is none.
type table[K comparable, V any] struct {
	numbers map[K]uint32
	values  []V
}

func newTable[K comparable, V any]() *table[K, V] {
	return &table[K, V]{numbers: map[K]uint32{}, values: make([]V, 1)}
}

// number returns the number of the value under a key, made when it is new.
func (t *table[K, V]) number(key K, make func() V) uint32 {
	if n, ok := t.numbers[key]; ok {
		return n
	}
	return t.add(key, make())
}

func (t *table[K, V]) add(key K, value V) uint32 {
	n := uint32(len(t.values))
	t.numbers[key] = n
	t.values = append(t.values, value)
	return n
}

func (t *table[K, V]) at(n uint32) V { return t.values[n] }

// known finds the states that were seen. It is a hash table of their places in
// the list that holds them, which makes it a third of a map's size.
type known struct {
	slots []uint32 // place + 1; 0: none
	count int
}

// place returns where the state stands in the list, or notes that it will be
// appended to it.
func (k *known) place(all []state, s *state) (int, bool) {
	if 2*k.count >= len(k.slots) {
		k.grow(all)
	}
	mask := uint64(len(k.slots) - 1)
	i := s.hash() & mask
	for ; k.slots[i] != 0; i = (i + 1) & mask {
		if at := k.slots[i] - 1; all[at] == *s {
			return int(at), true
		}
	}
	k.slots[i] = uint32(len(all)) + 1
	k.count++
	return len(all), false
}

func (k *known) grow(all []state) {
	k.slots = make([]uint32, max(2*len(k.slots), 1<<12))
	mask := uint64(len(k.slots) - 1)
	for at := range all {
		i := all[at].hash() & mask
		for ; k.slots[i] != 0; i = (i + 1) & mask {
		}
		k.slots[i] = uint32(at) + 1
	}
}
