// Package keycloak declares the resources of the Keycloak provider 5.4.0 that
// this project uses. It stands in for the published package of the same path
// where that cannot be downloaded: the same names, tokens and properties, so
// that a program compiles against either.
package keycloak
