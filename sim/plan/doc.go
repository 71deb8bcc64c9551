// Package plan draws what a world is like before it begins: its profile, its
// timings, and which kinds of faults may happen in it.
//
// Every choice comes from a stream of its own purpose, so that a kind that is
// switched off shifts none of the others. The package runs nothing.
package plan
