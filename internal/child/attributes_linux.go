package child

import "syscall"

// attributes puts the child in a group of its own, and has it stopped if we end
// without doing so.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
