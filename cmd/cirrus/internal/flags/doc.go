// Package flags reads the settings of commands: from the command line, from the
// environment, and from a config file, in this order. It has the flags that several
// commands share. It must not call the service, open a store or print.
package flags
