// Package storev1 is what a Cirrus store keeps, as Go messages generated from
// store.proto. It is for packages below store alone: none of it goes over the
// network, and other programs must not rely on it.
package storev1
