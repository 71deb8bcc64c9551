package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tree is a repository with one file of the product and one patch of it.
type tree struct {
	*testing.T
	root string
}

const before = `package fencing

// isFree reports whether a lease is free.
func (l *lease) isFree(now int) bool {
	return now >= l.deadline+l.quarantine && l.shelf == Resting
}

// last is the last function.
func last() {}
`

// newTree commits the file, and writes a patch that makes the mistake in it.
func newTree(t *testing.T, mistake func(string) string) tree {
	tr := tree{t, t.TempDir()}
	tr.write("go.mod", "module github.com/cirrus-id/cirrus\n")
	tr.write("fencing/lease.go", before)
	for _, dir := range []string{"client", "internal", "service", "snowflake", "store"} {
		tr.write(dir+"/doc.go", "package p\n")
	}
	tr.git("init", "-q")
	tr.git("add", ".")
	tr.git("-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "-m", "m")
	tr.write("fencing/lease.go", mistake(before))
	tr.write("sim/zoo/bugs/some-bug.patch",
		"Bug: some-bug\nRule: S2\nBreaks: S2 quarantine\n\n"+tr.git("diff", "--full-index"))
	tr.write("fencing/lease.go", before)
	return tr
}

func (t tree) write(file, text string) {
	t.Helper()
	path := filepath.Join(t.root, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (t tree) git(args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = t.root
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// renew runs the tool. It returns its output and what it could not carry over.
func (t tree) renew(all bool) (out string, failed int) {
	t.Helper()
	t.Chdir(t.root)
	var b strings.Builder
	failed, err := renewAll(nil, all, &b)
	if err != nil {
		t.Fatal(err)
	}
	return b.String(), failed
}

// planted applies the patch with git and returns the text of a file.
func (t tree) planted(file string) string {
	t.Helper()
	t.git("apply", "sim/zoo/bugs/some-bug.patch")
	text, err := os.ReadFile(filepath.Join(t.root, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func noQuarantine(text string) string { return strings.Replace(text, "+l.quarantine", "", 1) }

// TestRenew changes the product under a patch, in ways that the tool carries the
// patch over.
func TestRenew(t *testing.T) {
	const moved = "fencing/free.go" // a part of the file
	for _, c := range []struct {
		name  string
		file  string // that has the function afterwards
		today string
		want  string // in the output
	}{
		{"nothing", "fencing/lease.go", before, "1 patches are as they were"},
		{"lines above", "fencing/lease.go", strings.Replace(before, "\n\n", "\n\nimport \"time\"\n\n", 1), "1 patches are as they were"},
		{"a line of context", "fencing/lease.go", strings.Replace(before, "a lease is free", "a lease is free now", 1), "merged line by line"},
		{"the changed line", "fencing/lease.go", strings.ReplaceAll(before, "l.shelf", "l.state"), "merged word by word"},
		{"the file's name", "fencing/slot.go", strings.ReplaceAll(before, "l.shelf", "l.state"), "merged word by word into fencing/slot.go"},
		{"another file", moved, strings.Replace(before, "// last is the last function.\nfunc last() {}\n", "", 1), "moved to " + moved},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := newTree(t, noQuarantine)
			switch c.file {
			case moved:
				tr.write("fencing/lease.go", "package fencing\n")
			case "fencing/slot.go":
				tr.git("rm", "-q", "fencing/lease.go")
			}
			tr.write(c.file, c.today)
			out, failed := tr.renew(false)
			if failed != 0 || !strings.Contains(out, c.want) {
				t.Fatalf("%d patches were not carried over, want 0; want %q in the output:\n%s",
					failed, c.want, out)
			}
			if got, want := tr.planted(c.file), noQuarantine(c.today); got != want {
				t.Errorf("with the bug, %s is\n%s\nwant\n%s", c.file, got, want)
			}
		})
	}
}

// TestRenewJoinedFiles moves all of one file into another that the patch changes,
// too. Both changes must be there.
func TestRenewJoinedFiles(t *testing.T) {
	const doc = "package p\n\nfunc f() {}\n"
	tr := newTree(t, noQuarantine)
	tr.write("fencing/other.go", doc)
	tr.git("add", ".")
	tr.write("fencing/lease.go", noQuarantine(before))
	tr.write("fencing/other.go", strings.Replace(doc, "f()", "g()", 1))
	tr.write("sim/zoo/bugs/some-bug.patch", "Bug: some-bug\n\n"+tr.git("diff", "--full-index"))
	tr.write("fencing/lease.go", "package fencing\n")
	joined := doc + strings.TrimPrefix(before, "package fencing\n")
	tr.write("fencing/other.go", joined)
	if out, failed := tr.renew(false); failed != 0 {
		t.Fatalf("the patch was not carried over:\n%s", out)
	}
	want := strings.Replace(noQuarantine(joined), "f()", "g()", 1)
	if got := tr.planted("fencing/other.go"); got != want {
		t.Errorf("with the bug, fencing/other.go is\n%s\nwant\n%s", got, want)
	}
}

// TestNotCarriedOver changes what the bug changes, or makes the bug's own mistake:
// the patch must stay as it is, and the output must say what to do.
func TestNotCarriedOver(t *testing.T) {
	for name, today := range map[string]string{
		"the same words": strings.Replace(before, "l.quarantine", "l.rest()", 1),
		"the mistake":    noQuarantine(before),
		"a deletion":     "package fencing\n",
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTree(t, noQuarantine)
			patch := filepath.Join(tr.root, "sim/zoo/bugs/some-bug.patch")
			old, err := os.ReadFile(patch)
			if err != nil {
				t.Fatal(err)
			}
			tr.write("fencing/lease.go", today)
			out, failed := tr.renew(false)
			if failed != 1 || !strings.Contains(out, "some-bug: NOT CARRIED OVER") ||
				!strings.Contains(out, "git diff --full-index") {
				t.Errorf(
					"%d patches were not carried over, want 1, with a reason and the next step:\n%s",
					failed, out)
			}
			if got, err := os.ReadFile(patch); err != nil || string(got) != string(old) {
				t.Errorf("the patch has changed, %v:\n%s", err, got)
			}
		})
	}
}

// TestRenewAll renews the blob ID of a patch that still fits.
func TestRenewAll(t *testing.T) {
	tr := newTree(t, noQuarantine)
	tr.write("fencing/lease.go", before+"\n// more\n")
	id := strings.TrimSpace(tr.git("hash-object", "fencing/lease.go"))
	if out, failed := tr.renew(true); failed != 0 || !strings.Contains(out, "1 were rewritten") {
		t.Errorf("%d patches were not carried over, want 0, and 1 rewritten:\n%s", failed, out)
	}
	text, err := os.ReadFile(filepath.Join(tr.root, "sim/zoo/bugs/some-bug.patch"))
	if err != nil || !strings.Contains(string(text), "index "+id+"..") ||
		!strings.HasPrefix(string(text), "Bug: some-bug\n") {
		t.Errorf("want the header and blob ID %s, %v, in\n%s", id, err, text)
	}
}

// TestContextGrows changes one of two equal functions: the patch needs more than
// three lines of context to be found once.
func TestContextGrows(t *testing.T) {
	const twins = "package fencing\n\nfunc first() {\n\t_ = 0\n\t_ = 1\n\t_ = 2\n\t_ = 3\n\t_ = 4\n\t_ = 5\n\t_ = 6\n}\n\nfunc second() {\n\t_ = 0\n\t_ = 1\n\t_ = 2\n\t_ = 3\n\t_ = 4\n\t_ = 5\n\t_ = 6\n}\n"
	tr := newTree(t, noQuarantine)
	tr.write("fencing/twins.go", twins)
	changed := twins[:strings.LastIndex(twins, "3")] + "33" +
		twins[strings.LastIndex(twins, "3")+1:]
	r := renewer{root: tr.root, tmp: t.TempDir()}
	out, err := r.write("", map[string][]byte{"fencing/twins.go": []byte(changed)})
	if err != nil || !strings.Contains(string(out), " func second() {\n") {
		t.Errorf("got %v, want a patch with the function's first line:\n%s", err, out)
	}
}
