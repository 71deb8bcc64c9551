// Package snowflake makes and reads Snowflake IDs: 63-bit numbers that sort by
// the time at which they were minted. It has the layout of an ID, the ID itself
// and the generator, which mints under leases: a lease says which node ID and
// which timestamps may go into IDs, and until when. The generator keeps rules G1
// to G4, so two IDs minted under leases of one pool are never equal, even if
// clocks are wrong.
//
// The package must not read the wall clock, use the network, start a goroutine
// or import anything but the standard library. It knows neither servers nor
// epochs: the holder of a lease tells the generator what was granted.
package snowflake
