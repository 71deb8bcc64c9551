// Package storetest is what every store must pass: one conformance suite, and
// a journal that judges what a store remembers after a crash. It is for tests
// alone, and knows nothing of how a store keeps what it keeps.
package storetest
