package serving

import "testing"

// TestConnectionsFor checks that connections leave at least half of the files if
// there are few, and a fixed number if there are many.
func TestConnectionsFor(t *testing.T) {
	for _, c := range []struct {
		files     uint64
		most      int
		replica   bool
		api, side int
	}{
		{0, 16384, false, 16384, 64},
		{16, 16384, false, 6, 2},
		{64, 16384, false, 24, 8},
		{256, 16384, false, 96, 32},
		{1024, 16384, false, 704, 64},
		{1024, 16384, true, 448, 64},
		{1024, 100, false, 100, 64},
		{20_000, 16384, false, 16384, 64},
		{1 << 63, 16384, true, 16384, 64},
		{2, 16384, false, 1, 2},
		{1, 16384, false, 1, 2},
	} {
		if api, side := connectionsFor(c.files, c.most, c.replica); api != c.api || side != c.side {
			t.Errorf("%d files, %d asked for, replica %v: %d and %d connections, want %d and %d",
				c.files,
				c.most, c.replica, api, side, c.api, c.side)
		}
	}
}
