package manifest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/hashicorp/go-hclog"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/klog/v2"

	"sluice.dev/sluice/standalone/apiserver"
)

func TestGoodDocumentsAreAppliedAndTheOthersNamed(t *testing.T) {
	klog.SetLogger(logr.Discard())
	dir, err := os.MkdirTemp("", "sluice-apply-") // not t.TempDir: its paths are longer than a socket's may be
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // in the folder for temporary files
	ctx, stop := context.WithCancel(t.Context())
	api, err := apiserver.Start(ctx, apiserver.Options{Dir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		stop()
		t.Fatal(err)
	}
	defer func() {
		stop()
		if err := api.Wait(); err != nil {
			t.Error(err)
		}
	}()
	const good = "{apiVersion: serving.knative.dev/v1, kind: Configuration, metadata: {name: %s}, " +
		"spec: {template: {spec: {containers: [{image: a/b}]}}}}\n---\n"
	text := fmt.Sprintf(good, "one") + "{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}}\n---\n" +
		"{apiVersion: serving.knative.dev/v1, kind: Configuration, metadata: {name: bad}, spec: {template: {spec: {containers: " +
		"[]}}}}\n---\n" + fmt.Sprintf(good, "two")
	var log bytes.Buffer
	if err := Apply(ctx, api.Config(), Decode("all.yaml", strings.NewReader(text)),
		hclog.New(&hclog.LoggerOptions{Output: &log})); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"applied configuration default/one: from=all.yaml", "applied configuration default/two: from=\"all.yaml (document 4)\"",
		"cannot apply all.yaml (document 2): error=", "`sluice up` serves Service, Configuration, Revision and Route",
		"cannot apply all.yaml (document 3): error=",
	} {
		if !strings.Contains(strings.ReplaceAll(log.String(), "\\\"", "\""), want) {
			t.Errorf("the log lacks %q:\n%s", want, log.String())
		}
	}
}

func TestReadyIsDecidedWhenItIsKnown(t *testing.T) {
	for status, want := range map[string]bool{"True": true, "False": true, "Unknown": false, "": false} {
		o := &unstructured.Unstructured{Object: map[string]any{}}
		if status != "" {
			conditions := []any{map[string]any{"type": "RoutesReady", "status": "True"}, map[string]any{"type": "Ready", "status": status}}
			if err := unstructured.SetNestedSlice(o.Object, conditions, "status", "conditions"); err != nil {
				t.Fatal(err)
			}
		}
		if got := decided(o); got != want {
			t.Errorf("Ready %q: decided %t, want %t", status, got, want)
		}
	}
}
