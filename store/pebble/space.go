package pebble

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cirrus-id/cirrus/snowflake"
)

// Space is what a disk has room for, in bytes.
type Space struct{ Free, Size uint64 }

// space watches the room on the disk that holds a store. It is looked at along
// with the mark's writes, which come in a quiet store, too.
type space struct {
	fs  vfs.FS
	dir string
	log *slog.Logger

	last atomic.Pointer[Space] // nil: the file system doesn't tell
	// told is how many of nearlyFull were passed when it was last told, and
	// toldAt the mark then.
	told   int
	toldAt snowflake.Millis
}

// nearlyFull are the shares of free space, in percent, at which the log says so.
var nearlyFull = []uint64{10, 5, 3, 2, 1}

// tellSpaceEvery is how often the log says so while the share stays the same.
const tellSpaceEvery = 30 * time.Minute

// Space is the room on the store's disk, as it was at the last write of the
// mark; false where the file system doesn't tell.
func (s *Store) Space() (Space, bool) {
	if last := s.space.last.Load(); last != nil {
		return *last, true
	}
	return Space{}, false
}

// look looks at the disk, at a mark. It is not called twice at once.
func (s *space) look(mark snowflake.Millis) {
	usage, err := s.fs.GetDiskUsage(s.dir)
	if err != nil || usage.TotalBytes == 0 {
		s.last.Store(nil) // it is no failed write
		return
	}
	now := Space{Free: usage.AvailBytes, Size: usage.TotalBytes}
	s.last.Store(&now)
	passed := 0
	for _, percent := range nearlyFull {
		if now.Free < now.Size/100*percent {
			passed++
		}
	}
	if passed > s.told || passed > 0 && mark >= s.toldAt.Add(tellSpaceEvery) {
		s.toldAt = mark
		s.log.Warn("the store's disk is nearly full", "free_bytes", now.Free, "total_bytes", now.Size)
	}
	s.told = passed
}
