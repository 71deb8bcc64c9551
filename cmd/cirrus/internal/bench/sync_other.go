//go:build !linux

package bench

import "os"

func syncFile(f *os.File) error { return f.Sync() }
