// Package look is how our pages look: those of the playground, and modelctl's
// page after a sign-in.
package look

import _ "embed"

// Style is the style sheet.
//
//go:embed style.css
var Style string
