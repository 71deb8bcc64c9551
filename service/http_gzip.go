package service

import (
	"compress/gzip"
	"errors"
	"io"

	"connectrpc.com/connect"
)

// errUnpacked ends the unpacking of a message that is too large anyway.
var errUnpacked = errors.New("the rest was not unpacked")

// gunzip unpacks no more of a request than tells that it is too large: Connect
// unpacks a message to its end just to name its size, and a megabyte of gzip
// holds a gigabyte.
type gunzip struct {
	gzip.Reader
	left int // bytes
}

func newGunzip() connect.Decompressor { return &gunzip{} }

func newGzip() connect.Compressor { return gzip.NewWriter(io.Discard) }

// Reset begins another message.
func (g *gunzip) Reset(r io.Reader) error {
	g.left = MaxRequestBytes + 1
	return g.Reader.Reset(r)
}

// Read unpacks up to the limit.
func (g *gunzip) Read(p []byte) (int, error) {
	if g.left == 0 {
		return 0, errUnpacked
	}
	n, err := g.Reader.Read(p[:min(len(p), g.left)])
	g.left -= n
	return n, err
}
