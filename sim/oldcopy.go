package sim

import (
	"context"
	"path"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store/pebble"
)

func newDisk() *vfs.MemFS { return vfs.NewCrashableMem() }

// peek reads what a copy of the server's disk holds, or says why it can't be
// served.
func (s *server) peek() (fencing.Snapshot, error) {
	st, err := pebble.Open(dataDir, pebble.Options{FS: cloneDisk(s.disk, 100), Logger: quiet})
	if err != nil {
		return fencing.Snapshot{}, err
	}
	defer func() { _ = st.Close() }() // a copy
	return st.Load(context.Background())
}

// turnBit turns over a bit in the last part of the newest log.
func (s *server) turnBit(at uint64) bool {
	dir := path.Join(dataDir, "pebble")
	names, err := s.disk.List(dir)
	if err != nil {
		return false
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, ".log") })
	slices.Sort(names)
	if len(names) == 0 {
		return false
	}
	data, err := s.disk.UnsafeGetFileDataBuffer(path.Join(dir, names[len(names)-1]))
	if err != nil || len(data) == 0 {
		return false
	}
	part := min(uint64(len(data)), 2000)
	data[uint64(len(data))-1-at%part] ^= 1
	return true
}
