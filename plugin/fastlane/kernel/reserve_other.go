//go:build !(linux && (amd64 || arm64))

package kernel

// Reserve keeps descriptors for the links of all Images: there are none here.
func Reserve() error { return nil }
