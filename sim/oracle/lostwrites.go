package oracle

// S13 lost writes: a store that has lost acknowledged writes is not served.

// servesStore: a store that is about to be served has lost no mark.
func (o *Oracle) servesStore(s *server) {
	if o.lostWrites {
		o.violate(PromiseLostWrites,
			"%s serves a store that has lost acknowledged writes, and its high-water file tells so",
			s.name)
	}
}

// refusesStore: a store that is refused for lost writes was damaged, or a crash
// alone would keep a store from being served.
func (o *Oracle) refusesStore(s *server) {
	if !o.damaged {
		o.violate(PromiseLostWrites, "%s refuses its store for lost writes, but it has lost none",
			s.name)
	}
}
