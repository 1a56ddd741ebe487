// Package static holds the look of the pages, which modelctl's page after a
// sign-in shares.
package static

import _ "embed"

// Style is the style sheet.
//
//go:embed style.css
var Style string
