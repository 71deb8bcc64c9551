// Package reach knows the addresses of the service, and which of them to use. It stays
// with an address that works, and goes on to the next when its user reports a failure.
// Holders and commands share it. They decide how long and how often to try: nothing
// here reads a clock or retries.
package reach
