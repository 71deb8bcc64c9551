// Package decode takes IDs of any system apart: those of pools, and others of up
// to 64 bits. It must not call the service, read a clock or print.
package decode
