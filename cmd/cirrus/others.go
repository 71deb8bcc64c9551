package main

import (
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cirrus-id/cirrus/cmd/cirrus/internal/flags"
)

// What other users of the machine may do to a file.
const (
	othersRead  fs.FileMode = 0o004
	othersWrite fs.FileMode = 0o002
	othersEnter fs.FileMode = 0o001 // of a directory: reach what is in it
)

// tellOthers warns of what other users of the machine can read or change and
// should not: the store's directory, the password for etcd, the config file.
func tellOthers(cmd *cobra.Command, log *slog.Logger) error {
	dir, err := cmd.Flags().GetString("data")
	if err != nil {
		return err
	}
	secret, err := cmd.Flags().GetString("etcd-password-file")
	if err != nil {
		return err
	}
	config, err := flags.ConfigFile(cmd)
	if err != nil {
		return err
	}
	if dir != memory {
		if othersMay(dir)&othersWrite != 0 {
			log.Warn("other users of this machine can replace the store: take that right from its directory (chmod o= DIR)", "dir", dir)
		}
		if store := readable(dir); store != "" {
			log.Warn("other users of this machine can read the store, with the app IDs and the hashes of instance IDs in it: take that right from its directory (chmod -R o= DIR)", "dir", store)
		}
	}
	if othersMay(secret)&(othersRead|othersWrite) != 0 {
		log.Warn("other users of this machine can read or change the password for etcd: take that right from its file (chmod o= FILE; in a Kubernetes volume, defaultMode: 0440)", "file", secret)
	}
	if othersMay(config)&othersWrite != 0 {
		log.Warn("other users of this machine can change the config file: take that right from it (chmod o-w FILE)", "file", config)
	}
	return nil
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
