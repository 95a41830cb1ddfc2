package transport

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

func TestListenOptionsThatContradictEachOtherAreRefused(t *testing.T) {
	for want, o := range map[string]ListenOptions{
		"":                                 {Address: DefaultAddress},
		"--xds-tls-cert and --xds-tls-key": {Address: DefaultAddress, Cert: "a"},
		"--xds-client-ca asks clients":     {Address: DefaultAddress, ClientCA: "a"},
		"--xds-allow goes by":              {Address: DefaultAddress, Allow: []string{"mesh=a"}},
		"--xds-insecure is for plain text": {Address: DefaultAddress, Insecure: true, Cert: "a", Key: "b"},
		"--xds none has no address":        {Address: NoAddress, Insecure: true},
		"reading --xds here":               {Address: "here"},
		"is not on loopback":               {Address: "192.0.2.1:18000"},
	} {
		if err := o.Check(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q in it", o, err, want)
		}
	}
	for _, o := range []ListenOptions{
		{Address: NoAddress}, {Address: "0.0.0.0:1", Insecure: true}, {Address: "0.0.0.0:1", Cert: "a", Key: "b", ClientCA: "c"},
	} {
		if err := o.Check(); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestDialOptionsResolveToOneAddress(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "data")
	for want, o := range map[string]DialOptions{
		"unix:" + absent + "/run/xds.sock": {DataDir: absent},
		DefaultAddress:                     {DataDir: absent, CA: "ca.pem"},
		"192.0.2.1:18000":                  {DataDir: absent, CA: "ca.pem", Address: "192.0.2.1:18000"},
		"unix:elsewhere.sock":              {Address: "unix:elsewhere.sock"},
	} {
		if err := o.Resolve(); err != nil || o.Address != want {
			t.Errorf("%+v: %v, want the address %s", o, err, want)
		}
	}
	for want, o := range map[string]DialOptions{
		"--xds-cert and --xds-key belong together": {CA: "a", Cert: "b"},
		"give --xds-ca too":                        {Cert: "a", Key: "b"},
	} {
		if err := o.Resolve(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q in it", o, err, want)
		}
	}
}

// Where the data directory is, `sluice up` can be expected.
func TestOnlyWhatCanComeIsWaitedFor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	o := DialOptions{DataDir: dir}
	if err := o.Resolve(); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	log := hclog.New(&hclog.LoggerOptions{Output: &text})
	if err := o.Await(log); err == nil || !strings.Contains(err.Error(), Remedy) {
		t.Errorf("without a data directory: %v, want what to do", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := o.Await(log); err != nil || !strings.Contains(text.String(), "waiting for the xDS server") {
		t.Errorf("with one: %v, and it logs %q", err, text.String())
	}
	if err := o.Reachable(); err == nil || !strings.Contains(err.Error(), "no sluice up runs with the data directory "+dir) {
		t.Errorf("nobody listens: %v", err)
	}
	given := DialOptions{DataDir: dir, Address: "192.0.2.1:1"}
	if err := given.Await(log); err != nil {
		t.Errorf("an address that was given is not tried first: %v", err)
	}
}
