package zoo

import (
	"strings"
	"testing"
	"testing/fstest"
)

const someDiff = `
diff --git a/fencing/a.go b/fencing/a.go
index 0123456789abcdef0123456789abcdef01234567..0123456789abcdef0123456789abcdef01234567 100644
--- a/fencing/a.go
+++ b/fencing/a.go
@@ -1 +1 @@
-one
+two
`

// TestCatalogueErrors expects a catalogue that is not whole to be refused, with the
// reason.
func TestCatalogueErrors(t *testing.T) {
	const good = "Bug: b\nRule: S1\nBreaks: S1 durable\n"
	for _, c := range []struct{ name, series, header, want string }{
		{"whole", "# Comment.\nb\n", good, ""},
		{"a control", "b\n", "Control: b\nRule: S1\n", ""},
		{"a test", "b\n", "Bug: b\nRule: S1\nFails: fencing TestX\nBecause: it is so\n", ""},
		{"no patch", "b\nc\n", good, "c.patch"},
		{"no line in the series", "# b\n", good, "does not name b"},
		{"a name twice", "b\nb\n", good, "names b twice"},
		{"another name", "b\n", strings.Replace(good, "Bug: b", "Bug: c", 1), `has the name "c"`},
		{"no rule", "b\n", strings.Replace(good, "Rule: S1\n", "", 1), "no Rule"},
		{"no finder", "b\n", "Bug: b\nRule: S1\n", "Breaks or Fails"},
		{"a control with a finder", "b\n", strings.Replace(good, "Bug", "Control", 1), "a control neither"},
		{"an unknown field", "b\n", good + "Colour: red\n", `unknown fields ["Colour"]`},
		{"an unknown promise", "b\n", strings.Replace(good, "S1 durable", "S1 durable, S1 curable", 1), `no promise "S1 curable"`},
		{"an unknown profile", "b\n", good + "Profile: wild\n", `no "wild"`},
		{"a test without a reason", "b\n", "Bug: b\nRule: S1\nFails: fencing TestX\n", "Because"},
		{"a test and a promise", "b\n", good + "Fails: fencing TestX\nBecause: it is so\n", "no Breaks"},
	} {
		_, err := readCatalogue(fstest.MapFS{
			"bugs/series":  {Data: []byte(c.series)},
			"bugs/b.patch": {Data: []byte(c.header + someDiff)},
		})
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: got error %v, want none", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got error %v, want one with %q", c.name, err, c.want)
		}
	}
}

// TestStalePatchIsReported expects Check to name the patch and what renews it.
func TestStalePatchIsReported(t *testing.T) {
	err := Check(t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "sim/zoo/bugs/mark-lowered.patch") ||
		!strings.Contains(err.Error(), "make zoo-renew") {
		t.Errorf("got error %v, want one that names the stale patches and make zoo-renew", err)
	}
}
