package activator

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice.dev/sluice/contract"
	"sluice.dev/sluice/dataplane/queueproxy"
	"sluice.dev/sluice/model"
	"sluice.dev/sluice/translator"
	"sluice.dev/sluice/xds"
)

func keyOf(name string) model.Key { return model.Key{Namespace: "default", Name: name} }

// greeter is a World with one route, split between revisions.
func greeter(backends ...*model.Backend) *model.World {
	w := &model.World{Backends: backends, Activators: []model.Endpoint{{Host: "127.0.0.1", Port: 1}}}
	rule := model.Rule{Hosts: []string{"greeter.default.localhost"}, LocalHosts: []string{"greeter.default"}}
	for _, b := range backends {
		rule.Shares = append(rule.Shares, model.Share{Revision: b.Revision, Percent: 100 / len(backends)})
	}
	rule.TagHeader = []model.TagShare{{Tag: "next", Revision: backends[len(backends)-1].Revision}}
	w.Routes = []*model.Route{{Key: keyOf("greeter"), Owner: model.Ref{Kind: "Route", Key: keyOf("greeter")}, Rules: []model.Rule{rule}}}
	return w
}

func backend(name string, via model.Via, addresses ...string) *model.Backend {
	b := &model.Backend{Revision: keyOf(name), Owner: model.Ref{Kind: "Revision", Key: keyOf(name)}, Protocol: model.H2C, Via: via}
	for _, a := range addresses {
		host, port, _ := net.SplitHostPort(a)
		number, _ := strconv.Atoi(port)
		b.Endpoints = append(b.Endpoints, model.Endpoint{Host: host, Port: number})
	}
	return b
}

// publish has the control plane serve a World after another.
func (b *bench) publish(before *translator.Output, w *model.World) *translator.Output {
	next := translator.Translate(w, before)
	set, removed := translator.Diff(before, next)
	convert := func(in []*translator.Resource) (out []*xds.Resource) {
		for _, r := range in {
			out = append(out, (*xds.Resource)(r))
		}
		return out
	}
	b.server.Apply(xds.Update{Set: convert(set), Removed: convert(removed)})
	return next
}

// call is a gRPC request as a client without a proxy sends it: the host is all that it says.
func (b *bench) call(host string, headers ...string) answer {
	b.Helper()
	req := b.request(http.MethodPost, "/helloworld.Greeter/SayHello", strings.NewReader(""), headers...)
	req.Host = host
	req.Header.Del("Knative-Serving-Namespace")
	req.Header.Del("Knative-Serving-Revision")
	req.Header.Set("Content-Type", "application/grpc")
	return do(b.client, req)
}

func startForGRPC(t *testing.T) *bench {
	b := start(t, Options{})
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	b.client = &http.Client{Transport: &http.Transport{Protocols: protocols}, Timeout: patience}
	t.Cleanup(b.client.CloseIdleConnections)
	return b
}

func TestHostStandsForARevision(t *testing.T) {
	b := startForGRPC(t)
	one := replicaOf(t, queueproxy.Options{Protocol: model.H2C}, says("one"))
	b.publish(nil, greeter(backend("one", model.ViaActivator, one)))
	b.call("greeter.default.localhost").want(t, http.StatusOK, "one")
	b.call("greeter.default").want(t, http.StatusOK, "one")
	if a := b.call("other.default.localhost"); a.err != nil || a.Header.Get("Grpc-Status") != "14" || a.Header.Get(contract.ReasonHeader) != contract.ReasonUnknownRevision {
		t.Errorf("an unknown host got %v", a)
	}
	if a := b.get(); a.err == nil && a.StatusCode == http.StatusOK {
		t.Errorf("a request that is no gRPC and names nothing that exists got %v", a)
	}
}

func TestSplitHostStandsForTheRevisionThatActivatorsStandFor(t *testing.T) {
	b := startForGRPC(t)
	awake := replicaOf(t, queueproxy.Options{Protocol: model.H2C}, says("awake"))
	asleep := replicaOf(t, queueproxy.Options{Protocol: model.H2C}, says("asleep"))
	out := b.publish(nil, greeter(backend("awake", model.ViaReplicas, awake), backend("asleep", model.ViaActivator)))
	answers := make(chan answer, 20)
	for range cap(answers) {
		go func() { answers <- b.call("greeter.default.localhost") }()
	}
	eventually(t, "requests that wait", func() bool {
		r := b.activator.revisions.find("default/asleep")
		if r == nil {
			return false
		}
		_, waiting := r.counts()
		return waiting == cap(answers)
	})
	b.publish(out, greeter(backend("awake", model.ViaReplicas, awake), backend("asleep", model.ViaActivator, asleep)))
	for range cap(answers) {
		await(t, answers).want(t, http.StatusOK, "asleep")
	}
	b.call("greeter.default.localhost", "Knative-Serving-Tag", "next").want(t, http.StatusOK, "asleep")
}

func TestSecondHostDoesNotWaitForTheFirst(t *testing.T) {
	b := startForGRPC(t)
	one := replicaOf(t, queueproxy.Options{Protocol: model.H2C}, says("one"))
	w := greeter(backend("one", model.ViaActivator, one))
	for i := range 20 {
		route := *w.Routes[0]
		route.Key = keyOf(fmt.Sprint("r", i))
		route.Rules = []model.Rule{{Hosts: []string{fmt.Sprintf("h%d.default.localhost", i)}, Shares: []model.Share{{Revision: keyOf("one"), Percent: 100}}}}
		w.Routes = append(w.Routes, &route)
	}
	b.publish(nil, w)
	for i := range 20 { // each within its own patience of two seconds, which is less than the server waits for a silent client
		began := time.Now()
		b.call(fmt.Sprintf("h%d.default.localhost", i)).want(t, http.StatusOK, "one")
		t.Logf("host %d took %v", i, time.Since(began))
	}
}

func TestHostThatIsGoneIsForgotten(t *testing.T) {
	b := startForGRPC(t)
	one := replicaOf(t, queueproxy.Options{Protocol: model.H2C}, says("one"))
	out := b.publish(nil, greeter(backend("one", model.ViaActivator, one)))
	b.call("greeter.default.localhost").want(t, http.StatusOK, "one")
	b.publish(out, &model.World{})
	eventually(t, "the host is gone", func() bool {
		return b.call("greeter.default.localhost").Header.Get(contract.ReasonHeader) == contract.ReasonUnknownRevision
	})
}

// A host is asked for as soon as a client knows it, and that may be before the control plane's answer has it.
func TestRequestsThatWaitLearnOfAHostThatDidNotExist(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const name = "greeter.default.localhost"
		began := time.Now()
		nothing := func(string, ...string) {}
		hs := newHosts(10, func() time.Time { return began }, nothing, nothing)
		found := make(chan error, 1)
		go func() {
			_, err := hs.find(t.Context(), name)
			found <- err
		}()
		synctest.Wait()
		hs.remove(name) // there is none yet
		take := map[string]func(string, []byte) error{translator.ListenerType: hs.setListener, translator.RouteType: hs.setRoutes}
		for _, typeURL := range []string{translator.ListenerType, translator.RouteType} {
			for _, u := range translator.Translate(greeter(backend("one", model.ViaActivator)), nil).Units {
				for _, r := range u.Resources {
					if r.Type != typeURL || r.Roles&translator.RoleActivator == 0 {
						continue
					}
					if err := take[typeURL](r.Name, r.Body); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		if err := <-found; err != nil || !time.Now().Equal(began) {
			t.Errorf("the request that waited got %v after %v", err, time.Since(began))
		}
	})
}
