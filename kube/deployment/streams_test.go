package deployment

import (
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/model"
)

// inbox records the messages that the queue-proxy of a pod gets, as far as they are proven.
type inbox struct {
	mu       sync.Mutex
	messages []contract.StreamDeadline
	refuse   int // how many messages to refuse as too old
}

func (d *inbox) last() (contract.StreamDeadline, int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.messages) == 0 {
		return contract.StreamDeadline{}, 0
	}
	return d.messages[len(d.messages)-1], len(d.messages)
}

func (d *inbox) serve(key contract.Key, revision model.Key, pod func() string) http.Handler {
	routes := http.NewServeMux()
	routes.HandleFunc("PUT "+contract.StreamDeadlinePath, func(w http.ResponseWriter, r *http.Request) {
		m := contract.StreamDeadline{Namespace: revision.Namespace, Revision: revision.Name, Pod: pod()}
		if err := m.ReadQuery(r.URL.Query()); err != nil || !key.Proves(m, r.Header.Get(contract.ProofHeader)) {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.refuse > 0 {
			d.refuse--
			w.WriteHeader(http.StatusConflict)
			return
		}
		d.messages = append(d.messages, m)
	})
	return routes
}

func TestPodsAreToldWhenTheirStreamsEnd(t *testing.T) {
	const ip = "127.0.22.2" // an address of its own, because the port is fixed
	listener, err := net.Listen("tcp", net.JoinHostPort(ip, "8022"))
	if err != nil {
		t.Skipf("this machine has no address %s on its loopback device: %v", ip, err)
	}
	b := newBench(t)
	signer := contract.NewSigner("secret")
	defer b.startWith(Options{Pods: testConfig(), Signer: signer})()
	w := b.add(newRevision("hello-00001"))
	b.run(w, 1)
	d := b.deployment(w, "a Deployment", hasReplicas(1))
	if env := d.Spec.Template.Spec.Containers[1].Env; env[len(env)-1].Value != signer.Key().String() {
		t.Errorf("the queue-proxy has the environment %v, want the key in it", env)
	}
	pod := b.pod(d, running(ip))
	heard := &inbox{refuse: 1}
	server := &http.Server{Handler: heard.serve(signer.Key(), w.Revision, func() string { return pod.Name })}
	defer server.Close()
	go server.Serve(listener)

	b.status(w, "the pod", func(s model.WorkloadStatus) bool { return s.Running == 1 })
	if m, n := heard.last(); n != 0 {
		t.Errorf("the pod was sent %+v although its streams have no end", m)
	}
	for _, end := range []time.Time{time.Unix(2e9, 0), time.Unix(2e9, 5), {}} {
		w.StreamDeadline = end
		b.run(w, 1)
		b.eventually("the pod knows the end of its streams", func() bool {
			m, n := heard.last()
			return n > 0 && m.At.Equal(end)
		})
	}
	if _, n := heard.last(); n != 3 {
		t.Errorf("the pod was sent %d messages, want 3", n)
	}
}
