// Package dial is how commands reach the service: the flag --addr, calls that go
// on to the next address where one does not answer, and the sentences that explain
// why a call failed. It must not print, and keeps no lease.
package dial
