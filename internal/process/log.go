package process

import "sync"

// maxLog is the most that a Log keeps, in bytes.
const maxLog = 4 << 20

// Log collects what a process writes, for any number of readers. When it has
// more than 4 MiB, it drops the older half. The zero Log is empty.
type Log struct {
	mu   sync.Mutex
	text []byte
}

// Write never fails.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	if len(l.text) > maxLog {
		l.text = append([]byte("[older lines dropped]\n"), l.text[len(l.text)-maxLog/2:]...)
	}
	return len(p), nil
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}
