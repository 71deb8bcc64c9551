// Package service serves the rules of package fencing over Connect, gRPC,
// gRPC-Web and plain HTTP with JSON. It owns what the rules must not: the
// clocks, the goroutines, the store's commits, the queue of those who wait,
// metrics and health. It decides nothing about leases: every answer is one
// that fencing.Server gave, and no reply leaves before the write that it rests
// on is durable.
package service
