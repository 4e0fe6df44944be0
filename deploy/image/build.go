package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// build is one image for several architectures.
type build struct {
	root          string // the repository
	version       string
	revision      string
	name          string
	time          time.Time
	architectures []string
}

// run writes the layout into the folder out, anew, and an archive of it to
// out.tar. It returns the digest of the index of architectures.
func (b *build) run(out string) (v1.Hash, error) {
	images := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range b.architectures {
		image, err := b.image(arch)
		if err != nil {
			return v1.Hash{}, fmt.Errorf("building the image for %s: %w", arch, err)
		}
		images = mutate.AppendManifests(images, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	images = mutate.Annotations(images, b.labels()).(v1.ImageIndex)
	digest, err := images.Digest()
	if err != nil {
		return digest, err
	}
	if err := errors.Join(os.RemoveAll(out), os.RemoveAll(out+".tar")); err != nil {
		return digest, err
	}
	dir, err := layout.Write(out, empty.Index)
	if err != nil {
		return digest, err
	}
	// The first is what the specification has for a tag; containerd goes by the
	// second, so ctr, kind load image-archive and k3s's images folder do too.
	err = dir.AppendIndex(images, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": b.version,
		"io.containerd.image.name":          b.name,
	}))
	if err != nil {
		return digest, err
	}
	return digest, archive(out+".tar", out, b.time)
}

// labels are those that the OCI image specification predefines.
func (b *build) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       "clusterdns",
		"org.opencontainers.image.description": "DNS server for Kubernetes clusters",
		"org.opencontainers.image.source":      "https://github.com/clusterdns/clusterdns",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.version":     b.version,
		"org.opencontainers.image.revision":    b.revision,
		"org.opencontainers.image.created":     b.time.Format(time.RFC3339),
	}
}

// image returns the image for one architecture.
func (b *build) image(arch string) (v1.Image, error) {
	binary, err := b.compile(arch)
	if err != nil {
		return nil, err
	}
	license, err := os.ReadFile(filepath.Join(b.root, "LICENSE"))
	if err != nil {
		return nil, err
	}
	sbom, err := b.sbom(binary)
	if err != nil {
		return nil, err
	}
	files, err := b.fileSystem(binary, license, sbom)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(files)), nil
	}, tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.Append(image, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: b.time}, CreatedBy: "make image", Comment: "clusterdns " + b.version},
	})
	if err != nil {
		return nil, err
	}
	image, err = mutate.ConfigFile(image, b.config(image, arch))
	if err != nil {
		return nil, err
	}
	return mutate.Annotations(image, b.labels()).(v1.Image), nil
}

// config says how the image is run: as CoreDNS's, but not as root. A user by
// number is what a kubelet accepts for runAsNonRoot.
func (b *build) config(image v1.Image, arch string) *v1.ConfigFile {
	config, _ := image.ConfigFile() // of an image in memory
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	config.Created = v1.Time{Time: b.time}
	config.Config = v1.Config{
		User:       "65532:65532",
		Entrypoint: []string{"/clusterdns"},
		WorkingDir: "/",
		Labels:     b.labels(),
		ExposedPorts: map[string]struct{}{
			"53/udp": {}, "53/tcp": {}, "8080/tcp": {}, "8181/tcp": {}, "9153/tcp": {},
		},
	}
	return config
}

// compile builds the binary and returns it. Nothing of the machine gets into
// it: no paths, and no stamp of whatever version control the folder has.
func (b *build) compile(arch string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "image-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "clusterdns")
	flags := "-s -w -X main.version=" + b.version + " -X github.com/coredns/coredns/coremain.GitCommit=" + b.revision
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", path, "./cmd/clusterdns")
	cmd.Dir = b.root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOAMD64=", "GOARM64=", "GOEXPERIMENT=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return os.ReadFile(path)
}

// archive writes the files below dir to a tar archive.
func archive(path, dir string, modified time.Time) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := tar.NewWriter(f)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return add(w, tar.Header{Name: filepath.ToSlash(relative), Mode: 0o644, ModTime: modified}, content)
	})
	return errors.Join(err, w.Close(), f.Close())
}
