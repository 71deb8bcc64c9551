// Package zoo proves that the simulator would notice. It plants one bug after
// the other into the product, runs seeds until the check that it breaks has
// found it, and tells how many that took. Controls, changes that do no harm,
// must stay green; a canary must be reported.
//
// A bug is a text replacement, applied with `go build -overlay`: the source
// tree is only read. It must not import what it plants bugs into.
package zoo
