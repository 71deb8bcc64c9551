// Package e2e tests the real binary from outside: killed at random moments
// under many clients, stopped in mid-mint, shut down, and on bad days. It holds
// tests alone, and they run on Linux. Of this module they import the generated
// API, and what knows no more than it does: how to run etcd, and which histories
// are possible. So no mistake of the parts under test can hide in what they are
// judged by.
package e2e
