package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// diskSize is the size of the file that is written again and again. Every write is
// within it, so that a sync has only data to write, and no new file size.
const diskSize = 8 << 20

// disk is the limit of durable writes: all writers that wait share one write and one
// sync, and do nothing else.
type disk struct {
	file *os.File
	data []byte
	at   int64

	mu     sync.Mutex
	next   *group // the writers that wait for the next sync
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

// openDisk creates the file. It is removed with its directory.
func (r *measuring) openDisk() *disk {
	d := &disk{
		file: must(os.Create(filepath.Join(r.dir, "synced"))),
		data: make([]byte, inFlight*recordSize),
		next: newGroup(), ready: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	go d.run()
	r.onEnd(d.close)
	for i := range d.data {
		d.data[i] = byte(i)
	}
	_ = must(d.file.Write(make([]byte, diskSize)))
	check(d.file.Sync())
	return d
}

// close is called after the last write.
func (d *disk) close() error {
	close(d.ready)
	<-d.ended
	return d.file.Close()
}

// side returns a side that measures synced writes. A single writer syncs by itself.
func (d *disk) side(workers int) side {
	return func(ctx context.Context, t time.Duration) (sample, error) {
		if workers == 1 {
			return oneByOne(ctx, t, func(context.Context, int) error { return d.sync(1) })
		}
		return repeat(ctx, workers, t, func(context.Context, int) error { return d.write() })
	}
}

// write returns when as many bytes as a record has are durable.
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

// run syncs for one group of writers after the other.
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
