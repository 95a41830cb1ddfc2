package contract

import (
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestAProofIsForOneRevisionOfOneInstallation(t *testing.T) {
	ours, others := NewSigner("secret"), NewSigner("other")
	key := ours.Key()
	proof := ours.ProxyProof("default", "hello-00001")
	if !key.ProvesProxy("default", "hello-00001", proof) || proof != NewSigner("secret").ProxyProof("default", "hello-00001") {
		t.Error("a proof of ours is not taken, or is another one each time")
	}
	for what, value := range map[string]string{
		"another installation's": others.ProxyProof("default", "hello-00001"),
		"another revision's":     ours.ProxyProof("default", "hello-00002"),
		"another namespace's":    ours.ProxyProof("other", "hello-00001"),
		"Knative's":              "activator",
		"the token":              "activator secret",
		"the key":                "activator " + key.String(),
		"nothing":                "",
		"more than one":          proof + "A",
		"of a deadline":          "activator " + StreamDeadline{Namespace: "default", Revision: "hello-00001"}.Prove(ours),
	} {
		if key.ProvesProxy("default", "hello-00001", value) {
			t.Errorf("%s is taken", what)
		}
	}
	var none *Signer
	if !none.Key().ProvesProxy("default", "hello-00001", none.ProxyProof("default", "hello-00001")) {
		t.Error("without a token Knative's value is not taken")
	}
	if strings.Contains(key.String(), "secret") || strings.Contains(proof, "secret") {
		t.Error("the token is visible")
	}
}

func TestAKeyIsReadAsItIsWritten(t *testing.T) {
	key := NewSigner("secret").Key()
	if again, err := ParseKey(key.String()); err != nil || again.String() != key.String() {
		t.Errorf("got %v and %v", again, err)
	}
	if none, err := ParseKey(""); err != nil || none != nil {
		t.Errorf("no key: got %v and %v", none, err)
	}
	for _, text := range []string{"x", "secret", key.String() + "AAAA", key.String() + "="} {
		if _, err := ParseKey(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestADeadlineIsProvenInAllItsParts(t *testing.T) {
	signer := NewSigner("secret")
	d := StreamDeadline{
		Namespace: "default", Revision: "hello-00001", Pod: "hello-00001-x", At: time.Unix(2, 3), Signed: time.Unix(1, 0),
	}
	proof := d.Prove(signer)
	if !signer.Key().Proves(d, proof) {
		t.Error("its own proof is not taken")
	}
	for what, change := range map[string]func(*StreamDeadline){
		"namespace": func(d *StreamDeadline) { d.Namespace = "other" }, "revision": func(d *StreamDeadline) { d.Revision = "hello-00002" },
		"pod": func(d *StreamDeadline) { d.Pod = "hello-00001-y" }, "time": func(d *StreamDeadline) { d.At = time.Time{} },
		"age": func(d *StreamDeadline) { d.Signed = time.Unix(9, 0) },
	} {
		other := d
		change(&other)
		if signer.Key().Proves(other, proof) {
			t.Errorf("the proof is taken for another %s", what)
		}
	}
	var none *Signer
	if none.Key().Proves(d, d.Prove(none)) {
		t.Error("without a token a deadline is taken")
	}
	for _, at := range []time.Time{{}, time.Unix(5, 7)} {
		d.At = at
		query, err := url.ParseQuery(d.Query())
		if err != nil {
			t.Fatal(err)
		}
		var got StreamDeadline
		if err := got.ReadQuery(query); err != nil || !got.At.Equal(at) || !got.Signed.Equal(d.Signed) {
			t.Errorf("%s is read as %+v: %v", d.Query(), got, err)
		}
	}
	if err := d.ReadQuery(url.Values{"streams-end": {"soon"}}); err == nil {
		t.Error("a time that is no number is taken")
	}
}
