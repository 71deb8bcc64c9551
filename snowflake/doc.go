// Package snowflake makes and reads Snowflake IDs: 63-bit numbers that sort by
// the time at which they were minted. It holds the layout of an ID, the ID
// itself and the generator, which mints under leases: each says which node ID
// and which timestamps may go into IDs, and until when. With a generator that
// keeps its rules (G1 to G4), two IDs minted under leases of one pool are never
// equal, whatever clocks do.
//
// The package must not read the wall clock, touch the network, start a
// goroutine or import anything but the standard library. It knows neither
// server nor epoch: whoever holds a lease tells the generator what was granted.
package snowflake
