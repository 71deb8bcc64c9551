package flags

import (
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Marks at a flag that the command line didn't give: where its value is from,
// and what the config file said.
const (
	sourceMark    = "source"
	fileValueMark = "file-value"
)

// Source is where a flag's value is from.
type Source string

const (
	FromDefault     Source = "its default"
	fromCommandLine Source = "the command line"
	fromEnvironment Source = "the environment"
	FromFile        Source = "the config file"
)

// setSource notes where a flag's value is from, and the value itself if it is
// from the file.
func setSource(f *pflag.Flag, s Source, value string) {
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[sourceMark] = []string{string(s)}
	if s == FromFile {
		f.Annotations[fileValueMark] = []string{value}
	}
}

// SourceOf says where a flag's value is from.
func SourceOf(f *pflag.Flag) Source {
	if s := f.Annotations[sourceMark]; len(s) > 0 {
		return Source(s[0])
	}
	if f.Changed {
		return fromCommandLine
	}
	return FromDefault
}

// ChangedSettings names the settings of a command, but for the log level, that
// are from the file and differ there now.
func ChangedSettings(cmd *cobra.Command, now map[string]string) []string {
	changed := map[string]bool{}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		from := SourceOf(f)
		if f.Name == "log-level" || notSettings[f.Name] || from != FromFile && from != FromDefault {
			return
		}
		if before := f.Annotations[fileValueMark]; now[f.Name] != strings.Join(before, "") {
			changed[f.Name] = true
		}
	})
	return slices.Sorted(maps.Keys(changed))
}
