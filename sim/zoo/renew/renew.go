package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cirrus-id/cirrus/sim/zoo/internal/patch"
)

// renewer carries patches over to the texts in the tree at root.
type renewer struct {
	root string
	// tmp is a folder for files that git reads.
	tmp string
}

// carry returns the files that a patch changes, with its change to their text of
// today, and how it did that; "" means that the patch applies as it is.
func (r renewer) carry(p patch.Patch) (changed map[string][]byte, how string, err error) {
	changed = map[string][]byte{}
	var hows []string
	for _, f := range p.Files {
		how, err := r.carryFile(f, changed)
		if err != nil {
			return nil, "", err
		}
		if how != "" && !slices.Contains(hows, how) {
			hows = append(hows, how)
		}
	}
	for file, text := range changed {
		today, err := r.read(file)
		if err != nil {
			return nil, "", err
		}
		if bytes.Equal(today, text) {
			return nil, "", fmt.Errorf("the bug makes no difference to today's %s", file)
		}
	}
	return changed, strings.Join(hows, "; "), nil
}

// carryFile adds to changed what a patch does to one file. It tries, in this
// order: to apply the patch as it is; to merge the change since the patch was
// made, line by line and then word by word, also if the file was renamed; and to
// find where the lines have been moved to.
func (r renewer) carryFile(f patch.File, changed map[string][]byte) (how string, err error) {
	today, err := r.text(f.Path, changed)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	text, stale := f.Apply(today)
	if stale == nil {
		changed[f.Path] = text
		return "", nil
	}
	base, conflict := r.git("cat-file", "blob", f.Base)
	to := f.Path
	if conflict == nil && today == nil {
		if to, today, err = r.renamed(base, changed); err != nil {
			return "", err
		}
	}
	if conflict == nil && to != "" {
		if text, conflict = r.merge(f, today, base, wholeLines); conflict == nil {
			changed[to] = text
			return "merged line by line into " + to, nil
		}
		if text, err := r.merge(f, today, base, words); err == nil {
			changed[to] = text
			return "merged word by word into " + to, nil
		}
	}
	moved, lost := r.relocate(f, changed)
	if lost != nil {
		return "", errors.Join(lost, conflict)
	}
	return "moved to " + strings.Join(moved, ", "), nil
}

// mostlySame is the least similarity of a file to one that was renamed to it.
const mostlySame = 0.6

// renamed returns the file of the product that a text is most similar to, and that
// file's text, or "" if no file is similar enough.
func (r renewer) renamed(
	base []byte, changed map[string][]byte,
) (file string, text []byte, err error) {
	files, err := r.product()
	if err != nil {
		return "", nil, err
	}
	best := mostlySame
	for _, name := range files {
		today, err := r.text(name, changed)
		if err != nil {
			return "", nil, err
		}
		if s := similarity(base, today); s >= best {
			best, file, text = s, name, today
		}
	}
	return file, text, nil
}

var longWord = regexp.MustCompile(`[A-Za-z]{5,}`)

// similarity returns which share of the words of two texts they have in common,
// from 0 to 1.
func similarity(a, b []byte) float64 {
	sets := [2]map[string]bool{{}, {}}
	for i, text := range [][]byte{a, b} {
		for _, w := range longWord.FindAll(text, -1) {
			sets[i][string(w)] = true
		}
	}
	common := 0
	for w := range sets[0] {
		if sets[1][w] {
			common++
		}
	}
	return float64(common) / float64(max(1, len(sets[0])+len(sets[1])-common))
}

// merge merges two changes of a text: the one from base to today, and the patch.
func (r renewer) merge(f patch.File, today, base []byte, by unit) ([]byte, error) {
	bug, err := f.Apply(base)
	if err != nil {
		return nil, fmt.Errorf("the patch does not fit the blob that it names: %w", err)
	}
	args := []string{
		"merge-file", "-p", "-q",
		"-L", "today's " + f.Path, "-L", "the patch's base", "-L", "the bug",
	}
	for i, text := range [][]byte{today, base, bug} {
		file := filepath.Join(r.tmp, "merge-"+strconv.Itoa(i))
		if err := os.WriteFile(file, by.split(text), 0o600); err != nil {
			return nil, err
		}
		args = append(args, file)
	}
	merged, err := r.git(args...)
	if err != nil {
		return nil, fmt.Errorf("%w:\n%s", err, conflicts(merged))
	}
	return by.join(merged), nil
}

// conflicts returns the parts of a merged text that a person has to decide on.
func conflicts(merged []byte) string {
	var out strings.Builder
	inside := false
	for line := range strings.Lines(string(merged)) {
		inside = inside || strings.HasPrefix(line, "<<<<<<< ")
		if inside {
			out.WriteString(line)
		}
		inside = inside && !strings.HasPrefix(line, ">>>>>>> ")
	}
	return out.String()
}

// unit is what a merge takes for one thing that is changed or not.
type unit struct {
	split, join func([]byte) []byte
}

func same(text []byte) []byte { return text }

// wholeLines merges as git does. words merges changes of different words in one
// line, too, such as a renamed variable beside the bug's operator.
var (
	wholeLines = unit{same, same}
	words      = unit{splitWords, joinWords}
)

var word = regexp.MustCompile(`\w+|\n|[^\w\n]`)

// newline stands for a newline where each word has a line of its own.
const newline = `\n`

// splitWords gives each word, and each other character, a line of its own.
func splitWords(text []byte) []byte {
	var out bytes.Buffer
	for _, w := range word.FindAll(text, -1) {
		if w[0] == '\n' {
			w = []byte(newline)
		}
		out.Write(w)
		out.WriteByte('\n')
	}
	return out.Bytes()
}

// joinWords undoes splitWords.
func joinWords(split []byte) []byte {
	var out bytes.Buffer
	for line := range bytes.Lines(split) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if string(line) == newline {
			line = []byte("\n")
		}
		out.Write(line)
	}
	return out.Bytes()
}

// relocate looks for the one place in the product that each hunk's lines have
// been moved to, with less context if need be, and adds the change there to
// changed. It returns the files that it found.
func (r renewer) relocate(f patch.File, changed map[string][]byte) (files []string, err error) {
	for i, h := range f.Hunks {
		file, h, err := r.locate(f.Path, h, changed)
		if err != nil {
			return nil, fmt.Errorf("hunk %d of %s: %w:\n%s", i+1, f.Path, err, f.Hunks[i].Old)
		}
		text, err := r.text(file, changed)
		if err != nil {
			return nil, err
		}
		if changed[file], err = (patch.File{Path: file,
			Hunks: []patch.Hunk{h}}).Apply(text); err != nil {
			return nil, err
		}
		if !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	return files, nil
}

// locate returns the file that has a hunk's lines once, and the hunk with the
// context that it has there. It looks in the hunk's own file first, then in its
// folder, then in all of the product.
func (r renewer) locate(
	own string, h patch.Hunk, changed map[string][]byte,
) (string, patch.Hunk, error) {
	all, err := r.product()
	if err != nil {
		return "", h, err
	}
	neighbours := slices.DeleteFunc(slices.Clone(all),
		func(file string) bool { return path.Dir(file) != path.Dir(own) })
	for ; ; h = narrow(h) {
		for _, files := range [][]string{{own}, neighbours, all} {
			found := ""
			n := 0
			for _, file := range files {
				text, err := r.text(file, changed)
				if err != nil {
					continue // the hunk's own file, which is gone
				}
				if places := h.Places(text); len(places) > 0 {
					found, n = file, n+len(places)
				}
			}
			if n == 1 {
				return found, h, nil
			}
		}
		if narrow(h) == h {
			return "", h, errors.New("its old lines are nowhere, or in more than one place")
		}
	}
}

// narrow takes the first and the last line from a hunk, if they are context, as
// long as old lines remain.
func narrow(h patch.Hunk) patch.Hunk {
	olds, news := strings.SplitAfter(h.Old, "\n"), strings.SplitAfter(h.New, "\n")
	olds, news = olds[:len(olds)-1], news[:len(news)-1] // after the last newline is nothing
	if len(olds) > 1 && len(news) > 0 && olds[0] == news[0] {
		olds, news = olds[1:], news[1:]
	}
	if last := len(olds) - 1; last > 0 && len(news) > 0 && olds[last] == news[len(news)-1] {
		olds, news = olds[:last], news[:len(news)-1]
	}
	return patch.Hunk{Old: strings.Join(olds, ""), New: strings.Join(news, "")}
}

// product returns the Go files in which bugs are planted.
func (r renewer) product() (files []string, err error) {
	for _, dir := range []string{"client", "fencing", "internal", "service", "snowflake", "store"} {
		root := filepath.Join(r.root, dir)
		err := filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(name, ".go") &&
				!strings.HasSuffix(name, "_test.go") {
				name, err = filepath.Rel(r.root, name)
				files = append(files, filepath.ToSlash(name))
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}

// mostContext is how many lines of context a hunk may need to be found in one
// place only.
const mostContext = 30

// write returns the text of a patch with this header that changes the files of
// today to these. It takes three lines of context, or as many as each hunk needs
// to be found once.
func (r renewer) write(header string, changed map[string][]byte) ([]byte, error) {
	out := []byte(header)
	for _, name := range slices.Sorted(maps.Keys(changed)) {
		diff, err := r.diff(name, changed[name])
		if err != nil {
			return nil, err
		}
		out = append(out, diff...)
	}
	return out, nil
}

// diff returns the diff of one file.
func (r renewer) diff(name string, text []byte) ([]byte, error) {
	today, err := r.read(name)
	if err != nil {
		return nil, err
	}
	for side, text := range map[string][]byte{"a": today, "b": text} {
		file := filepath.Join(r.tmp, side, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return nil, err
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return nil, err
		}
	}
	for context := 3; context <= mostContext; context++ {
		out, err := r.git("-C", r.tmp, "diff", "--no-index",
			"--no-ext-diff", "--no-color", "--no-prefix", "--full-index",
			"-U"+strconv.Itoa(context), path.Join("a", name), path.Join("b", name))
		var exit *exec.ExitError
		if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) { // 1: they differ
			return nil, err
		}
		p, err := patch.Parse(out)
		if err != nil {
			return nil, fmt.Errorf("a diff of %s: %w", name, err)
		}
		if got, err := p.Files[0].Apply(today); err == nil && bytes.Equal(got, text) {
			return out, nil
		}
	}
	return nil, fmt.Errorf(
		"a hunk of %s is found in more than one place even with %d lines of context", name,
		mostContext)
}

// read returns the text of a file of the product.
func (r renewer) read(file string) ([]byte, error) {
	return os.ReadFile(filepath.Join(r.root, filepath.FromSlash(file)))
}

// text returns the text of a file with what the patch has changed in it so far.
func (r renewer) text(file string, changed map[string][]byte) ([]byte, error) {
	if text, ok := changed[file]; ok {
		return text, nil
	}
	return r.read(file)
}

// git runs git at the module's root, without anybody's configuration.
func (r renewer) git(args ...string) ([]byte, error) {
	cmd := exec.Command("git", args...)
	cmd.Dir = r.root
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_SYSTEM="+os.DevNull)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("git %s: %w %s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, err
}
