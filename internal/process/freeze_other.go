//go:build unix && !linux

package process

// awaitFrozen does nothing: this system cannot wait for the stop alone.
func awaitFrozen(int) error { return nil }
