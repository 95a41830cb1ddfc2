package apiserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	servingv1 "sluice.dev/sluice/crds/serving/v1"
)

func TestMissingAndStaleObjectsAnswerWithStatuses(t *testing.T) {
	c := objects(t, shared, "services", "statuses")
	_, err := c.Get(t.Context(), "nothing", metav1.GetOptions{})
	var status apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &status) {
		t.Fatalf("get of a missing object: %v, want a Status of reason NotFound", err)
	}
	if d := status.Status().Details; d == nil || d.Name != "nothing" || d.Kind != "services" || d.Group != servingv1.Group {
		t.Errorf("details of the 404 are %+v, want the name, kind services and the group", d)
	}

	u := create(t, c, service)
	if _, err := c.Create(t.Context(), object(t, service), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		t.Errorf("second create: %v, want AlreadyExists", err)
	}
	stale := u.DeepCopy()
	_ = unstructured.SetNestedField(u.Object, int64(10), "spec", "template", "spec", "timeoutSeconds")
	if _, err := c.Update(t.Context(), u, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	_ = unstructured.SetNestedField(stale.Object, int64(20), "spec", "template", "spec", "timeoutSeconds")
	_, err = c.Update(t.Context(), stale, metav1.UpdateOptions{})
	if !apierrors.IsConflict(err) || !errors.As(err, &status) || status.Status().Details.Name != "hello" {
		t.Errorf("update with an old resourceVersion: %v, want a Status of reason Conflict with the name", err)
	}
}

func TestWatchReplaysFromAResourceVersion(t *testing.T) {
	c := objects(t, shared, "services", "replay")
	u := create(t, c, service)
	patch := []byte(`{"spec":{"template":{"spec":{"timeoutSeconds":10}}}}`)
	if _, err := c.Patch(t.Context(), "hello", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), "hello", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, selector := range map[string]string{"all": "", "one by name, as kn does": "metadata.name=hello"} {
		w, err := c.Watch(t.Context(), metav1.ListOptions{ResourceVersion: u.GetResourceVersion(), FieldSelector: selector})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, want := range []watch.EventType{watch.Modified, watch.Deleted} {
			select {
			case e := <-w.ResultChan():
				if e.Type != want {
					t.Errorf("%s: got event %s, want %s", name, e.Type, want)
				}
			case <-time.After(2 * time.Minute):
				t.Fatalf("%s: no %s event", name, want)
			}
		}
		w.Stop()
	}
}

// New informers list with a watch, and a bookmark ends the list, if the server supports that.
func TestWatchListEndsWithABookmark(t *testing.T) {
	c := objects(t, shared, "services", "watchlist")
	create(t, c, service)
	w, err := c.Watch(t.Context(), metav1.ListOptions{
		SendInitialEvents: new(true), AllowWatchBookmarks: true, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for _, want := range []watch.EventType{watch.Added, watch.Bookmark} {
		select {
		case e := <-w.ResultChan():
			if e.Type != want {
				t.Fatalf("got event %s %v, want %s", e.Type, e.Object, want)
			}
			u := e.Object.(*unstructured.Unstructured)
			if end := u.GetAnnotations()[metav1.InitialEventsAnnotationKey]; want == watch.Bookmark && end != "true" {
				t.Errorf("the bookmark does not end the list: %v", u.GetAnnotations())
			}
		case <-time.After(2 * time.Minute):
			t.Fatalf("no %s event", want)
		}
	}
}

func TestInformersFollow(t *testing.T) {
	c := objects(t, shared, "services", "informers")
	create(t, c, service)
	client, err := dynamic.NewForConfig(shared.Config())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, "informers", nil)
	informer := factory.ForResource(servingv1.GroupVersion.WithResource("services")).Informer()
	events := make(chan string, 10)
	_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { events <- "add" },
		UpdateFunc: func(any, any) { events <- "update" },
		DeleteFunc: func(any) { events <- "delete" },
	})
	if err != nil {
		t.Fatal(err)
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	defer cancel()
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		t.Fatal("the informer did not sync")
	}
	want := func(event string) {
		t.Helper()
		select {
		case got := <-events:
			if got != event {
				t.Errorf("got %s, want %s", got, event)
			}
		case <-ctx.Done():
			t.Fatalf("no %s", event)
		}
	}
	want("add")
	if _, err := c.Patch(ctx, "hello", types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`),
		metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	want("update")
	if err := c.Delete(ctx, "hello", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	want("delete")
}

// There is no garbage collector that would remove the finalizers again.
func TestDeletesAtOnceWithAnyPropagationPolicy(t *testing.T) {
	c := objects(t, shared, "services", "propagation")
	for _, policy := range []metav1.DeletionPropagation{metav1.DeletePropagationForeground, metav1.DeletePropagationBackground} {
		create(t, c, service)
		if err := c.Delete(t.Context(), "hello", metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
			t.Fatal(err)
		}
		if u, err := c.Get(t.Context(), "hello", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Fatalf("%s: the object is there with finalizers %v (%v)", policy, u.GetFinalizers(), err)
		}
	}
}

func TestOwnersAreNotDeletedWithoutTheirObjects(t *testing.T) {
	for resource, manifest := range map[string]string{"services": service, "configurations": configuration} {
		c := objects(t, shared, resource, "orphans")
		create(t, c, manifest)
		for name, options := range map[string]metav1.DeleteOptions{
			"policy": {PropagationPolicy: new(metav1.DeletePropagationOrphan)},
			"old":    {OrphanDependents: new(true)},
		} {
			deletes := map[string]error{
				"one": c.Delete(t.Context(), "hello", options),
				"all": c.DeleteCollection(t.Context(), options, metav1.ListOptions{}),
			}
			for what, err := range deletes {
				if !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), "--cascade=orphan") {
					t.Errorf("%s, %s, %s: it is answered %v", resource, name, what, err)
				}
			}
			if _, err := c.Get(t.Context(), "hello", metav1.GetOptions{}); err != nil {
				t.Errorf("%s, %s: %v", resource, name, err)
			}
		}
	}
	c := objects(t, shared, "routes", "orphans") // a Route owns nothing
	create(t, c, route)
	if err := c.Delete(t.Context(), "hello", metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationOrphan)}); err != nil {
		t.Error(err)
	}
}

func TestServerSideApply(t *testing.T) {
	c := objects(t, shared, "services", "ssa")
	apply := func(manager, timeout string) (*unstructured.Unstructured, error) {
		u := object(t, strings.ReplaceAll(service, "template: {spec: {", "template: {spec: {timeoutSeconds: "+timeout+", "))
		return c.Apply(t.Context(), "hello", u, metav1.ApplyOptions{FieldManager: manager})
	}
	first, err := apply("sluice", "10")
	if err != nil {
		t.Fatal(err)
	}
	again, err := apply("sluice", "10")
	if err != nil {
		t.Fatal(err)
	}
	if again.GetResourceVersion() != first.GetResourceVersion() {
		t.Errorf("the same again moved the resourceVersion from %s to %s, generation %d",
			first.GetResourceVersion(), again.GetResourceVersion(), again.GetGeneration())
	}
	if _, err := apply("other", "20"); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `with "sluice"`) {
		t.Errorf("apply of another manager: %v, want a conflict with sluice", err)
	}
}

func TestOnlyTheTokenIsLetIn(t *testing.T) {
	for name, change := range map[string]func(*rest.Config){
		"no token":    func(c *rest.Config) { c.BearerToken = "" },
		"wrong token": func(c *rest.Config) { c.BearerToken = "wrong" },
	} {
		config := shared.Config()
		change(config)
		client, err := dynamic.NewForConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Resource(servingv1.GroupVersion.WithResource("services")).List(t.Context(), metav1.ListOptions{})
		if !apierrors.IsUnauthorized(err) && !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v, want to be refused", name, err)
		}
	}
	dir := filepath.Dir(shared.Kubeconfig())
	for _, name := range []string{"token", "kubeconfig", "apiserver.key", "lock"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("%s has mode %o, want 600", name, mode)
		}
	}
}

func TestRefusesLargeBodies(t *testing.T) {
	client, err := rest.HTTPClientFor(shared.Config())
	if err != nil {
		t.Fatal(err)
	}
	url := shared.Config().Host + "/apis/serving.knative.dev/v1/namespaces/large/services"
	for size, want := range map[int]int{maxBody / 2: http.StatusBadRequest, maxBody + 1: http.StatusRequestEntityTooLarge} {
		body := append([]byte(`{"x":"`), bytes.Repeat([]byte("x"), size)...)
		response, err := client.Post(url, "application/json", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%d bytes: %s, want %d", size, response.Status, want)
		}
	}
}

func TestDiscovery(t *testing.T) {
	client, err := discovery.NewDiscoveryClientForConfig(shared.Config())
	if err != nil {
		t.Fatal(err)
	}
	version, err := client.ServerVersion()
	if err != nil || !strings.HasPrefix(version.GitVersion, "v1.") {
		t.Errorf("version %+v (%v), want one that kubectl can parse", version, err)
	}
	list, err := client.ServerResourcesForGroupVersion(servingv1.GroupVersion.String())
	if err != nil {
		t.Fatal(err)
	}
	shortNames := map[string]string{"services": "kservice ksvc", "configurations": "config cfg", "routes": "rt", "revisions": "rev"}
	for _, r := range list.APIResources {
		if want, ok := shortNames[r.Name]; ok && strings.Join(r.ShortNames, " ") != want {
			t.Errorf("short names of %s are %v, want %s", r.Name, r.ShortNames, want)
		}
		delete(shortNames, r.Name)
	}
	if len(shortNames) > 0 {
		t.Errorf("not served: %v", shortNames)
	}
	plain := discovery.NewDiscoveryClientForConfigOrDie(shared.Config())
	plain.UseLegacyDiscovery = true
	groups, err := plain.ServerGroups()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, g := range groups.Groups {
		names = append(names, g.Name)
	}
	if !strings.Contains(strings.Join(names, " "), servingv1.Group) {
		t.Errorf("groups for older clients are %v, want %s among them", names, servingv1.Group)
	}
}

func TestKeepsObjectsOverARestart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30)) // longer than a unix socket's path may be
	first, stop := start(t, dir)
	was := create(t, objects(t, first, "services", "kept"), service)
	stop()
	second, stop := start(t, dir)
	is, err := objects(t, second, "services", "kept").Get(t.Context(), "hello", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if is.GetUID() != was.GetUID() || is.GetResourceVersion() != was.GetResourceVersion() {
		t.Errorf("got %s at %s, want %s at %s", is.GetUID(), is.GetResourceVersion(), was.GetUID(), was.GetResourceVersion())
	}
	if first.Config().BearerToken != second.Config().BearerToken || !bytes.Equal(first.Config().CAData, second.Config().CAData) {
		t.Error("a restart changed the token or the certificate")
	}
	config, err := clientcmd.BuildConfigFromFlags("", second.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != second.Config().Host {
		t.Errorf("the kubeconfig is for %s, want %s", config.Host, second.Config().Host)
	}
	stop()
	_, _ = start(t, dir) // nothing has changed
}

func TestStartRemovesOldVersionsOfObjects(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, stop := start(t, dir)
	c := objects(t, first, "services", "history")
	was := create(t, c, service)
	is := was
	for timeout := range 2 {
		var err error
		patch := fmt.Appendf(nil, `{"spec":{"template":{"spec":{"timeoutSeconds":%d}}}}`, 10+timeout)
		if is, err = c.Patch(t.Context(), "hello", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	second, _ := start(t, dir)
	c = objects(t, second, "services", "history")
	next := func(from string) watch.Event {
		w, err := c.Watch(t.Context(), metav1.ListOptions{ResourceVersion: from})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		select {
		case e := <-w.ResultChan():
			return e
		case <-time.After(2 * time.Minute):
			t.Fatalf("no event from %s on", from)
			return watch.Event{}
		}
	}
	if e := next(was.GetResourceVersion()); e.Type != watch.Error || !apierrors.IsResourceExpired(apierrors.FromObject(e.Object)) {
		t.Errorf("a watch from a version before the start got %v, want an error that makes it list again", e)
	}
	if err := c.Delete(t.Context(), "hello", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if e := next(is.GetResourceVersion()); e.Type != watch.Deleted {
		t.Errorf("a watch from the last version got %v, want DELETED", e)
	}
}

func TestStopsSoonWithAnOpenWatch(t *testing.T) {
	t.Parallel()
	s, stop := start(t, t.TempDir())
	w, err := objects(t, s, "services", "").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	stopped := make(chan struct{})
	go func() { defer close(stopped); stop() }()
	select {
	case <-stopped:
	case <-time.After(50 * time.Second): // without our bound it would be a minute
		t.Error("the watch delays the stop")
		<-stopped
	}
}

func TestSaysWhatIsInUse(t *testing.T) {
	dir := filepath.Dir(shared.Kubeconfig())
	_, err := Start(t.Context(), Options{Dir: dir, Listen: "127.0.0.1:0"})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("second server on one directory: %v, want ErrInUse, the directory and the flag", err)
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	free := t.TempDir()
	_, err = Start(t.Context(), Options{Dir: free, Listen: l.Addr().String()})
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()) || !strings.Contains(err.Error(), "--api") {
		t.Errorf("a port in use: %v, want the address and the flag", err)
	}
	if lock, err := lockDir(free, hclog.NewNullLogger()); err != nil {
		t.Errorf("a failed start keeps the directory locked: %v", err)
	} else {
		_ = lock.Close()
	}
}

// The library ends the process, and with it this test, when its context ends before its hooks have run.
func TestContextThatEndsDuringTheStartIsAnOrdinaryStop(t *testing.T) {
	for delay := 50 * time.Millisecond; delay < 350*time.Millisecond; delay += 30 * time.Millisecond {
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(delay, cancel)
		s, err := Start(ctx, Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
		if err != nil { // the context ended before the server ran
			continue
		}
		if err := s.Wait(); err != nil {
			t.Errorf("stopped after %s: %v", delay, err)
		}
	}
}
