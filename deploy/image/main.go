// Command image builds clusterdns's container image as an OCI layout, without a
// container engine: an index of one image for each architecture, and a tar
// archive of the same. The same sources, version, revision, epoch and Go
// toolchain give the same digests, wherever it is built.
//
// With -push it writes the layout to a registry instead, with the credentials
// of docker login or podman login.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("image: ")
	var b build
	out := flag.String("out", "bin/image", "`folder` of the OCI layout; the archive is beside it, with .tar")
	arch := flag.String("arch", "amd64,arm64", "architectures, with commas")
	epoch := flag.Int64("epoch", 0, "`time` of all files and of the image, in seconds since 1970: SOURCE_DATE_EPOCH")
	push := flag.String("push", "", "write the layout to this `reference` of a registry, and build nothing")
	flag.StringVar(&b.root, "root", ".", "`folder` of the sources")
	flag.StringVar(&b.version, "version", "", "version that the binary and the labels have")
	flag.StringVar(&b.revision, "revision", "", "`commit` that they have")
	flag.StringVar(&b.name, "name", "", "`reference` that whoever loads the archive knows the image by; localhost/clusterdns:VERSION if empty")
	flag.Parse()

	if *push != "" {
		digest, err := pushTo(*push, *out)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(digest)
		return
	}
	if b.version == "" {
		log.Fatal("-version is missing: outside of a git clone, make image VERSION=...")
	}
	if b.name == "" {
		b.name = "localhost/clusterdns:" + b.version
	}
	b.time = time.Unix(*epoch, 0).UTC()
	b.architectures = strings.Split(*arch, ",")
	digest, err := b.run(*out)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprintf(os.Stderr, "%s and %s.tar: %s\n", *out, *out, b.name)
	fmt.Println(digest)
}

// pushTo writes the layout in dir to a registry and returns what to deploy:
// the reference with the index's digest.
func pushTo(reference, dir string) (string, error) {
	ref, err := name.ParseReference(reference)
	if err != nil {
		return "", err
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return "", fmt.Errorf("reading %s, which make image makes: %w", dir, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", dir, err)
	}
	if len(manifest.Manifests) != 1 {
		return "", fmt.Errorf("%s has %d images, want one", dir, len(manifest.Manifests))
	}
	digest := manifest.Manifests[0].Digest
	images, err := index.ImageIndex(digest)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", dir, err)
	}
	if err := remote.WriteIndex(ref, images, remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return "", fmt.Errorf("pushing: %w", err)
	}
	return ref.Context().Digest(digest.String()).String(), nil
}
