// Package history keeps the histories from which loads are forecast as files in a folder of the data directory, one for each
// Configuration. Each file is replaced as a whole. The package must not know what is in them.
package history

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/standalone/folder"
)

// Folder is a folder of histories. It is made when the first one is saved. Those of Configurations that were deleted while nothing ran
// stay, a few kilobytes each, until a Configuration of that name ends.
type Folder struct {
	Path string
	// MaxSize is how many bytes a history has at most. A larger file is refused.
	MaxSize int
}

// file is where a history is. Names of Kubernetes have no underscore.
func (f Folder) file(configuration model.Key) string {
	return filepath.Join(f.Path, filepath.Base(configuration.Namespace+"_"+configuration.Name+".json"))
}

// Load returns the history of a Configuration, nil if there is none.
func (f Folder) Load(configuration model.Key) ([]byte, error) {
	file, err := os.Open(f.file(configuration))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, int64(f.MaxSize)+1))
	if err == nil && len(data) > f.MaxSize {
		err = fmt.Errorf("%s has over %d bytes: remove it", file.Name(), f.MaxSize)
	}
	return data, err
}

// Save replaces the history of a Configuration.
func (f Folder) Save(configuration model.Key, data []byte) error {
	if err := os.MkdirAll(f.Path, 0o700); err != nil {
		return err
	}
	return folder.Write(f.file(configuration), data)
}

// Remove removes the history of a Configuration, if there is one.
func (f Folder) Remove(configuration model.Key) error {
	if err := os.Remove(f.file(configuration)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
