package snowflake_test

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/cirrus-id/cirrus/snowflake"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]snowflake.ID{
		"0": 0, "7": 7, "1541815603606036480": 1541815603606036480,
		"9223372036854775807": math.MaxInt64,
	} {
		if got, err := snowflake.Parse(in); err != nil || got != want || got.String() != in {
			t.Errorf("Parse(%q) = %d, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "-1", "+1", " 1", "1 ", "1_0", "0x1", "007", "00", "1.0", "1e3",
		"٣",
		"9223372036854775808", "99999999999999999999", "a\x00\xff"} {
		if id, err := snowflake.Parse(in); err == nil {
			t.Errorf("Parse(%q) = %d", in, id)
		} else if !strings.Contains(err.Error(), strconv.Quote(in)) {
			t.Errorf("Parse(%q): the error does not quote it: %v", in, err)
		}
	}
	if _, err := snowflake.Parse(strings.Repeat("9", 1<<20)); len(err.Error()) > 300 {
		t.Errorf("the error for a text of a MiB has %d bytes", len(err.Error()))
	}
}

func TestBase32(t *testing.T) {
	for text, want := range map[string]snowflake.ID{
		"0000000000000": 0, "000000000000Z": 31, "0000000000010": 32,
		"7ZZZZZZZZZZZZ": math.MaxInt64,
	} {
		if got, err := snowflake.ParseBase32(text); err != nil || got != want ||
			got.Base32() != text {
			t.Errorf("ParseBase32(%q) = %d, %v; back %q", text, got, err, got.Base32())
		}
	}
	if got, err := snowflake.ParseBase32("00000000zoOiL"); err != nil ||
		got != 31<<20|0<<15|0<<10|1<<5|1 {
		t.Errorf("copied by hand: %d, %v", got, err)
	}
	for _, in := range []string{"", "0", "00000000000000", "8000000000000", "ZZZZZZZZZZZZZ",
		"000000000000U", "000000-000000", "00000000000é", "000000000000\x00"} {
		if id, err := snowflake.ParseBase32(in); err == nil {
			t.Errorf("ParseBase32(%q) = %d", in, id)
		} else if !strings.Contains(err.Error(), strconv.Quote(in)) {
			t.Errorf("ParseBase32(%q): the error does not quote it: %v", in, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a := snowflake.ID(rapid.Int64Min(0).Draw(t, "a"))
		b := snowflake.ID(rapid.Int64Min(0).Draw(t, "b"))
		if (a < b) != (a.Base32() < b.Base32()) {
			t.Fatalf("%d is %s, %d is %s: out of order", a, a.Base32(), b, b.Base32())
		}
		if back, err := snowflake.ParseBase32(strings.ToLower(a.Base32())); err != nil ||
			back != a {
			t.Fatalf("%d came back as %d, %v", a, back, err)
		}
	})
}

func TestJSON(t *testing.T) {
	type row struct {
		ID    snowflake.ID
		Names map[snowflake.ID]string
	}
	in := row{math.MaxInt64, map[snowflake.ID]string{7: "seven"}}
	text, err := json.Marshal(in)
	if err != nil || string(text) != `{"ID":"9223372036854775807","Names":{"7":"seven"}}` {
		t.Errorf("Marshal = %s, %v", text, err)
	}
	var out row
	if err := json.Unmarshal(text, &out); err != nil || out.ID != in.ID || out.Names[7] != "seven" {
		t.Errorf("Unmarshal = %+v, %v", out, err)
	}
	id := snowflake.ID(5)
	if err := json.Unmarshal([]byte("null"), &id); err != nil || id != 5 {
		t.Errorf("null made it %d, %v", id, err)
	}
	if err := json.Unmarshal([]byte(`"\u0031"`), &id); err != nil || id != 1 {
		t.Errorf("an escaped digit made it %d, %v", id, err)
	}
	for text, want := range map[string]snowflake.ID{`7`: 7, `0`: 0, `9007199254740991`: 1<<53 - 1} {
		var id snowflake.ID
		if err := json.Unmarshal([]byte(text), &id); err != nil || id != want {
			t.Errorf("the number %s made it %d, %v", text, id, err)
		}
	}
	for text, quoted := range map[string]string{
		`9007199254740992`: `"9007199254740992"`, `-1`: `"-1"`, `1e3`: `"1e3"`, `1.5`: `"1.5"`,
		`true`: `"true"`, `{}`: `"{}"`, `"-1"`: `"-1"`, `""`: `""`, `"x"`: `"x"`,
	} {
		wantError(t, json.Unmarshal([]byte(text), &id), quoted)
	}
	if id != 1 {
		t.Errorf("errors changed the ID to %d", id)
	}
	if _, err := json.Marshal(snowflake.ID(-1)); err == nil {
		t.Error("a negative ID was written")
	}
}

func TestSQL(t *testing.T) {
	for _, src := range []any{int64(42), uint64(42), "42", []byte("42")} {
		var id snowflake.ID
		if err := id.Scan(src); err != nil || id != 42 {
			t.Errorf("Scan(%T %v) = %d, %v", src, src, id, err)
		}
	}
	id := snowflake.ID(5)
	for _, tc := range []struct {
		src  any
		want string
	}{
		{int64(-1), "-1"}, {uint64(1) << 63, "9223372036854775808"}, {"-1", `"-1"`}, {[]byte("x"), `"x"`}, {nil, "<nil>"}, {1.5, "1.5"}, {true, "true"},
	} {
		wantError(t, id.Scan(tc.src), tc.want)
	}
	if id != 5 {
		t.Errorf("errors changed the ID to %d", id)
	}
	var null sql.Null[snowflake.ID]
	if err := null.Scan(nil); err != nil || null.Valid {
		t.Errorf("Null.Scan(nil) = %+v, %v", null, err)
	}
	if v, err := id.Value(); err != nil || v != int64(5) {
		t.Errorf("Value = %v, %v", v, err)
	}
	if _, err := snowflake.ID(-1).Value(); err == nil {
		t.Error("a negative ID has a value")
	}
}

func TestLogValue(t *testing.T) {
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("minted", "id", snowflake.ID(math.MaxInt64))
	if !strings.Contains(out.String(), `"id":"9223372036854775807"`) {
		t.Error(out.String())
	}
}

// FuzzParse checks that each text that Parse accepts is the one that String returns.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"0", "7", "9223372036854775807", "9223372036854775808", "-1",
		"007", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := snowflake.Parse(s); err == nil && (id < 0 || id.String() != s) {
			t.Errorf("Parse(%q) = %d", s, id)
		}
	})
}

func FuzzParseBase32(f *testing.F) {
	for _, seed := range []string{"0000000000000", "7ZZZZZZZZZZZZ", "8000000000000",
		"00000000zoOiL", ""} {
		f.Add(seed)
	}
	plain := strings.NewReplacer("I", "1", "L", "1", "O", "0")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := snowflake.ParseBase32(s); err == nil &&
			(id < 0 || id.Base32() != plain.Replace(strings.ToUpper(s))) {
			t.Errorf("ParseBase32(%q) = %d, back %q", s, id, id.Base32())
		}
	})
}

func FuzzParseLayout(f *testing.F) {
	for _, seed := range []string{"41/10/12", "45/9/9", "41/10", "-1/0/0", "99/99/99", "///"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := snowflake.ParseLayout(s)
		if err != nil {
			return
		}
		if err := l.Validate(); err != nil {
			t.Errorf("ParseLayout(%q) took %s: %v", s, l, err)
		}
	})
}

func FuzzUnmarshalJSON(f *testing.F) {
	for _, seed := range []string{`"7"`, `7`, `null`, `"`, `"\u0037"`, ``} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		id := snowflake.ID(5)
		if err := id.UnmarshalJSON(data); id < 0 || err != nil && id != 5 {
			t.Errorf("%q made it %d, %v", data, id, err)
		}
	})
}
