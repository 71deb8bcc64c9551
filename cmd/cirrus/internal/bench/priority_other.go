//go:build !linux

package bench

// stepAside does nothing: what disturbs takes its share of the processors.
func stepAside() error { return nil }
