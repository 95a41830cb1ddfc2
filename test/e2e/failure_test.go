package e2e

import (
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// awaitFailure waits until a Service is not ready and its message has all words.
func (s *space) awaitFailure(name string, words ...string) {
	s.Helper()
	s.await("the failure of "+name+" in words", func() (any, bool) {
		c := conditionOf(s.get(name), "Ready")
		for _, word := range words {
			if !strings.Contains(c.Message, word) {
				return c.Message, false
			}
		}
		return c.Message, c.Status == "False"
	})
}

func TestFailuresAreSaidInWords(t *testing.T) {
	s := newSpace(t)
	s.deploy(service{name: "absent", image: "dev.local/absent:v1"})
	s.deploy(service{name: "crash", command: []string{"sluice", "no-such-command"}})
	s.deploy(service{name: "program", command: []string{"no-such-program"}})
	s.awaitFailure("absent", "dev.local/absent:v1")
	s.awaitFailure("crash", "no-such-command")
	s.awaitFailure("program", "no-such-program")
}

func TestFullQuotaIsSaidInWords(t *testing.T) {
	s := newSpace(t)
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.name, Name: "full"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")}},
	}
	if err := cluster.Create(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	s.deploy(service{name: "hello"})
	s.awaitFailure("hello", "quota")
	if err := cluster.Delete(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	s.awaitReady("hello")
}

func TestBrokenRevisionLeavesTheOldOneServing(t *testing.T) {
	s := newSpace(t)
	s.deploy(service{name: "hello", target: "old"})
	s.awaitReady("hello")
	s.awaitAnswer(s.host("hello"), "old")
	s.deploy(service{name: "hello", target: "new", image: "dev.local/absent:v1"})
	s.awaitFailure("hello", "dev.local/absent:v1")
	if a := s.ask(s.host("hello"), "/"); a.status != http.StatusOK || !strings.Contains(a.body, "old") {
		t.Errorf("got %v, want an answer of the old revision", a)
	}
}
