package files

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
)

// What other users of the machine may do to a file.
const (
	othersRead  fs.FileMode = 0o004
	othersWrite fs.FileMode = 0o002
	othersEnter fs.FileMode = 0o001 // of a directory: use the files in it
)

// Paths are the files of a service that other users should not read or change. An
// empty path means that there is no such file.
type Paths struct {
	Dir    string // the store's directory
	Secret string // the file with the password for etcd
	Config string // the config file
}

// Warn warns of what other users of this machine can read or change and
// should not.
func (p Paths) Warn(log *slog.Logger) {
	if othersMay(p.Dir)&othersWrite != 0 {
		log.Warn("other users of this machine can replace the store: take that right from its "+
			"directory (chmod o= DIR)", "dir", p.Dir)
	}
	if store := readable(p.Dir); store != "" {
		log.Warn(
			"other users of this machine can read the store, with the app IDs and the hashes of "+
				"instance IDs in it: take that right from its directory (chmod -R o= DIR)",
			"dir", store)
	}
	if othersMay(p.Secret)&(othersRead|othersWrite) != 0 {
		log.Warn("other users of this machine can read or change the password for etcd: take that "+
			"right from its file (chmod o= FILE; in a Kubernetes volume, defaultMode: 0440)",
			"file", p.Secret)
	}
	if othersMay(p.Config)&othersWrite != 0 {
		log.Warn("other users of this machine can change the config file: take that right from it "+
			"(chmod o-w FILE)", "file", p.Config)
	}
}

// readable returns a directory in the store's directory with a file that others can
// read, or "". In the store's own directory others may see the names of files and
// read the high-water file, which are no secrets.
func readable(dir string) string {
	for _, inner := range reached(dir) {
		for _, file := range reached(inner) {
			if othersMay(file)&othersRead != 0 {
				return inner
			}
		}
	}
	return ""
}

// reached returns the paths of the files in a directory, and none if others can't
// reach them or if it is no directory.
func reached(dir string) []string {
	if othersMay(dir)&othersEnter == 0 {
		return nil
	}
	entries, _ := os.ReadDir(dir) // opening the store reports what is wrong
	paths := make([]string, len(entries))
	for i, e := range entries {
		paths[i] = filepath.Join(dir, e.Name())
	}
	return paths
}
