package zoo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// errTree says that the tree does not fit the catalogue.
var errTree = errors.New("the zoo's catalogue does not fit this source tree: bring the bug's old text up to date in sim/zoo")

// plant writes the changed files of a bug, and the overlay that lets the go
// command see them in the place of the tree's own, into dir. It returns the
// overlay's path; the tree at root is only read.
func plant(root, dir string, b Bug) (string, error) {
	changed, err := apply(root, b)
	if err != nil {
		return "", err
	}
	replace := make(map[string]string, len(changed))
	for file, text := range changed {
		to := filepath.Join(dir, strconv.Itoa(len(replace))+"-"+filepath.Base(file))
		if err := os.WriteFile(to, text, 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(root, filepath.FromSlash(file))] = to
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o600)
}

// apply returns the files that a bug changes, as they are with it. Errors wrap
// errTree where an old text is not there exactly once.
func apply(root string, b Bug) (map[string][]byte, error) {
	changed := map[string][]byte{}
	for i, e := range b.Edits {
		text, ok := changed[e.File]
		if !ok {
			var err error
			if text, err = os.ReadFile(filepath.Join(root, filepath.FromSlash(e.File))); err != nil {
				return nil, fmt.Errorf("%s: edit %d: %w", b.Name, i+1, err)
			}
		}
		if n := bytes.Count(text, []byte(e.Old)); n != 1 {
			return nil, fmt.Errorf("%s: edit %d: %s has its old text %d times, not once (%q): %w", b.Name, i+1, e.File, n, e.Old, errTree)
		}
		changed[e.File] = bytes.Replace(text, []byte(e.Old), []byte(e.New), 1)
	}
	return changed, nil
}

// Check says whether every old text is in the tree at root exactly once.
func Check(root string) error {
	var errs []error
	for _, some := range [][]Bug{Bugs(), controls} {
		for _, b := range some {
			_, err := apply(root, b)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Root finds the module's root, from a folder in it upwards.
func Root(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		if text, err := os.ReadFile(filepath.Join(at, "go.mod")); err == nil && bytes.HasPrefix(text, []byte("module "+modulePath+"\n")) {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("%s is not in the source tree of %s: run the zoo in a clone of it", dir, modulePath)
		}
	}
}

const modulePath = "github.com/cirrus-id/cirrus"
