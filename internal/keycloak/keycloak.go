// Package keycloak fetches, boots and stops a Keycloak on this computer for
// development and tests, and speaks its Admin REST API.
package keycloak

// Version of Keycloak that is fetched. It is the only place that names it; the
// size and the checksum below belong to it.
const Version = "26.7.3"

const (
	// coordinate of the server distribution, as Maven's clients take it.
	coordinate = "org.keycloak:keycloak-quarkus-dist:" + Version + ":tar.gz"
	// archiveName is the name that Maven gives to the file.
	archiveName = "keycloak-quarkus-dist-" + Version + ".tar.gz"
	// archiveSize in bytes, for the progress bar only.
	archiveSize = 176_448_763
	// archiveSHA256 is what is published beside the distribution.
	archiveSHA256 = "77657f30b7e90d70f727712ce1c967f430fd6a5e9f458d32d8c6df0635345f47"
	// image is the official container image, for who has no Maven or Java.
	image = "keycloak/keycloak:" + Version
	// minJava is the oldest Java feature release that Keycloak starts on.
	minJava = 17
)
