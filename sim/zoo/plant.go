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

// plant writes the files that a bug changes into dir, and an overlay that makes
// the go command read them in place of the tree's. It returns the overlay's path.
// The tree at root is only read.
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

// apply returns the files of the tree at root that a bug changes, with the bug.
// Errors wrap patch.ErrStale if its patch does not fit them.
func apply(root string, b Bug) (map[string][]byte, error) {
	changed, err := b.patch.Apply(func(file string) ([]byte, error) {
		return os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
	})
	if err != nil {
		return nil, fmt.Errorf("sim/zoo/bugs/%s.patch: %w", b.Name, err)
	}
	return changed, nil
}

// Check reports whether the patch of each bug and control fits the tree at root.
func Check(root string) error {
	c, err := load()
	if err != nil {
		return err
	}
	var errs []error
	for _, b := range c.all() {
		if _, err := apply(root, b); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf(
		"%w\n%d planted bugs do not fit the code of this tree: run `make zoo-renew`, which carries them over and lists what it cannot", errors.Join(errs...), len(errs))
}

// Root finds the module's root, from a folder in it upwards.
func Root(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		text, err := os.ReadFile(filepath.Join(at, "go.mod"))
		if err == nil && bytes.HasPrefix(text, []byte("module "+modulePath+"\n")) {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "",
				fmt.Errorf("%s is not in the source tree of %s: run the zoo in a clone of it",
					dir, modulePath)
		}
	}
}

const modulePath = "github.com/cirrus-id/cirrus"
