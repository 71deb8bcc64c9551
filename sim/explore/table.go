package explore

// table numbers different values, from 1 up. 0 stands for no value.
type table[K comparable, V any] struct {
	numbers map[K]uint32
	values  []V
}

func newTable[K comparable, V any]() *table[K, V] {
	return &table[K, V]{numbers: map[K]uint32{}, values: make([]V, 1)}
}

// number returns the number of the value under a key. make makes a value for a new
// key.
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

// known finds the states that were reached. It is a hash table of their places in
// the list that holds them, a third as large as a map of the states.
type known struct {
	slots []uint32 // place + 1; 0: none
	count int
}

// place returns the state's place in the list and true. If the state is new, it
// returns false and expects the caller to append it.
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

// grow doubles the table.
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
