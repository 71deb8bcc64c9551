// Package client keeps a lease of a Snowflake node ID alive over the network
// and hands out a generator that mints IDs under it. Hold asks for a lease and
// returns a Holder that heartbeats by itself, acquires anew after a loss, and
// tells the app of every change.
//
// The rules of a holder (C1 to C7) are fencing.Holder's, those of minting (G1
// to G4) snowflake.Generator's. This package is the shell around them: one
// goroutine with one loop, and the calls that it makes. It must decide nothing
// that a rule decides, never read the wall clock, and block or start a
// goroutine nowhere but in a Runner. Whether a lease is valid is worked out
// anew, from the steady clock, each time that it is asked, so that the answer
// is right even if the loop is stalled.
package client
