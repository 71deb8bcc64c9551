package output

import (
	"bytes"
	"encoding/json"
	"testing"

	"google.golang.org/protobuf/proto"

	cirrusv1 "github.com/cirrus-id/cirrus/proto/cirrus/v1"
)

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"billing":         "billing",
		"größe 7":         "größe 7",
		"":                `""`,
		" edge":           `" edge"`,
		"\x1b[2J":         `"\x1b[2J"`,
		"a\tb\nc":         `"a\tb\nc"`,
		"\u009b31m":       `"\u009b31m"`, // a control character, too
		"\u202egpj":       `"\u202egpj"`, // turns the direction of what follows
		`"quoted"`:        `"\"quoted\""`,
		"\xff":            `"\xff"`,
		"\U000e0041 tag":  `"\U000e0041 tag"`,
		"zero\u200bwidth": `"zero\u200bwidth"`,
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) is %s, want %s", in, got, want)
		}
	}
}

// JSON has printable characters only, and decodes to the app ID that was encoded.
func TestJSONIsPrintable(t *testing.T) {
	app := "\x1b[2J\u009b31m\u202e\x7f \U000e0041 größe 😀"
	text, err := toJSON(&cirrusv1.LeaseStatus{AppId: app})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range string(text) {
		if printable(string(r)) != string(r) && r != '"' && r != '\\' && r != ' ' {
			t.Errorf("%q is not escaped in %s", r, text)
		}
	}
	var back struct {
		AppID string `json:"appId"`
	}
	if err := json.Unmarshal(text, &back); err != nil || back.AppID != app {
		t.Errorf("%s decodes to app ID %q (%v), want the one that was encoded", text, back.AppID,
			err)
	}
}

func TestLists(t *testing.T) {
	rows := []proto.Message{&cirrusv1.NodeRange{First: 1, Last: 2},
		&cirrusv1.NodeRange{First: 3, Last: 1000}}
	row := func(m proto.Message) []Field {
		r, _ := m.(*cirrusv1.NodeRange)
		return []Field{{"first", Decimal(r.GetFirst())}, {"last", Decimal(r.GetLast())}}
	}
	for _, tc := range []struct {
		format Format
		rows   []proto.Message
		want   string
	}{
		{asTable, nil, "FIRST  LAST\n"},
		{asTable, rows, "FIRST  LAST\n1      2\n3      1000\n"},
		{AsJSON, nil, "[]\n"},
		{AsJSON, rows, "[\n  {\"first\":1,\"last\":2},\n  {\"first\":3,\"last\":1000}\n]\n"},
	} {
		var out bytes.Buffer
		l := NewList(&out, tc.format, row(nil))
		for _, m := range tc.rows {
			if err := l.Add(m, row(m)); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.End(); err != nil {
			t.Fatal(err)
		}
		if out.String() != tc.want {
			t.Errorf("%s of %d rows is\n%s, want\n%s", tc.format, len(tc.rows), out.String(),
				tc.want)
		}
	}
}
