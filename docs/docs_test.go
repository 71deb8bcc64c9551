// Package docs_test checks the documents of the repository: rules that the code
// cites are in the specification, and links lead somewhere.
package docs_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

const (
	root   = ".."
	design = "../docs/design.md"
)

// ruleName matches the name of a promise (P) or of a rule of the server (S), the
// holder (C) or the generator (G).
var ruleName = regexp.MustCompile(`\b[PSCG][1-9][0-9]?\b`)

// commandLine matches a flag or a command of the binary.
var commandLine = regexp.MustCompile(`(^|[^-])--[a-z]|\bcirrus [a-z]`)

// TestLibrariesDoNotSpeakTheCommandLine looks at the texts of the libraries: what
// they say must help a user of the Go packages and of the API as well. Package
// hint of cmd/cirrus adds the flag or the command.
func TestLibrariesDoNotSpeakTheCommandLine(t *testing.T) {
	formats := []string{`"cirrus high-water 1: mark %d base %d"`} // of files
	searched := 0
	for _, path := range files(t, ".go") {
		dir, _, _ := strings.Cut(strings.TrimPrefix(filepath.ToSlash(path), root+"/"), "/")
		if strings.HasSuffix(path, "_test.go") ||
			!slices.Contains([]string{"fencing", "store", "client", "snowflake", "service"}, dir) {
			continue
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		searched++
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING &&
				commandLine.MatchString(strings.Trim(lit.Value, "\"`")) &&
				!slices.Contains(formats, lit.Value) {
				t.Errorf(
					"%s: the text %s names a flag or a command: say it in words of the package, and add a hint in cmd/cirrus/internal/hint", set.Position(lit.Pos()), lit.Value)
			}
			return true
		})
	}
	if searched < 100 {
		t.Errorf("searched %d files, want at least 100: the search is broken", searched)
	}
}

// TestCitedRulesAreInTheDesign looks for a heading of its own in design.md for
// each rule that a Go comment cites.
func TestCitedRulesAreInTheDesign(t *testing.T) {
	defined := map[string]bool{}
	for _, h := range headings(read(t, design)) {
		if strings.HasPrefix(h, "### ") {
			defined[ruleName.FindString(h)] = true
		}
	}
	cited := map[string]bool{}
	for _, path := range files(t, ".go") {
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil,
			parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, group := range file.Comments {
			for _, c := range group.List {
				for _, at := range ruleName.FindAllStringIndex(c.Text, -1) {
					rule := c.Text[at[0]:at[1]]
					cited[rule] = true
					if !defined[rule] {
						line := set.Position(c.Pos()).Line + strings.Count(c.Text[:at[0]], "\n")
						t.Errorf("%s:%d cites %s, for which design.md has no heading", path, line,
							rule)
					}
				}
			}
		}
	}
	if len(cited) < 20 {
		t.Errorf("found %d cited rules in Go comments, want at least 20: the search is broken",
			len(cited))
	}
}

// TestEachRuleHasAPlace checks that architecture.md says of each rule in the
// design where the code keeps it, and that those files cite the rule.
func TestEachRuleHasAPlace(t *testing.T) {
	const architecture = "architecture.md"
	places := map[string]string{}
	for row := range strings.Lines(read(t, architecture)) {
		if rule, place, ok := strings.Cut(strings.TrimPrefix(row, "| "), " | "); ok &&
			ruleName.FindString(rule) == rule {
			places[rule] = place
		}
	}
	for _, h := range headings(read(t, design)) {
		rule := ruleName.FindString(h)
		if !strings.HasPrefix(h, "### "+rule+" ") || rule == "" || rule[0] == 'P' {
			continue
		}
		place, ok := places[rule]
		if !ok {
			t.Errorf("%s has no row for %s", architecture, rule)
		}
		for _, m := range link.FindAllStringSubmatch(place, -1) {
			if !slices.Contains(ruleName.FindAllString(read(t, m[1]), -1), rule) {
				t.Errorf("%s has %s in %s, which doesn't cite it", architecture, rule, m[1])
			}
		}
	}
}

// link matches the target of an inline Markdown link or image.
var link = regexp.MustCompile(`\]\(([^()\s]+)\)`)

// TestLinksResolve follows each relative link between the repository's files,
// and each anchor into a Markdown file.
func TestLinksResolve(t *testing.T) {
	followed := 0
	for _, path := range files(t, ".md") {
		for _, m := range link.FindAllStringSubmatch(prose(read(t, path)), -1) {
			if err := follow(t, path, m[1]); err != nil {
				t.Errorf("%s links to %s: %v", path, m[1], err)
			}
			followed++
		}
	}
	if followed < 20 {
		t.Errorf("found %d links, want at least 20: the search is broken", followed)
	}
}

// follow returns what is wrong with a link in the file at path, if anything.
func follow(t *testing.T, path, target string) error {
	u, err := url.Parse(target)
	if err != nil || u.IsAbs() {
		return err
	}
	to := path
	if u.Path != "" {
		to = filepath.Join(filepath.Dir(path), filepath.FromSlash(u.Path))
	}
	if _, err := os.Stat(to); err != nil {
		return fmt.Errorf("there is no %s", to)
	}
	if u.Fragment != "" && !anchors(read(t, to))[u.Fragment] {
		return fmt.Errorf("%s has no heading #%s", to, u.Fragment)
	}
	return nil
}

// anchors returns the anchors that GitHub gives to the headings of a text.
func anchors(text string) map[string]bool {
	all := map[string]bool{}
	for _, h := range headings(text) {
		base := anchor(strings.TrimLeft(h, "# "))
		name := base
		for n := 1; all[name]; n++ {
			name = fmt.Sprintf("%s-%d", base, n)
		}
		all[name] = true
	}
	return all
}

func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}

var (
	fence      = regexp.MustCompile("(?ms)^[ \t]*```.*?^[ \t]*```")
	codeSpan   = regexp.MustCompile("`[^`\n]*`")
	anyHeading = regexp.MustCompile(`(?m)^#{1,6} .*$`)
)

// headings returns the heading lines of a text, those in code blocks left out.
func headings(text string) []string {
	return anyHeading.FindAllString(fence.ReplaceAllString(text, ""), -1)
}

// prose returns a text without its code.
func prose(text string) string {
	return codeSpan.ReplaceAllString(fence.ReplaceAllString(text, ""), "")
}

// files returns the paths of the repository's files with this extension.
func files(t *testing.T, ext string) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".git":
			return fs.SkipDir
		case !d.IsDir() && filepath.Ext(path) == ext:
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
