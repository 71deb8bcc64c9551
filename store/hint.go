package store

// HintKind names a next step that an error suggests. This package and the stores
// name no flag and no command: a program that has some for the step adds them.
type HintKind string

// The kinds of hints.
const (
	// HintCreate: create a store in the directory Hint.Arg.
	HintCreate HintKind = "create"
	// HintCreateInEtcd: create a store in etcd.
	HintCreateInEtcd HintKind = "create in etcd"
	// HintRecover: recover the store.
	HintRecover HintKind = "recover"
	// HintMigrate: run the same migration once more.
	HintMigrate HintKind = "migrate"
	// HintDeleteKeys: delete the keys of etcd under the prefix Hint.Arg.
	HintDeleteKeys HintKind = "delete keys"
	// HintEtcdEndpoints, HintEtcdUser, HintEtcdCA and HintEtcdCertificate: set the
	// endpoints, the user and password, the authority's certificates, or this
	// replica's certificate and key.
	HintEtcdEndpoints   HintKind = "etcd endpoints"
	HintEtcdUser        HintKind = "etcd user"
	HintEtcdCA          HintKind = "etcd authority"
	HintEtcdCertificate HintKind = "etcd certificate"
	// HintEtcdTxnOps: raise etcd's limit of operations in a transaction.
	HintEtcdTxnOps HintKind = "etcd operations"
)

// Hint is a next step, with what it applies to where the kind says so.
type Hint struct {
	Kind HintKind
	Arg  string
}

// hinted is an error with a hint. The hint is not part of its text.
type hinted struct {
	error
	hint Hint
}

// Unwrap returns the error without the hint.
func (h hinted) Unwrap() error { return h.error }

// WithHint returns the error with a hint, or nil for nil. The text stays the same.
func WithHint(err error, kind HintKind, arg string) error {
	if err == nil {
		return nil
	}
	return hinted{err, Hint{kind, arg}}
}

// HintsOf returns the hints of an error and of those that it wraps, each once.
func HintsOf(err error) []Hint {
	var hints []Hint
	seen := map[Hint]bool{}
	var walk func(error)
	walk = func(err error) {
		if h, ok := err.(hinted); ok && !seen[h.hint] { //nolint:errorlint // the tree is walked here
			seen[h.hint] = true
			hints = append(hints, h.hint)
		}
		switch w := err.(type) { //nolint:errorlint // as above
		case interface{ Unwrap() error }:
			walk(w.Unwrap())
		case interface{ Unwrap() []error }:
			for _, one := range w.Unwrap() {
				walk(one)
			}
		}
	}
	walk(err)
	return hints
}
