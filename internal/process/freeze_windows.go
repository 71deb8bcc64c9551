package process

import "errors"

var errFreeze = errors.New("this system cannot freeze a process")

// Freeze returns an error.
func (p *Process) Freeze() error { return errFreeze }

// Thaw returns an error.
func (p *Process) Thaw() error { return errFreeze }
