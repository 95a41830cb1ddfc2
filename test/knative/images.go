package knative

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const (
	imagePackages = "knative.dev/serving/test/test_images/"
	nonroot       = 65532 // the user that TestShouldRunAsUserContainerDefault expects
	home          = "/home/nonroot"
	entryFolder   = "/ko-app" // tests name programs of images by this path, since Knative builds its images with ko
)

// images are the digests of the pushed test images, by name.
type images struct {
	repository string
	digests    map[string]string
}

// template returns the value of the suites' flag -imagetemplate: Go's text/template from a name to an image reference. A name
// that is no test image gets a reference without a digest: tests use such names to see what a missing image does.
func (i images) template() string {
	var b strings.Builder
	b.WriteString("{{.Repository}}/{{.Name}}")
	for name, digest := range i.digests {
		fmt.Fprintf(&b, `{{if eq .Name %q}}@%s{{end}}`, name, digest)
	}
	return b.String()
}

// pushImages builds all test images for an architecture and pushes them to a repository.
func pushImages(ctx context.Context, cache, repository, arch string) (images, error) {
	pushed := images{repository: repository, digests: map[string]string{}}
	packages, err := goList(ctx, "-f", `{{if eq .Name "main"}}{{.ImportPath}}{{end}}`, imagePackages+"...")
	if err != nil {
		return pushed, err
	}
	base, err := baseImage(arch)
	if err != nil {
		return pushed, err
	}
	for _, pkg := range packages { // one at a time: linkers need much memory
		image := path.Base(pkg)
		binary := filepath.Join(cache, arch, image)
		if err := build(ctx, arch, "build", "-trimpath", "-ldflags=-s -w", "-o", binary, pkg); err != nil {
			return pushed, err
		}
		if pushed.digests[image], err = push(ctx, base, binary, path.Join(repository, image)); err != nil {
			return pushed, fmt.Errorf("image %s: %w", image, err)
		}
	}
	return pushed, nil
}

// build runs the go command for a static binary on Linux.
func build(ctx context.Context, arch string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

func goList(ctx context.Context, args ...string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"list"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list %s: %w", strings.Join(args, " "), err)
	}
	return strings.Fields(string(out)), nil
}

// baseImage is what Knative's base image has and the tests look for: a user, its home as the working directory, and a /tmp
// that everyone may write to.
func baseImage(arch string) (v1.Image, error) {
	layer, err := layerOf(
		entry{tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}, nil},
		entry{tar.Header{Name: "home/", Typeflag: tar.TypeDir, Mode: 0o755}, nil},
		entry{tar.Header{Name: home[1:] + "/", Typeflag: tar.TypeDir, Mode: 0o700, Uid: nonroot, Gid: nonroot}, nil},
		entry{tar.Header{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755}, nil},
		entry{tar.Header{Name: "etc/passwd", Mode: 0o644},
			fmt.Appendf(nil, "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:%d:%[1]d:nonroot:%s:/sbin/nologin\n", nonroot, home)},
	)
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	config.Config = v1.Config{
		User:       fmt.Sprint(nonroot),
		WorkingDir: home,
		Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:" + entryFolder},
	}
	return mutate.ConfigFile(image, config)
}

// push adds a binary to base as its entry point, pushes the image and returns its digest.
func push(ctx context.Context, base v1.Image, binary, repository string) (string, error) {
	program, err := os.ReadFile(binary)
	if err != nil {
		return "", err
	}
	entrypoint := path.Join(entryFolder, filepath.Base(binary))
	layer, err := layerOf(
		entry{tar.Header{Name: entryFolder[1:] + "/", Typeflag: tar.TypeDir, Mode: 0o755}, nil},
		entry{tar.Header{Name: entrypoint[1:], Mode: 0o755}, program},
	)
	if err != nil {
		return "", err
	}
	image, err := mutate.AppendLayers(base, layer)
	if err != nil {
		return "", err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return "", err
	}
	config = config.DeepCopy()
	config.Config.Entrypoint = []string{entrypoint}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return "", err
	}
	ref, err := name.ParseReference(repository)
	if err != nil {
		return "", err
	}
	if err := remote.Write(ref, image, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return "", err
	}
	digest, err := image.Digest()
	return digest.String(), err
}

// entry is a file of a layer.
type entry struct {
	header  tar.Header // Size is the content's
	content []byte
}

// layerOf packs files without times, so that the same files give the same digest.
func layerOf(entries ...entry) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		e.header.Size = int64(len(e.content))
		if err := w.WriteHeader(&e.header); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
}

// serveRegistry starts a registry that keeps its images in memory, and returns its address. stop ends it.
func serveRegistry() (address string, stop func() error, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{
		Handler:           registry.New(registry.Logger(log.New(io.Discard, "", 0))),
		ReadHeaderTimeout: time.Minute,
	}
	go func() { _ = server.Serve(listener) }() // it ends with stop
	return listener.Addr().String(), server.Close, nil
}
