// Package output prints what commands answer, as tables and as JSON, asks the
// questions that they ask, and sets up their logs. Whoever logs or prints to
// stderr never waits for a reader (S14). It must not call the service or open a
// store.
package output
