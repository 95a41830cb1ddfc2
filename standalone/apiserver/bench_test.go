package apiserver

import (
	"context"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// BenchmarkStart measures a start on a directory that has been used before, until the server serves all kinds. It does not
// measure the stop.
func BenchmarkStart(b *testing.B) {
	dir := b.TempDir()
	_, stop := start(b, dir)
	stop()
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		s, err := Start(ctx, Options{Dir: dir, Listen: "127.0.0.1:0"})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		cancel()
		if err := s.Wait(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkChange measures one change of a Service's traffic until it is stored and answered, with schema, rules, defaults and fsync.
func BenchmarkChange(b *testing.B) {
	b.ReportAllocs()
	c := objects(b, shared, "services", "bench")
	create(b, c, service)
	defer func() { _ = c.Delete(context.Background(), "hello", metav1.DeleteOptions{}) }()
	for percent := 0; b.Loop(); percent = (percent + 1) % 100 {
		patch := fmt.Sprintf(`{"spec":{"traffic":[{"percent":%d},{"revisionName":"hello-00001","percent":%d}]}}`, percent, 100-percent)
		if _, err := c.Patch(b.Context(), "hello", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
