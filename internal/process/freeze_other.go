//go:build unix && !linux

package process

// awaitFrozen does nothing: this system reports a stop only together with the end.
func awaitFrozen(int) error { return nil }
