//go:build !linux

package keycloak

import "syscall"

// processAttributes puts the child in a group of its own. There is no signal
// for the end of its parent here: if we are killed, Keycloak stays, and the
// next Start on its data names it.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
