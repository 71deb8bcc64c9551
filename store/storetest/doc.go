// Package storetest has the tests that every store must pass: a conformance suite, and a
// journal that checks what a store holds after a crash. It is for tests only, and must not
// know how a store works.
package storetest
