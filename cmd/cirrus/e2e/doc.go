// Package e2e tests the real binary from outside: killed at random moments
// under many clients, stopped in mid-mint, shut down, and on bad days. It holds
// tests only, and they run on Linux. Of this module they import the generated
// API, the client, and packages that know nothing of Cirrus: how to run processes
// and etcd, and which histories are possible. So the tests cannot repeat a mistake
// of the parts that they judge.
package e2e
