// Package manifest reads YAML and JSON files with API objects, applies them, and makes of them what the API server would keep. It takes
// documents one by one, so that a broken one harms no other, and must not know what runs.
package manifest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// maxFile bounds a manifest file, in bytes. An object of more than 3 MiB would not fit the API server anyway.
const maxFile = 64 << 20

// Document is one object of a file, or why it is not one.
type Document struct {
	// Source is the file, with the number of the document in it where there are several.
	Source string
	// Object is nil when Err is not.
	Object *unstructured.Unstructured
	Err    error
}

// Read reads all documents of the files and folders in paths, sorted by name within a folder. A path that does
// not exist is an error; what is wrong inside a file is in Document.Err.
func Read(paths []string) ([]Document, error) {
	var all []Document
	for _, path := range paths {
		files, err := filesOf(path)
		if err != nil {
			return nil, fmt.Errorf("reading manifests (-f): %w", err)
		}
		for _, file := range files {
			all = append(all, readFile(file)...)
		}
	}
	return all, nil
}

func filesOf(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	var files []string
	err = filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(file)) {
			files = append(files, file)
		}
		return nil
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("%s has no .yaml, .yml or .json file in it", path)
	}
	return files, err
}

func readFile(file string) []Document {
	f, err := Open(file)
	if err != nil {
		return []Document{{Source: file, Err: err}}
	}
	defer f.Close()
	return Decode(file, io.LimitReader(f, maxFile))
}

// Open opens a regular file. A read of a device, or of a pipe without a writer, might never end.
func Open(file string) (*os.File, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0) // O_NONBLOCK: does not wait for the writer of a pipe
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file, but %s: want a file", file, info.Mode().Type())
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// Decode reads the documents of one stream. Name is what errors call it.
func Decode(name string, from io.Reader) []Document {
	var all []Document
	reader := utilyaml.NewYAMLReader(bufio.NewReader(from))
	for n := 1; ; n++ {
		text, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return all
		}
		source := name
		if n > 1 {
			source = fmt.Sprintf("%s (document %d)", name, n)
		}
		if err != nil {
			return append(all, Document{Source: source, Err: err})
		}
		if o, err := decode(text); o != nil || err != nil {
			all = append(all, Document{Source: source, Object: o, Err: err})
		}
	}
}

// decode returns neither object nor error for a document that is empty or holds only comments.
func decode(text []byte) (*unstructured.Unstructured, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, nil
	}
	var fields map[string]any
	if err := yaml.Unmarshal(text, &fields); err != nil {
		return nil, fmt.Errorf("this is not YAML: %w", err)
	}
	if len(fields) == 0 {
		return nil, nil
	}
	o := &unstructured.Unstructured{Object: fields}
	var missing []string
	for field, value := range map[string]string{"apiVersion": o.GetAPIVersion(), "kind": o.GetKind(), "metadata.name": o.GetName()} {
		if value == "" {
			missing = append(missing, field)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return nil, fmt.Errorf("this is not an object of the API: it has no %s", strings.Join(missing, ", no "))
	}
	return o, nil
}
