package feature

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
)

// kn is a client that sends what the kn command sends: plain JSON, no discovery, no OpenAPI.
type kn struct {
	t      *testing.T
	client *http.Client
	base   string
}

func (s *instance) kn(t *testing.T) *kn {
	t.Helper()
	c, err := rest.HTTPClientFor(s.config)
	if err != nil {
		t.Fatal(err)
	}
	return &kn{t: t, client: c, base: s.config.Host + "/apis/serving.knative.dev/v1/namespaces/default/"}
}

// do sends one request and decodes the answer.
func (k *kn) do(method, path, contentType string, body any) (int, map[string]any) {
	k.t.Helper()
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			k.t.Fatal(err)
		}
		reader = bytes.NewReader(text)
	}
	request, err := http.NewRequest(method, k.base+path, reader)
	if err != nil {
		k.t.Fatal(err)
	}
	request.Header.Set("Accept", "application/json, */*")
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := k.client.Do(request)
	if err != nil {
		k.t.Fatal(err)
	}
	defer response.Body.Close()
	out := map[string]any{}
	if err := json.NewDecoder(response.Body).Decode(&out); err != nil {
		k.t.Fatalf("%s %s: %v", method, path, err)
	}
	return response.StatusCode, out
}

// watch opens a watch and calls each until it returns true.
func (k *kn) watch(query string, each func(kind string, object map[string]any) bool) error {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, k.base+query, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "application/json, */*")
	response, err := k.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	scanner := bufio.NewScanner(response.Body)
	scanner.Buffer(nil, 4<<20)
	for scanner.Scan() {
		var event struct {
			Type   string
			Object map[string]any
		}
		if err := json.Unmarshal(scanner.Bytes(), &event); err != nil {
			return err
		}
		if each(event.Type, event.Object) {
			return nil
		}
	}
	return errors.Join(errors.New("the watch ended"), scanner.Err())
}

// at returns the value of an object at a path of field names.
func at(o any, path ...string) any {
	for _, p := range path {
		m, ok := o.(map[string]any)
		if !ok {
			return nil
		}
		o = m[p]
	}
	return o
}

// readyIn reports whether the object's condition Ready is True for its newest generation.
func readyIn(o map[string]any) bool {
	if fmt.Sprint(at(o, "metadata", "generation")) != fmt.Sprint(at(o, "status", "observedGeneration")) {
		return false
	}
	conditions, _ := at(o, "status", "conditions").([]any)
	for _, c := range conditions {
		if at(c, "type") == "Ready" {
			return at(c, "status") == "True"
		}
	}
	return false
}

func knService(target string) map[string]any {
	return map[string]any{
		"apiVersion": "serving.knative.dev/v1", "kind": "Service",
		"metadata": map[string]any{"name": "hello", "namespace": "default", "creationTimestamp": nil},
		"spec": map[string]any{"template": map[string]any{
			"metadata": map[string]any{"creationTimestamp": nil,
				"annotations": map[string]any{"client.knative.dev/user-image": "sluice.local/sample"}},
			"spec": map[string]any{"containers": []any{map[string]any{
				"name": "", "image": "sluice.local/sample", "command": []any{"sluice", "sample"}, "resources": map[string]any{},
				"env": []any{map[string]any{"name": "TARGET", "value": target}},
			}}},
		}},
		"status": map[string]any{},
	}
}

// The calls of `kn service create`, `update`, `apply` and `delete --wait`, in their order.
func TestKnLifecycle(t *testing.T) {
	t.Parallel()
	s := embed(t)
	k := s.kn(t)
	status, missing := k.do(http.MethodGet, "services/hello", "", nil)
	if status != 404 || at(missing, "kind") != "Status" || at(missing, "reason") != "NotFound" ||
		at(missing, "details", "name") != "hello" || at(missing, "details", "kind") == nil {
		t.Errorf("GET of a missing service: %d %v: create needs a Status with reason NotFound and details", status, missing)
	}
	status, created := k.do(http.MethodPost, "services", "application/json", knService("one"))
	if status != 201 {
		t.Fatalf("POST: %d %v", status, created)
	}
	if traffic, _ := at(created, "spec", "traffic").([]any); len(traffic) != 1 || at(traffic[0], "latestRevision") != true ||
		fmt.Sprint(at(traffic[0], "percent")) != "100" {
		t.Errorf("spec.traffic is %v: kn computes --tag and --traffic from the default", at(created, "spec", "traffic"))
	}
	containers, _ := at(created, "spec", "template", "spec", "containers").([]any)
	if at(containers[0], "name") != "user-container" {
		t.Errorf("the container is named %v", at(containers[0], "name"))
	}
	version := fmt.Sprint(at(created, "metadata", "resourceVersion"))
	// The watch starts later, from the version of the creation: the server must replay everything since.
	s.ready("hello")
	watch := "services?fieldSelector=metadata.name%3Dhello&resourceVersion=" + version + "&timeoutSeconds=630&timeout=10m30s&watch=true"
	if err := k.watch(watch, func(kind string, o map[string]any) bool { return kind == "MODIFIED" && readyIn(o) }); err != nil {
		t.Errorf("waiting for the service: %v", err)
	}
	k.update(s)
	// delete --wait: a watch from a version before the deletion must see DELETED, even if it starts after the deletion.
	_, current := k.do(http.MethodGet, "services/hello", "", nil)
	version = fmt.Sprint(at(current, "metadata", "resourceVersion"))
	if status, _ := k.do(http.MethodDelete, "services/hello", "application/json",
		map[string]any{"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"}); status != 200 {
		t.Errorf("DELETE: %d", status)
	}
	watch = "services?fieldSelector=metadata.name%3Dhello&resourceVersion=" + version + "&watch=true"
	if err := k.watch(watch, func(kind string, _ map[string]any) bool { return kind == "DELETED" }); err != nil {
		t.Errorf("waiting for the deletion: %v", err)
	}
}

// update sends the calls of kn service update --tag, --traffic, and apply.
func (k *kn) update(s *instance) {
	t := k.t
	t.Helper()
	_, current := k.do(http.MethodGet, "services/hello", "", nil)
	_, base := k.do(http.MethodGet, "revisions/"+fmt.Sprint(at(current, "status", "latestCreatedRevisionName")), "", nil)
	if statuses, _ := at(base, "status", "containerStatuses").([]any); len(statuses) != 1 || at(statuses[0], "name") != "user-container" {
		t.Errorf("containerStatuses of the revision are %v: kn pins the image by them", at(base, "status", "containerStatuses"))
	}
	if at(base, "metadata", "labels", "serving.knative.dev/configurationGeneration") != "1" ||
		at(base, "metadata", "labels", "serving.knative.dev/service") != "hello" {
		t.Errorf("labels of the revision: %v", at(base, "metadata", "labels"))
	}
	current["spec"].(map[string]any)["traffic"] = []any{
		map[string]any{"revisionName": "hello-00001", "tag": "old", "percent": 0, "latestRevision": false},
		map[string]any{"latestRevision": true, "percent": 100},
	}
	status, updated := k.do(http.MethodPut, "services/hello", "application/json", current)
	if status != 200 {
		t.Fatalf("PUT: %d %v", status, updated)
	}
	s.ready("hello")
	// The same version is stale now.
	status, conflict := k.do(http.MethodPut, "services/hello", "application/json", current)
	if status != 409 || at(conflict, "reason") != "Conflict" {
		t.Errorf("PUT of a stale version: %d %v", status, at(conflict, "reason"))
	}
	status, patched := k.do(http.MethodPatch, "services/hello", "application/merge-patch+json", map[string]any{
		"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{"annotations": map[string]any{"client.knative.dev/updateTimestamp": "2026-01-01T00:00:00Z"}}}},
	})
	if status != 200 {
		t.Errorf("PATCH: %d %v", status, patched)
	}
	s.ready("hello")
	status, list := k.do(http.MethodGet, "revisions?labelSelector=serving.knative.dev%2Fservice%3Dhello", "", nil)
	if items, _ := list["items"].([]any); status != 200 || len(items) != 2 || at(items[0], "kind") != "Revision" {
		t.Errorf("listing the service's revisions: %d, %d items", status, len(items))
	}
	if status, body, err := s.get("old-"+host, "/"); err != nil || status != 200 || !strings.Contains(body, "hello-00001") {
		t.Errorf("the tag answers %d %q %v", status, body, err)
	}
}
