// Package deploy checks what the API is deployed with: the Dockerfile and the
// manifests for Kubernetes, which its tests read as a cluster does.
package deploy
