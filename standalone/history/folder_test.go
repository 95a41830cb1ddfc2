package history_test

import (
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/standalone/history"
)

func TestHistoriesAreFiles(t *testing.T) {
	f := history.Folder{Path: filepath.Join(t.TempDir(), "history"), MaxSize: 5}
	one, two := model.Key{Namespace: "a-b", Name: "c"}, model.Key{Namespace: "a", Name: "b-c"}
	if data, err := f.Load(one); data != nil || err != nil {
		t.Errorf("before the first: %q, %v", data, err)
	}
	if err := f.Remove(one); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"first", "later"} {
		if err := f.Save(one, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if data, err := f.Load(one); string(data) != text || err != nil {
			t.Errorf("saved %q, loaded %q, %v", text, data, err)
		}
	}
	if data, err := f.Load(two); data != nil || err != nil {
		t.Errorf("of another one: %q, %v", data, err)
	}
	if err := f.Save(two, []byte("longer")); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Load(two); err == nil || !strings.Contains(err.Error(), "over 5 bytes: remove it") {
		t.Errorf("of one that is too large: %v", err)
	}
	if err := f.Remove(one); err != nil {
		t.Fatal(err)
	}
	if data, err := f.Load(one); data != nil || err != nil {
		t.Errorf("after it was removed: %q, %v", data, err)
	}
}
