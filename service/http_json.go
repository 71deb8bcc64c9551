package service

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
)

// jsonCodec is Connect's JSON, but it shows fields that are 0, since node ID 0
// is a node ID, and refuses fields that a message doesn't have: a misspelt one
// would be dropped without a word, and what was meant by it can be for ever.
// Between versions of Cirrus messages are binary, in which new fields are
// passed over.
type jsonCodec struct{ name string }

func (c jsonCodec) Name() string { return c.name }

func (c jsonCodec) Marshal(msg any) ([]byte, error) {
	m, ok := msg.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no protobuf message", msg)
	}
	return protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
}

func (c jsonCodec) Unmarshal(data []byte, msg any) error {
	m, ok := msg.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no protobuf message", msg)
	}
	err := protojson.Unmarshal(data, m)
	if err == nil {
		return nil
	}
	desc := m.ProtoReflect().Descriptor()
	if mistake := findMistake(data, desc); mistake != nil {
		return mistake
	}
	return fmt.Errorf("this is no JSON of a %s: %w; send its fields as the API describes them",
		desc.FullName(), err)
}

// findMistake looks for one of the usual mistakes in JSON that could not be
// read, to say what was meant. It returns nil where it finds none.
func findMistake(data []byte, desc protoreflect.MessageDescriptor) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var tree any
	if d.Decode(&tree) != nil {
		return nil
	}
	return mistakeIn(tree, desc, "")
}

// mistakeIn looks for a mistake in what should be a message. The path is that
// of the message, with a dot at its end unless it is the request itself.
func mistakeIn(tree any, desc protoreflect.MessageDescriptor, path string) error {
	fields, ok := tree.(map[string]any)
	if !ok {
		return nil
	}
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names) // the same request always gets the same answer
	for _, name := range names {
		field := desc.Fields().ByJSONName(name)
		if field == nil {
			field = desc.Fields().ByTextName(name)
		}
		if field == nil {
			return fmt.Errorf(
				"%s: there is no such field in %s, which has %s: correct its name or leave it out",
				quoted(path+name), desc.FullName(), fieldsOf(desc))
		}
		if err := mistakeInField(fields[name], field, path+name); err != nil {
			return err
		}
	}
	return nil
}

func mistakeInField(tree any, field protoreflect.FieldDescriptor, path string) error {
	list, ok := tree.([]any)
	switch {
	case field.Message() == nil || tree == nil || field.IsMap():
		return nil
	case field.IsList() && ok:
		for i, item := range list {
			if err := mistakeInMessage(item, field.Message(),
				fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
		return nil
	}
	return mistakeInMessage(tree, field.Message(), path)
}

func mistakeInMessage(tree any, desc protoreflect.MessageDescriptor, path string) error {
	switch desc.FullName() {
	case "google.protobuf.Duration":
		return mistakenDuration(tree, path)
	}
	return mistakeIn(tree, desc, path+".")
}

// fieldsOf lists a message's fields, with those of messages in it.
func fieldsOf(desc protoreflect.MessageDescriptor) string {
	var names []string
	for i := range desc.Fields().Len() {
		f := desc.Fields().Get(i)
		name := f.JSONName()
		if m := f.Message(); m != nil && m.ParentFile().Package() == desc.ParentFile().Package() {
			name += " {" + fieldsOf(m) + "}"
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// mistakenDuration says how to write a duration that is written in another way.
func mistakenDuration(tree any, path string) error {
	text, ok := tree.(string)
	if ok && protojson.Unmarshal([]byte(strconv.Quote(text)), &durationpb.Duration{}) == nil {
		return nil
	}
	sent, err := json.Marshal(tree)
	if err != nil {
		return nil // it came from JSON
	}
	write := "write seconds with an s"
	if d, err := meantDuration(tree); err == nil {
		write = fmt.Sprintf("write %q", strconv.FormatFloat(d.Seconds(), 'f', -1, 64)+"s")
	}
	return fmt.Errorf(`%s: %s is no duration in JSON: %s; durations look like "30s" or "1.5s"`,
		path, abridged(string(sent)), write)
}

// abridged is a text, cut where it gets long.
func abridged(text string) string {
	if len(text) > maxQuoted {
		return strings.ToValidUTF8(text[:maxQuoted], "") + "…"
	}
	return text
}

var errNoDuration = errors.New("no duration")

// meantDuration reads a duration as people write it: "1m", "30", 30, or the
// fields of the message.
func meantDuration(tree any) (time.Duration, error) {
	switch v := tree.(type) {
	case string:
		if d, err := time.ParseDuration(v); err == nil {
			return d, nil
		}
		return time.ParseDuration(v + "s")
	case json.Number:
		return time.ParseDuration(v.String() + "s")
	case map[string]any:
		if len(v) != 1 { // and not its nanoseconds, too
			return 0, errNoDuration
		}
		return meantDuration(v["seconds"])
	}
	return 0, errNoDuration
}
