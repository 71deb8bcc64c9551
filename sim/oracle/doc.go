// Package oracle judges by what happens whether the promises hold.
//
// An Oracle hears News, one after the other, each with the Instant at which it
// happens: what went over the wire, what the store was told and has acknowledged,
// which IDs were minted and who takes itself for a holder. It says to its Sink
// which promise is broken, which situations came about, and what a trace should
// have. It knows no world: news are plain values, so a test is a list of them
// with the violation that is wanted.
//
// Each promise has a file of its own, which its checks are in. What they share is
// what the oracle knows: state.go has the types, and servers.go, disk.go, terms.go,
// wire.go and holders.go turn news into it.
//
// The package asks none of the product's rules, and imports nothing of the product
// but the plain types of fencing and snowflake.
package oracle
