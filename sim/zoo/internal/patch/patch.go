// Package patch reads the files in which bugs are kept: a header, then a
// unified diff as `git diff --full-index` prints it. It applies them to texts in
// memory, and more strictly than git does: it never guesses where a hunk belongs.
//
// It must not know what the fields of a header mean; package zoo does.
package patch

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ErrStale says that a text is no longer what a patch was made for.
var ErrStale = errors.New("the patch is stale")

// Patch is a file with a header and a diff.
type Patch struct {
	// Header is the text before the diff, with the empty line that ends it.
	Header string
	// Files are the files that the diff changes, in its order.
	Files []File
}

// File is what a diff does to one file.
type File struct {
	// Path has slashes, and begins at the module's root.
	Path string
	// Base is the full ID of the blob that the diff was made for.
	Base string
	// Hunks are in the order of the file.
	Hunks []Hunk
}

// Hunk replaces some lines by others. Both texts end with a newline, and begin
// and end with the lines of context that they share.
type Hunk struct {
	Old, New string
}

// Read reads the file where a patch changes it. Paths are as in File.
type Read func(path string) ([]byte, error)

const diffStart = "diff --git "

// Parse reads a patch. It refuses what a bug has no need of: files that are
// created, deleted or renamed, abbreviated blob IDs, and files that do not end
// with a newline.
func Parse(text []byte) (Patch, error) {
	at := bytes.Index(append([]byte("\n"), text...), []byte("\n"+diffStart))
	if at < 0 {
		return Patch{}, fmt.Errorf("it has no line that begins with %q",
			strings.TrimSpace(diffStart))
	}
	p := Patch{Header: string(text[:at])}
	for in := (&lines{rest: string(text[at:])}); in.rest != ""; {
		f, err := readFile(in)
		if err != nil {
			line := bytes.Count(text, []byte("\n")) - strings.Count(in.rest, "\n")
			return Patch{}, fmt.Errorf("line %d: %w", line, err)
		}
		p.Files = append(p.Files, f)
	}
	return p, nil
}

// Fields returns the header's fields: lines of a key, a colon and a value. A line
// that begins with a space continues the value of the line before it.
func (p Patch) Fields() (map[string]string, error) {
	fields := map[string]string{}
	last := ""
	for line := range strings.Lines(strings.TrimRight(p.Header, "\n")) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, " ") && last != "" {
			fields[last] += " " + strings.TrimSpace(line)
			continue
		}
		key, value, ok := strings.Cut(line, ": ")
		if _, twice := fields[key]; !ok || twice || strings.Contains(key, " ") {
			return nil, fmt.Errorf(
				"the header has the line %q: give each field once, as \"Key: value\"",
				line)
		}
		fields[key], last = strings.TrimSpace(value), key
	}
	return fields, nil
}

// Apply returns the texts of the files that the patch changes, with its change.
// Errors wrap ErrStale if the old text of a hunk is not in its file exactly once.
func (p Patch) Apply(read Read) (map[string][]byte, error) {
	changed := make(map[string][]byte, len(p.Files))
	for _, f := range p.Files {
		text, err := read(f.Path)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrStale, err)
		}
		if changed[f.Path], err = f.Apply(text); err != nil {
			return nil, err
		}
	}
	return changed, nil
}

// Apply returns the text of one file with its change.
func (f File) Apply(text []byte) ([]byte, error) {
	places := map[int]Hunk{} // by the offset of their old text
	for i, h := range f.Hunks {
		found := h.Places(text)
		if len(found) != 1 {
			return nil, fmt.Errorf("%w: the old text of hunk %d is in %s %d times, not once:\n%s",
				ErrStale, i+1, f.Path, len(found), h.Old)
		}
		if _, taken := places[found[0]]; taken {
			return nil, fmt.Errorf("%w: two of its hunks have the same old text in %s", ErrStale,
				f.Path)
		}
		places[found[0]] = h
	}
	var out []byte
	end := 0
	for _, at := range slices.Sorted(maps.Keys(places)) {
		if at < end {
			return nil, fmt.Errorf("%w: two of its hunks overlap in %s", ErrStale, f.Path)
		}
		out = append(append(out, text[end:at]...), places[at].New...)
		end = at + len(places[at].Old)
	}
	return append(out, text[end:]...), nil
}

// Places returns the offsets at which the text has the hunk's old lines.
func (h Hunk) Places(text []byte) (places []int) {
	if h.Old == "" {
		return nil
	}
	for from := 0; ; {
		at := bytes.Index(text[from:], []byte(h.Old))
		if at < 0 {
			return places
		}
		at += from
		if at == 0 || text[at-1] == '\n' {
			places = append(places, at)
		}
		from = at + 1
	}
}

// lines reads a text line by line.
type lines struct{ rest string }

// next returns the next line without its newline.
func (in *lines) next() string {
	line, rest, _ := strings.Cut(in.rest, "\n")
	in.rest = rest
	return line
}

var (
	indexLine = regexp.MustCompile(`^index ([0-9a-f]{40})\.\.[0-9a-f]{40} 100644$`)
	hunkLine  = regexp.MustCompile(`^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@`)
)

// readFile reads the part of a diff that is about one file.
func readFile(in *lines) (File, error) {
	names := strings.Fields(strings.TrimPrefix(in.next(), diffStart))
	if len(names) != 2 || strings.TrimPrefix(names[0], "a/") != strings.TrimPrefix(names[1], "b/") {
		return File{}, fmt.Errorf("%q are not two names of one file", names)
	}
	f := File{Path: strings.TrimPrefix(names[0], "a/")}
	index := indexLine.FindStringSubmatch(in.next())
	if index == nil {
		return File{}, errors.New(
			`want "index", two full blob IDs and "100644", as git diff --full-index prints of a file that is there before and after`)
	}
	f.Base = index[1]
	for _, want := range []string{"--- a/" + f.Path, "+++ b/" + f.Path} {
		if got := in.next(); got != want {
			return File{}, fmt.Errorf("got %q, want %q", got, want)
		}
	}
	for strings.HasPrefix(in.rest, "@@ ") {
		h, err := readHunk(in)
		if err != nil {
			return File{}, err
		}
		f.Hunks = append(f.Hunks, h)
	}
	if len(f.Hunks) == 0 || in.rest != "" && !strings.HasPrefix(in.rest, diffStart) {
		return File{}, fmt.Errorf("want a hunk of %s or another file, got %q",
			f.Path, (&lines{in.rest}).next())
	}
	return f, nil
}

// readHunk reads a hunk. Its first line says how many lines of each text follow.
func readHunk(in *lines) (h Hunk, err error) {
	head := in.next()
	counts := hunkLine.FindStringSubmatch(head)
	if counts == nil {
		return Hunk{}, fmt.Errorf("%q is not the first line of a hunk", head)
	}
	olds, news := count(counts[1]), count(counts[2])
	for olds > 0 || news > 0 {
		if in.rest == "" {
			return Hunk{}, fmt.Errorf("%q ends too early", head)
		}
		line := in.next() + "\n"
		switch line[0] {
		case '\n': // an editor has cut the space of an empty line of context
			line = " \n"
			fallthrough
		case ' ':
			h.Old, h.New = h.Old+line[1:], h.New+line[1:]
			olds, news = olds-1, news-1
		case '-':
			h.Old, olds = h.Old+line[1:], olds-1
		case '+':
			h.New, news = h.New+line[1:], news-1
		default:
			return Hunk{}, fmt.Errorf("a line of a hunk begins with a space, + or -, not as %q",
				line)
		}
	}
	if olds < 0 || news < 0 || strings.HasPrefix(in.rest, `\`) {
		return Hunk{}, fmt.Errorf(
			"%q does not count its lines, or its file does not end with a newline",
			head)
	}
	return h, nil
}

// count reads the number of lines in a hunk's head, which leaves out a 1.
func count(digits string) int {
	if digits == "" {
		return 1
	}
	n, _ := strconv.Atoi(digits) // digits alone; one that is too large finds no lines
	return n
}
