package patch

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
)

const (
	blob  = "0123456789abcdef0123456789abcdef01234567"
	start = "diff --git a/a.go b/a.go\nindex " + blob + ".." + blob +
		" 100644\n--- a/a.go\n+++ b/a.go\n"
)

// apply parses a patch of a.go and applies it to a text.
func apply(t *testing.T, diff, text string) (string, error) {
	t.Helper()
	p, err := Parse([]byte(diff))
	if err != nil {
		t.Fatal(err)
	}
	changed, err := p.Apply(func(path string) ([]byte, error) {
		if path != "a.go" {
			return nil, fmt.Errorf("no file %s", path)
		}
		return []byte(text), nil
	})
	return string(changed["a.go"]), err
}

func TestApply(t *testing.T) {
	const diff = start +
		"@@ -1,3 +1,3 @@ func f()\n one\n-two\n+TWO\n three\n@@ -7,2 +7,3 @@\n seven\n+and a half\n eight\n"
	for _, c := range []struct{ name, text, want string }{
		{"as it was made", "one\ntwo\nthree\n4\n5\n6\nseven\neight\n", "one\nTWO\nthree\n4\n5\n6\nseven\nand a half\neight\n"},
		{"moved", "0\n0\none\ntwo\nthree\nseven\neight\n", "0\n0\none\nTWO\nthree\nseven\nand a half\neight\n"},
		{"in another order", "seven\neight\none\ntwo\nthree\n", "seven\nand a half\neight\none\nTWO\nthree\n"},
		{"a line that ends like the first", "and one\ntwo\nthree\none\ntwo\nthree\nseven\neight\n", "and one\ntwo\nthree\none\nTWO\nthree\nseven\nand a half\neight\n"},
	} {
		if got, err := apply(t, diff, c.text); err != nil || got != c.want {
			t.Errorf("%s: got %q, %v; want %q", c.name, got, err, c.want)
		}
	}
	for _, c := range []struct{ name, text, want string }{
		{"changed context", "one\ntwo\n3\nseven\neight\n", "hunk 1 is in a.go 0 times"},
		{"twice", "one\ntwo\nthree\nseven\neight\nseven\neight\n", "hunk 2 is in a.go 2 times"},
	} {
		_, err := apply(t, diff, c.text)
		if !errors.Is(err, ErrStale) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want ErrStale with %q", c.name, err, c.want)
		}
	}
	const overlapping = start +
		"@@ -1,2 +1,2 @@\n one\n-two\n+2\n@@ -2,2 +2,2 @@\n two\n-three\n+3\n"
	if _, err := apply(t, overlapping, "one\ntwo\nthree\n"); !errors.Is(err, ErrStale) {
		t.Errorf("overlapping hunks: got error %v, want ErrStale", err)
	}
	const twice = start + "@@ -1 +1 @@\n-one\n+1\n@@ -2 +2 @@\n-one\n+2\n"
	if _, err := apply(t, twice, "one\n"); !errors.Is(err, ErrStale) {
		t.Errorf("two hunks with one old text: got error %v, want ErrStale", err)
	}
}

func TestApplyToMissingFile(t *testing.T) {
	p, err := Parse([]byte(strings.ReplaceAll(start, "a.go", "gone.go") + "@@ -1 +1 @@\n-1\n+2\n"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Apply(func(path string) ([]byte, error) {
		return nil,
			errors.New("no file " + path)
	})
	if !errors.Is(err, ErrStale) || !strings.Contains(err.Error(), "gone.go") {
		t.Errorf("got error %v, want ErrStale with the file's name", err)
	}
}

// TestParse reads two files, an empty line of context whose space an editor has cut,
// and a header.
func TestParse(t *testing.T) {
	p, err := Parse([]byte("Bug: some-bug\nNote: one\n two\n\n" + start +
		"@@ -1,3 +1,2 @@\n one\n\n-two\n" +
		strings.ReplaceAll(start, "a.go", "dir/b.go") + "@@ -0,0 +1 @@\n+new\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []File{
		{"a.go", blob, []Hunk{{"one\n\ntwo\n", "one\n\n"}}},
		{"dir/b.go", blob, []Hunk{{"", "new\n"}}},
	}
	if got := fmt.Sprint(p.Files); got != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	fields, err := p.Fields()
	if want := map[string]string{"Bug": "some-bug", "Note": "one two"}; err != nil ||
		!maps.Equal(fields, want) {
		t.Errorf("got the fields %v, %v; want %v", fields, err, want)
	}
}

func TestParseErrors(t *testing.T) {
	const hunk = "@@ -1 +1 @@\n-1\n+2\n"
	for _, c := range []struct{ name, text, want string }{
		{"no diff", "Bug: x\n", "diff --git"},
		{"a rename", strings.Replace(start, "b/a.go", "b/c.go", 1) + hunk, "one file"},
		{"a new file", strings.Replace(start, "index", "new file mode 100644\nindex", 1) + hunk, "full blob IDs"},
		{"a short blob ID", strings.Replace(start, blob, blob[:7], 1) + hunk, "full blob IDs"},
		{"another name", strings.Replace(start, "+++ b/a.go", "+++ b/c.go", 1) + hunk, `want "+++ b/a.go"`},
		{"no hunk", start, "want a hunk of a.go"},
		{"an end in a hunk", start + "@@ -1,2 +1,2 @@\n-1\n+2\n", "ends too early"},
		{"a line of no kind", start + "@@ -1 +1 @@\n?1\n", "begins with"},
		{"wrong counts", start + "@@ -1 +0,0 @@\n 1\n", "does not count"},
		{"no newline at the end", start + hunk + "\\ No newline at end of file\n", "newline"},
		{"text after it", start + hunk + "more\n", `got "more"`},
	} {
		if _, err := Parse([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want one with %q", c.name, err, c.want)
		}
	}
	for _, header := range []string{"Bug\n", "Bug: x\nBug: y\n", " x\n", "Two words: x\n"} {
		if fields, err := (Patch{Header: header}).Fields(); err == nil {
			t.Errorf("header %q: got %v, want an error", header, fields)
		}
	}
}
