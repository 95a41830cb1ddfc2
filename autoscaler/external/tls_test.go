package external

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/test/authority"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTLS(t *testing.T) {
	of, other := authority.New(t), authority.New(t)
	ofPEM, otherPEM := read(t, of.File), read(t, other.File)
	chain, key := of.Sign("scaler.example.com")
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM([]byte(ofPEM))
	s := serve(t, grpc.Creds(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients,
	})))
	s.says(10, 5)
	own, ownKey := of.Sign("client")
	right := model.ClientTLS{CA: ofPEM, ServerName: "scaler.example.com", Chain: string(own), Key: string(ownKey)}
	for name, c := range map[string]struct {
		change func(*model.ClientTLS)
		want   string
	}{
		"right":             {func(*model.ClientTLS) {}, ""},
		"another authority": {func(c *model.ClientTLS) { c.CA = otherPEM }, "certificate signed by unknown authority"},
		"another name":      {func(c *model.ClientTLS) { c.ServerName = "" }, "127.0.0.1"},
		"plain text":        {func(c *model.ClientTLS) { *c = model.ClientTLS{Plaintext: true} }, "failed with Unavailable"},
		"no own":            {func(c *model.ClientTLS) { c.Chain, c.Key = "", "" }, "failed with Unavailable"},
		"no PEM":            {func(c *model.ClientTLS) { c.CA = "text" }, "the CA bundle has no certificate in PEM"},
		"half of a pair":    {func(c *model.ClientTLS) { c.Key = "" }, "the client's certificate cannot be used"},
	} {
		t.Run(name, func(t *testing.T) {
			b, scaler := run(t), queue(s)
			scaler.External.TLS = right
			c.change(&scaler.External.TLS)
			b.Set(scaler)
			if c.want == "" {
				b.awaitCount(2)
				return
			}
			b.awaitProblem(c.want)
		})
	}
	if text := fmt.Sprintf("%v %+v %#v", right, right, right); strings.Contains(text, "KEY") {
		t.Errorf("a key is printed: %s", text)
	}
}
