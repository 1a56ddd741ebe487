//go:build !linux

package child

import "syscall"

// attributes puts the child in a group of its own. There is no signal for the
// end of its parent here.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
