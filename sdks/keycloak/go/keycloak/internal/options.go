// Package internal holds what the generated packages share.
package internal

import (
	"os"
	"strconv"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Version is the provider's version, sent with every registration and call.
const Version = "5.4.0"

// PkgResourceDefaultOpts puts the package's defaults before opts, so that an
// option of the caller's wins.
func PkgResourceDefaultOpts(opts []pulumi.ResourceOption) []pulumi.ResourceOption {
	return append([]pulumi.ResourceOption{pulumi.Version(Version)}, opts...)
}

// PkgInvokeDefaultOpts does the same for the call of a function.
func PkgInvokeDefaultOpts(opts []pulumi.InvokeOption) []pulumi.InvokeOption {
	return append([]pulumi.InvokeOption{pulumi.Version(Version)}, opts...)
}

// EnvInt is the whole number in an environment variable, or def when the
// variable is unset or holds none.
func EnvInt(variable string, def int) int {
	i, err := strconv.ParseInt(os.Getenv(variable), 0, 0)
	if err != nil {
		return def
	}
	return int(i)
}
