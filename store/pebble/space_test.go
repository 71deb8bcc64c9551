package pebble

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cirrus-id/cirrus/fencing"
	"github.com/cirrus-id/cirrus/store/storetest"
)

const gibi = 1 << 30

func usage(free uint64) vfs.DiskUsage {
	return vfs.DiskUsage{AvailBytes: free, TotalBytes: 100 * gibi, UsedBytes: 100*gibi - free}
}

// A disk that fills up is noticed by the mark's writes alone, and Space returns it.
func TestDiskFillsUp(t *testing.T) {
	var log bytes.Buffer
	mem := vfs.NewMem()
	mem.TestingSetDiskUsage(usage(50 * gibi))
	opts := Options{FS: mem, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	if err := Create("store", storetest.Meta(), []fencing.Pool{storetest.Pool(fencing.DefaultPool)},
		opts); err != nil {
		t.Fatal(err)
	}
	s, err := Open("store", opts)
	if err != nil {
		t.Fatal(err)
	}
	if got, known := s.Space(); !known || got != (Space{Free: 50 * gibi, Size: 100 * gibi}) {
		t.Errorf("the disk has %+v, known: %v", got, known)
	}
	mem.TestingSetDiskUsage(usage(9 * gibi))
	meta := storetest.Meta()
	for range 2 { // the first one raises the base
		meta.Mark += 1000
		commit(t, s, fencing.Batch{Meta: &meta})
	}
	if err := s.Close(); err != nil { // it waits for what follows the mark
		t.Fatal(err)
	}
	if got, _ := s.Space(); got.Free != 9*gibi || strings.Count(log.String(), "nearly full") != 1 {
		t.Errorf("the disk has %+v, and the log says\n%s", got, &log)
	}
}

// A warning of a disk that is nearly full is logged when it gets worse, and otherwise each half
// hour.
func TestNearlyFullIsLoggedSeldom(t *testing.T) {
	var log bytes.Buffer
	mem := vfs.NewMem()
	s := &space{fs: mem, dir: "store", log: slog.New(slog.NewTextHandler(&log, nil))}
	mark := storetest.Meta().Mark
	for i, step := range []struct {
		free   uint64
		pass   time.Duration
		warned bool
	}{
		{free: 10 * gibi},
		{free: 9 * gibi, warned: true},
		{free: 8 * gibi, pass: warnSpaceEvery - time.Millisecond},
		{free: 8 * gibi, pass: time.Millisecond, warned: true},
		{free: 4 * gibi, warned: true},
		{free: 6 * gibi},
		{free: 50 * gibi, pass: warnSpaceEvery},
		{free: 9 * gibi, warned: true},
		{free: 0, warned: true},
	} {
		log.Reset()
		mark = mark.Add(step.pass)
		mem.TestingSetDiskUsage(usage(step.free))
		s.check(mark)
		if warned := strings.Contains(log.String(), "nearly full"); warned != step.warned {
			t.Errorf("step %d, with %d bytes free: warned %v, want %v", i, step.free, warned,
				step.warned)
		}
	}
	mem.TestingSetDiskUsage(vfs.DiskUsage{}) // the file system doesn't report it any more
	if s.check(mark); s.last.Load() != nil {
		t.Error("the free space is known after the file system has stopped reporting it")
	}
}
