// Package location says where the store is that a command works on: the flags that
// name it, and what the packages of the stores need to open it. It must not serve a
// store or change what is in one.
package location
