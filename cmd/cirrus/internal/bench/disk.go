package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// recordSize is about what a lease's record takes in the store's log, in bytes.
const recordSize = 160

// diskSize is how large the file is that is written over and over: enough that
// writes don't meet, and what is written lies within it, so that a sync has
// nothing to note but the data.
const diskSize = 8 << 20

// disk is the limit of durable writes: the writers that wait share a write and
// a sync, and nothing else is done.
type disk struct {
	file *os.File
	data []byte
	at   int64

	mu     sync.Mutex
	next   *group // who waits for the next sync
	ready  chan struct{}
	ended  chan struct{}
	failed error
}

// group shares a sync.
type group struct {
	writers int
	done    chan struct{}
}

func newGroup() *group { return &group{done: make(chan struct{})} }

// openDisk makes the file. It is removed with its directory.
func openDisk(dir string) (*disk, error) {
	f, err := os.Create(filepath.Join(dir, "synced"))
	if err != nil {
		return nil, err
	}
	d := &disk{
		file: f, data: make([]byte, inFlight*recordSize),
		next: newGroup(), ready: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	for i := range d.data {
		d.data[i] = byte(i)
	}
	if _, err := f.Write(make([]byte, diskSize)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	go d.run()
	return d, nil
}

// close is called when nobody writes any more.
func (d *disk) close() error {
	close(d.ready)
	<-d.ended
	return d.file.Close()
}

// side measures synced writes. Who is alone waits for nobody.
func (d *disk) side(workers int) side {
	return func(ctx context.Context, t time.Duration) (sample, error) {
		if workers == 1 {
			return oneByOne(ctx, t, func(context.Context, int) error { return d.sync(1) })
		}
		return repeat(ctx, workers, t, func(context.Context, int) error { return d.write() })
	}
}

// write returns when a record's worth of bytes is durable.
func (d *disk) write() error {
	d.mu.Lock()
	g := d.next
	g.writers++
	d.mu.Unlock()
	select {
	case d.ready <- struct{}{}:
	default:
	}
	<-g.done
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed
}

// run syncs for whoever waits, group after group.
func (d *disk) run() {
	defer close(d.ended)
	for range d.ready {
		d.mu.Lock()
		g := d.next
		d.next = newGroup()
		d.mu.Unlock()
		err := d.sync(g.writers)
		d.mu.Lock()
		d.failed = errors.Join(d.failed, err)
		d.mu.Unlock()
		close(g.done)
	}
}

func (d *disk) sync(writers int) error {
	size := min(writers*recordSize, len(d.data))
	if d.at+int64(size) > diskSize {
		d.at = 0
	}
	if _, err := d.file.WriteAt(d.data[:size], d.at); err != nil {
		return err
	}
	d.at += int64(size)
	return syncFile(d.file)
}
