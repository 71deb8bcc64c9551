// Package cirrusv1 is the Cirrus API, version 1, as Go messages: generated from
// lease.proto and admin.proto, where each field's meaning, unit and bounds and
// each call's errors are told. Its subpackage cirrusv1connect has the clients
// and handlers. It holds no logic and imports nothing else of Cirrus; most Go
// programs want package client instead.
package cirrusv1
