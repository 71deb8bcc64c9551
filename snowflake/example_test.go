package snowflake_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cirrus-id/cirrus/snowflake"
)

// A holder begins a session with what was granted, extends it after each good
// heartbeat and stops it at the end. Package client does all that; this example
// does it by hand, on a clock that stands still.
func ExampleGenerator() {
	clock := &testClock{}
	generator := snowflake.NewGenerator(clock, snowflake.Options{})

	const now = snowflake.Millis(1_800_000_000_000)
	lease, err := generator.Begin(snowflake.Grant{
		Layout:   snowflake.DefaultLayout,
		Node:     7,
		Floor:    now,
		Ceiling:  now.Add(30 * time.Second),
		Deadline: clock.Now() + 30*time.Second,
		Time:     snowflake.TimeSample{ServerTime: now, ReceivedAt: clock.Now()},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 3 {
		id, err := generator.Next()
		fmt.Println(id, err)
	}
	last, used := lease.Stop()
	fmt.Println("last used:", last, used)
	_, err = generator.Next()
	fmt.Println(errors.Is(err, snowflake.ErrLeaseNotValid))
	// Output:
	// 2143981510456274944 <nil>
	// 2143981510456274945 <nil>
	// 2143981510456274946 <nil>
	// last used: 1800000000000 true
	// true
}

func ExampleLayout_Decompose() {
	id, err := snowflake.Parse("2143981510456274945")
	if err != nil {
		fmt.Println(err)
		return
	}
	parts, err := snowflake.DefaultLayout.Decompose(id)
	fmt.Println(parts.Timestamp.Time(), parts.Node, parts.Sequence, err)
	// Output: 2027-01-15 08:00:00 +0000 UTC 7 1 <nil>
}

func ExampleID() {
	id := snowflake.ID(2143981510456274945)
	text, err := json.Marshal(map[string]snowflake.ID{"id": id})
	fmt.Println(string(text), err)
	fmt.Println(id.Base32())
	_, err = snowflake.Parse("-7")
	fmt.Println(err)
	// Output:
	// {"id":"2143981510456274945"} <nil>
	// 1VG7KTC7W0W01
	// ID "-7" is not a decimal number: '-' at byte 0 is no digit
}
