package envoy

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	"sigs.k8s.io/yaml"
)

// Names of the secrets of the connection to the xDS server, and of the files that have them.
const (
	certificateSecret = "xds_certificate"
	authoritySecret   = "xds_authorities"
)

// WriteSecrets writes files into t.Dir by which Envoy reads the certificate and the authorities again when they change: it does that for
// secrets that come from a file, and not for those in its bootstrap. Envoy notices that something is renamed in the folder of the
// certificate, as the kubelet does in the volume of a Secret. The files have names of files, and no keys.
func (t TLS) WriteSecrets() error {
	secrets := []*tlsv3.Secret{{
		Name: authoritySecret,
		Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
			TrustedCa: fileSource(t.CA), WatchedDirectory: folderOf(t.CA),
		}},
	}}
	if t.Certificate != "" {
		secrets = append(secrets, &tlsv3.Secret{
			Name: certificateSecret,
			Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
				CertificateChain: fileSource(t.Certificate), PrivateKey: fileSource(t.Key), WatchedDirectory: folderOf(t.Certificate),
			}},
		})
	}
	for _, secret := range secrets {
		if err := t.writeSecret(secret); err != nil {
			return fmt.Errorf("writing the secret %s for Envoy: %w", secret.Name, err)
		}
	}
	return nil
}

func (t TLS) writeSecret(secret *tlsv3.Secret) error {
	resource, err := anypb.New(secret)
	if err != nil {
		return err
	}
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(&discoveryv3.DiscoveryResponse{Resources: []*anypb.Any{resource}})
	if err != nil {
		return err
	}
	if text, err = yaml.JSONToYAML(text); err != nil {
		return err
	}
	return os.WriteFile(t.secretFile(secret.Name), text, 0o600)
}

// secretFile is the path of a file of WriteSecrets. Envoy takes no path without a folder.
func (t TLS) secretFile(name string) string {
	path := filepath.Join(t.Dir, name+".yaml")
	if !strings.Contains(path, "/") {
		path = "./" + path
	}
	return path
}

// sds refers to a secret that WriteSecrets has written.
func (t TLS) sds(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_PathConfigSource{PathConfigSource: &corev3.PathConfigSource{Path: t.secretFile(name)}},
		ResourceApiVersion:    corev3.ApiVersion_V3,
	}}
}

// useSecrets has a context take its certificate and its authorities from the files of WriteSecrets.
func (t TLS) useSecrets(common *tlsv3.CommonTlsContext, checks *tlsv3.CertificateValidationContext) {
	checks.TrustedCa = nil
	common.ValidationContextType = &tlsv3.CommonTlsContext_CombinedValidationContext{
		CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext: checks, ValidationContextSdsSecretConfig: t.sds(authoritySecret),
		},
	}
	if t.Certificate != "" {
		common.TlsCertificates = nil
		common.TlsCertificateSdsSecretConfigs = []*tlsv3.SdsSecretConfig{t.sds(certificateSecret)}
	}
}

func fileSource(name string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: name}}
}

func folderOf(file string) *corev3.WatchedDirectory {
	return &corev3.WatchedDirectory{Path: filepath.Dir(file)}
}
