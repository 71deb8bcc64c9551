// Package exit ends a cirrus process: it maps errors to exit codes, decides which
// signals end a command, and sees to it that what was logged is written first. It
// must not know what a command does.
package exit
