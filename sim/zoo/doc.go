// Package zoo proves that the simulator notices bugs. It plants one bug after the
// other into the product, runs seeds until the check that the bug breaks has found
// it, and reports how many seeds that took. Controls, changes that do no harm, must
// stay green. A canary, a violation on request, must be reported.
//
// # Bugs
//
// Each bug is a file bugs/NAME.patch with a header and a unified diff, and a line in
// bugs/series, which has the order of the table in docs/simulation.md. The diff is
// applied in memory, and the go command builds the result with -overlay: the source
// tree is only read. A hunk whose old text is not in its file exactly once makes the
// patch stale. The tests report that, and `make zoo-renew` carries patches over to
// changed code. The fields of a header are
//
//	Bug      the name, as in the file's; Control for a change that does no harm
//	Rule     the rule of docs/design.md that the bug breaks
//	Breaks   the promises of the simulator, of which the bug must break one first
//	Profile  the simulator's profile, if a seed must not draw its own
//	Fails    a package and a test, in place of Breaks, if the simulator cannot see
//	         the bug
//	Because  why it cannot
//	Note     what a reader of the diff should know
//
// The package must not import what it plants bugs into.
package zoo
