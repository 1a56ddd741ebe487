package keycloak

import "syscall"

// processAttributes puts the child in a group of its own, and has it stopped if
// we end without doing so. kc.sh hands SIGTERM on to its Java.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
