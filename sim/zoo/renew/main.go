// Renew carries the zoo's planted bugs over to a product that has changed, and
// rewrites those patches in sim/zoo/bugs that are stale:
//
//	go run ./sim/zoo/renew [-all] [NAME …]
//
// It needs git and the module's source tree. It changes nothing outside of
// sim/zoo/bugs. What it can't carry over, it lists with the reason, and ends
// with exit code 1.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cirrus-id/cirrus/sim/zoo"
	"github.com/cirrus-id/cirrus/sim/zoo/internal/patch"
)

func main() {
	all := flag.Bool("all", false,
		"rewrite the patches that are not stale, too: their line numbers and blob IDs")
	flag.Parse()
	failed, err := renewAll(flag.Args(), *all, os.Stdout)
	if err != nil {
		fmt.Fprintf(os.Stderr, "renew: %v\n", err)
		os.Exit(2)
	}
	if failed > 0 {
		os.Exit(1)
	}
}

const readThem = `
Read the patches that were merged or moved. Then run "go test ./sim/zoo", and
"cirrus sim zoo --only" with their names.
`

const byHand = `
%d patches could not be carried over. For each of them: commit or stage your
work, make the bug's mistake in the product, and write the output of
"git diff --full-index" below the header of its patch. Then undo the mistake.
`

// renewAll renews the patches of these names, or all. It returns how many it
// could not carry over.
func renewAll(names []string, all bool, out io.Writer) (failed int, err error) {
	root, err := zoo.Root(".")
	if err != nil {
		return 0, err
	}
	tmp, err := os.MkdirTemp("", "cirrus-zoo-renew-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(tmp) }() // a folder of temporary files
	dir := filepath.Join(root, "sim", "zoo", "bugs")
	files, err := filepath.Glob(filepath.Join(dir, "*.patch"))
	if err != nil {
		return 0, err
	}
	r := renewer{root: root, tmp: tmp}
	fresh, renewed := 0, 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".patch")
		if len(names) > 0 && !slices.Contains(names, name) {
			continue
		}
		how, err := r.renewFile(file, all)
		switch {
		case err != nil:
			failed++
			_, err = fmt.Fprintf(out, "%s: NOT CARRIED OVER: %v\n", name, err)
		case how == "":
			fresh++
		default:
			renewed++
			_, err = fmt.Fprintf(out, "%s: %s\n", name, how)
		}
		if err != nil {
			return failed, err
		}
	}
	_, err = fmt.Fprintf(out, "%d patches are as they were, %d were rewritten, %d could not be\n",
		fresh, renewed, failed)
	if renewed > 0 && err == nil {
		_, err = fmt.Fprint(out, readThem)
	}
	if failed > 0 && err == nil {
		_, err = fmt.Fprintf(out, byHand, failed)
	}
	return failed, err
}

// renewFile renews one patch. It returns how, or "" if it left the patch alone.
func (r renewer) renewFile(file string, all bool) (how string, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	p, err := patch.Parse(text)
	if err != nil {
		return "", err
	}
	changed, how, err := r.carry(p)
	if err != nil || how == "" && !all {
		return "", err
	}
	renewed, err := r.write(p.Header, changed)
	if err != nil || string(renewed) == string(text) {
		return "", err
	}
	if how == "" {
		how = "fits; line numbers and blob IDs renewed"
	}
	return how, os.WriteFile(file, renewed, 0o600)
}
