package apiserver

import (
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"sluice.dev/sluice/standalone/folder"
)

// writeKubeconfig writes a kubeconfig with which kubectl and kn are c's administrator, in namespace default. It contains the
// token, so only its owner may read it.
func writeKubeconfig(path string, c *rest.Config) error {
	const name = "sluice"
	k := clientcmdapi.NewConfig()
	k.Clusters[name] = &clientcmdapi.Cluster{Server: c.Host, CertificateAuthorityData: c.CAData}
	k.AuthInfos[adminName] = &clientcmdapi.AuthInfo{Token: c.BearerToken}
	k.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: adminName, Namespace: "default"}
	k.CurrentContext = name
	text, err := clientcmd.Write(*k)
	if err == nil {
		err = folder.Write(path, text)
	}
	if err != nil {
		return fmt.Errorf("writing the kubeconfig: %w", err)
	}
	return nil
}
