package main

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"go/version"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

const (
	testVersion  = "1.2.3-test"
	testRevision = "0123456789abcdef0123456789abcdef01234567"
)

// built is the image that the tests look at, built once.
type built struct {
	dir    string // the layout
	digest v1.Hash
}

var buildOnce = sync.OnceValues(func() (built, error) {
	dir, err := os.MkdirTemp("", "image-test-")
	if err != nil {
		return built{}, err
	}
	b := built{dir: filepath.Join(dir, "image")}
	b.digest, err = testBuild("../..").run(b.dir)
	return b, err
})

func testBuild(root string) *build {
	return &build{
		root:          root,
		version:       testVersion,
		revision:      testRevision,
		name:          "localhost/clusterdns:" + testVersion,
		time:          time.Unix(1700000000, 0).UTC(),
		architectures: []string{"amd64", "arm64"},
	}
}

func TestMain(m *testing.M) {
	beContainer() // does not return in the process that TestRun starts
	status := m.Run()
	if b, _ := buildOnce(); b.dir != "" {
		os.RemoveAll(filepath.Dir(b.dir))
	}
	os.Exit(status)
}

func theImage(t *testing.T) built {
	t.Helper()
	b, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// images returns the images of a layout by architecture.
func images(t *testing.T, dir string) (v1.ImageIndex, map[string]v1.Image) {
	t.Helper()
	outer, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := outer.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Fatalf("%v, %v", manifest, err)
	}
	index, err := outer.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if manifest, err = index.IndexManifest(); err != nil {
		t.Fatal(err)
	}
	byArch := map[string]v1.Image{}
	for _, d := range manifest.Manifests {
		image, err := index.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		byArch[d.Platform.OS+"/"+d.Platform.Architecture] = image
	}
	return index, byArch
}

// contents returns an image's files by name, as one layer over the other has
// them.
func contents(t *testing.T, image v1.Image) map[string]file {
	t.Helper()
	stream := mutate.Extract(image)
	defer stream.Close()
	files := map[string]file{}
	for r := tar.NewReader(stream); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name] = file{header, content}
	}
}

type file struct {
	header  *tar.Header
	content []byte
}

// TestLayout reads the image as others will: by its index, platforms, labels,
// user and files.
func TestLayout(t *testing.T) {
	b := theImage(t)
	index, byArch := images(t, b.dir)
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	if len(byArch) != 2 || byArch["linux/amd64"] == nil || byArch["linux/arm64"] == nil {
		t.Fatalf("it has %d images", len(byArch))
	}
	for platform, image := range byArch {
		t.Run(platform, func(t *testing.T) {
			if mediaType, err := image.MediaType(); err != nil || mediaType != types.OCIManifestSchema1 {
				t.Errorf("media type %s, %v", mediaType, err)
			}
			config, err := image.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			if config.OS+"/"+config.Architecture != platform || config.Config.User != "65532:65532" || config.Created.Unix() != 1700000000 {
				t.Errorf("%s/%s, user %s, created %v", config.OS, config.Architecture, config.Config.User, config.Created)
			}
			for label, want := range map[string]string{"version": testVersion, "revision": testRevision, "licenses": "Apache-2.0", "source": "https://github.com/clusterdns/clusterdns"} {
				if got := config.Config.Labels["org.opencontainers.image."+label]; got != want {
					t.Errorf("label %s is %q, want %q", label, got, want)
				}
			}

			files := contents(t, image)
			var names []string
			for name, f := range files {
				if f.header.Typeflag != tar.TypeDir {
					names = append(names, name)
				}
				if f.header.Uid != 0 || f.header.Gid != 0 || f.header.ModTime.Unix() != 1700000000 || f.header.Mode&0o022 != 0 && f.header.Typeflag != tar.TypeSymlink {
					t.Errorf("%s: owner %d:%d, mode %o, time %v", name, f.header.Uid, f.header.Gid, f.header.Mode, f.header.ModTime)
				}
			}
			slices.Sort(names)
			const want = "clusterdns coredns etc/group etc/passwd etc/ssl/certs/ca-certificates.crt usr/share/clusterdns/LICENSE usr/share/clusterdns/clusterdns.cdx.json"
			if got := strings.Join(names, " "); got != want {
				t.Errorf("it has\n%s\nwant\n%s", got, want)
			}
			// cap_net_bind_service,cap_net_admin,cap_perfmon,cap_bpf=p, as setcap(8) writes it.
			const capability = "\x00\x00\x00\x02\x00\x14\x00\x00\x00\x00\x00\x00\xc0\x00\x00\x00\x00\x00\x00\x00"
			if got := files["clusterdns"].header.PAXRecords["SCHILY.xattr.security.capability"]; got != capability {
				t.Errorf("capability %x, want %x", got, capability)
			}
			if link := files["coredns"].header; link.Typeflag != tar.TypeSymlink || link.Linkname != "clusterdns" {
				t.Errorf("coredns is %c to %q", link.Typeflag, link.Linkname)
			}
			if roots := x509.NewCertPool(); !roots.AppendCertsFromPEM(files["etc/ssl/certs/ca-certificates.crt"].content) {
				t.Error("no CA certificates")
			}
			checkMaterials(t, files["clusterdns"].content, files["usr/share/clusterdns/clusterdns.cdx.json"].content)
		})
	}
}

// checkMaterials compares the bill of materials with the binary that is there.
func checkMaterials(t *testing.T, binary, sbom []byte) {
	t.Helper()
	info, err := buildinfo.Read(bytes.NewReader(binary))
	if err != nil {
		t.Fatal(err)
	}
	var bom cyclonedx.BOM
	if err := json.Unmarshal(sbom, &bom); err != nil {
		t.Fatal(err)
	}
	if main := bom.Metadata.Component; main.Name != "github.com/clusterdns/clusterdns" || main.Version != testVersion {
		t.Errorf("it is of %s %s", main.Name, main.Version)
	}
	listed := map[string]string{}
	for _, c := range *bom.Components {
		listed[c.Name] = c.Version
	}
	for _, m := range info.Deps {
		if listed[m.Path] != m.Version {
			t.Errorf("%s is %q, want %q", m.Path, listed[m.Path], m.Version)
		}
	}
	if len(listed) != len(info.Deps)+1 || listed["stdlib"] != strings.TrimPrefix(runtime.Version(), "go") {
		t.Errorf("%d components for %d modules and stdlib %s", len(listed), len(info.Deps), listed["stdlib"])
	}
}

// TestReproducible builds the image again, from a copy of the sources elsewhere.
func TestReproducible(t *testing.T) {
	first := theImage(t)
	root := t.TempDir()
	for _, dir := range []string{"cmd", "plugin"} {
		if err := os.CopyFS(filepath.Join(root, dir), os.DirFS(filepath.Join("../..", dir))); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"go.mod", "go.sum", "LICENSE"} {
		content, err := os.ReadFile(filepath.Join("../..", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(root, name), content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(t.TempDir(), "image")
	digest, err := testBuild(root).run(dir)
	if err != nil {
		t.Fatal(err)
	}
	if digest != first.digest {
		t.Errorf("digest %s, at first %s", digest, first.digest)
	}
	tars := [2][]byte{}
	for i, name := range []string{first.dir + ".tar", dir + ".tar"} {
		if tars[i], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(tars[0], tars[1]) {
		t.Error("the archives differ")
	}
}

// TestPush pushes to a registry and pulls what it says to deploy.
func TestPush(t *testing.T) {
	b := theImage(t)
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	got, err := pushTo(strings.TrimPrefix(server.URL, "http://")+"/dns/clusterdns:1.2.3", b.dir)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(got)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(ref)
	if err != nil {
		t.Fatal(err)
	}
	if digest, err := index.Digest(); err != nil || digest != b.digest || !strings.HasSuffix(got, "/dns/clusterdns@"+b.digest.String()) {
		t.Errorf("%s is %s, want %s (%v)", got, digest, b.digest, err)
	}
	if _, err := pushTo("registry.example/clusterdns:1", t.TempDir()); err == nil || !strings.Contains(err.Error(), "make image") {
		t.Errorf("a folder without an image: %v", err)
	}
}

// TestDockerfile checks what no test here can build: that it takes Go as this
// build does, but for the patch release, unless told otherwise, and nothing else.
func TestDockerfile(t *testing.T) {
	text, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	var bases []string
	golang := ""
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		if value, ok := strings.CutPrefix(fields[1], "GO="); ok && fields[0] == "ARG" {
			golang = value
		}
		if fields[0] == "FROM" {
			fields = slices.DeleteFunc(fields[1:], func(word string) bool { return strings.HasPrefix(word, "--") })
			bases = append(bases, strings.Replace(fields[0], "$GO", golang, 1))
		}
	}
	want := regexp.MustCompile(`^golang:` + regexp.QuoteMeta(strings.TrimPrefix(version.Lang(runtime.Version()), "go")) + `\.\d+-bookworm scratch$`)
	if got := strings.Join(bases, " "); !want.MatchString(got) {
		t.Errorf("it is made from %s, want %v", got, want)
	}
}
