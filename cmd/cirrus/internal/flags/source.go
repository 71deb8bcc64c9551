package flags

import (
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The annotations of a flag that the command line did not set: the source of its
// value, and the value in the config file.
const (
	sourceMark    = "source"
	fileValueMark = "file-value"
)

// Source is where a flag's value is from, in words for a log.
type Source string

// The sources of a flag's value.
const (
	FromDefault     Source = "its default"
	fromCommandLine Source = "the command line"
	fromEnvironment Source = "the environment"
	FromFile        Source = "the config file"
)

// setSource records where a flag's value is from, and the value if that is the
// file.
func setSource(f *pflag.Flag, s Source, value string) {
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[sourceMark] = []string{string(s)}
	if s == FromFile {
		f.Annotations[fileValueMark] = []string{value}
	}
}

// SourceOf returns where a flag's value is from.
func SourceOf(f *pflag.Flag) Source {
	if s := f.Annotations[sourceMark]; len(s) > 0 {
		return Source(s[0])
	}
	if f.Changed {
		return fromCommandLine
	}
	return FromDefault
}

// ChangedSettings names the settings of a command that the file has changed since
// the start. It leaves out the log level, and settings that the file does not
// decide.
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
