package translator_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/model"
	"sluice.dev/sluice/test/authority"
	"sluice.dev/sluice/translator"
)

func secure(certificates ...model.Certificate) *model.World {
	return &model.World{Gateway: model.Gateway{HTTP: ":8080", HTTPS: ":8443", Certificates: certificates}}
}

func issued(a *authority.Authority, name, host string) model.Certificate {
	chain, key := a.Sign(host)
	return model.Certificate{Name: name, Hosts: []string{host}, Chain: string(chain), Key: string(key)}
}

func TestRenewedCertificateIsOneResource(t *testing.T) {
	a := authority.New(t)
	one, two := issued(a, "default/one", "one.test"), issued(a, "default/two", "two.test")
	before := translator.Translate(secure(one, two), nil)
	after := translator.Translate(secure(one, issued(a, "default/two", "two.test")), before)
	set, removed := translator.Diff(before, after)
	if len(set) != 1 || set[0].Type != translator.SecretType || set[0].Name != "default/two" || len(removed) > 0 {
		t.Errorf("set %v and removed %v, want the one secret alone", identities(set), identities(removed))
	}
	if set, removed := translator.Diff(before, translator.Translate(secure(one, two), nil)); len(set)+len(removed) > 0 {
		t.Errorf("the same certificates set %v and remove %v, want the same versions", identities(set), identities(removed))
	}
}

func TestRemovedCertificateRemovesItsSecret(t *testing.T) {
	a := authority.New(t)
	one := issued(a, "default/one", "one.test")
	before := translator.Translate(secure(one), nil)
	_, removed := translator.Diff(before, translator.Translate(secure(), before))
	if got := identities(removed); len(got) != 2 || got[0].name != "https" || got[1].name != "default/one" {
		t.Errorf("removed %v, want the listener and its secret", got)
	}
}

func identities(resources []*translator.Resource) []identity {
	var all []identity
	for _, r := range resources {
		all = append(all, identity{r.Type, r.Name, r.Roles})
	}
	return all
}

func TestKeyThatEnvoyRefusesIsAProblem(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	weak := model.Certificate{
		Name:  "default/weak",
		Chain: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		Key:   string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
	}
	out := translator.Translate(secure(weak, issued(authority.New(t), "default/good", "good.test")), nil)
	if len(out.Problems) != 1 || !strings.Contains(out.Problems[0].Message, "1024 bits") {
		t.Errorf("problems: %v, want one about the key's size", out.Problems)
	}
	text, err := out.YAML()
	if err != nil || strings.Contains(string(text), "default/weak") || !strings.Contains(string(text), "default/good") {
		t.Errorf("the weak certificate is served, or the good one is not (%v)", err)
	}
	if strings.Contains(string(text), "PRIVATE") {
		t.Error("a private key is printed")
	}
}
