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
	othersEnter fs.FileMode = 0o001 // of a directory: reach what is in it
)

// Paths are the files of a service that others should have no access to. An empty
// one means that there is none.
type Paths struct {
	Dir    string // of the store
	Secret string // with the password for etcd
	Config string
}

// Warn warns of what other users of this machine can read or change and
// should not.
func (p Paths) Warn(log *slog.Logger) {
	if othersMay(p.Dir)&othersWrite != 0 {
		log.Warn("other users of this machine can replace the store: take that right from its directory (chmod o= DIR)", "dir", p.Dir)
	}
	if store := readable(p.Dir); store != "" {
		log.Warn("other users of this machine can read the store, with the app IDs and the hashes of instance IDs in it: take that right from its directory (chmod -R o= DIR)", "dir", store)
	}
	if othersMay(p.Secret)&(othersRead|othersWrite) != 0 {
		log.Warn("other users of this machine can read or change the password for etcd: take that right from its file (chmod o= FILE; in a Kubernetes volume, defaultMode: 0440)", "file", p.Secret)
	}
	if othersMay(p.Config)&othersWrite != 0 {
		log.Warn("other users of this machine can change the config file: take that right from it (chmod o-w FILE)", "file", p.Config)
	}
}

// readable is a directory in the store's directory with a file in it that others
// can read; "" where there is none. Of the store's own directory they see names
// and the high-water file, which are no secrets.
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

// reached are the paths of what is in a directory, none if it isn't one or others
// can't reach what is in it.
func reached(dir string) []string {
	if othersMay(dir)&othersEnter == 0 {
		return nil
	}
	entries, _ := os.ReadDir(dir) // what is wrong with it, opening the store says
	paths := make([]string, len(entries))
	for i, e := range entries {
		paths[i] = filepath.Join(dir, e.Name())
	}
	return paths
}
