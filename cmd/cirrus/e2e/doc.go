// Package e2e tests the real binary from outside: killed at random moments
// under many clients, stopped in mid-mint, shut down, and on bad days. It holds
// tests alone, and they run on Linux. Of this module they import the generated
// API and nothing else, so that no mistake of the parts under test can hide in
// what they are judged by.
package e2e
