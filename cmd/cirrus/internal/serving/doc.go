// Package serving is what `cirrus serve` has around the service: its listeners and
// their limits, what it prints about its state, and the settings that it reads
// again at SIGHUP. It must not open a store or decide about leases.
package serving
