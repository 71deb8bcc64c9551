// Package client keeps a lease of a Snowflake node ID alive over the network
// and hands out a generator that mints IDs under it. Hold asks for a lease and
// returns a Holder that sends heartbeats, acquires a new lease after a loss, and
// reports every change to the app.
//
// The rules of a holder (C1 to C7) are fencing.Holder's, those of minting (G1
// to G4) are snowflake.Generator's. This package is the shell around them: one
// goroutine runs a loop, and the loop makes the calls. The package must not
// decide anything that a rule decides, must not read the wall clock, and must
// block and start goroutines only through a Runner. Each question whether a
// lease is valid is answered from the steady clock at that moment, so the
// answer is right even if the loop is stalled.
package client
