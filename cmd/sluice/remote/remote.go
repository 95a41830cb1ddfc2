// Package remote reaches the xDS server of an installation in a cluster, for people who ask it for the status of its clients. It finds the
// leading controller by its Lease, takes the certificate that may read the status from its Secret, and connects through the API server to
// the controller's pod. So whoever may read that Secret may read the status. The package must not know what is asked.
package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"

	"sluice.dev/sluice/cmd/sluice/install"
	"sluice.dev/sluice/cmd/sluice/transport"
)

// Installation is where Sluice is installed.
type Installation struct {
	Config    *rest.Config // of the API server
	Namespace string       // of the installation
}

// patience bounds how long the API server may take for the connection to the pod.
const patience = 15 * time.Second

// Open opens a way to the xDS server of the leading controller. The function that it returns closes the way. Its error says what to do.
func (i Installation) Open(ctx context.Context) (*transport.Way, func(), error) {
	api, err := kubernetes.NewForConfig(i.Config)
	if err != nil {
		return nil, nil, fmt.Errorf("connecting to the API server: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	pod, port, err := i.leader(ctx, api)
	if err != nil {
		return nil, nil, err
	}
	name := i.Namespace + "/" + pod
	w := &transport.Way{
		To:     "the leading controller " + name + " of the cluster " + i.Config.Host,
		Remedy: "see what kubectl logs -n " + i.Namespace + " " + pod + " says",
	}
	if w.TLS, err = i.certificate(ctx, api); err != nil {
		return nil, nil, err
	}
	address, end, err := i.forward(ctx, api, pod, port)
	if err != nil && strings.Contains(err.Error(), "not found") { // an upgrade of the connection has only the text
		return nil, nil, fmt.Errorf("the pod of the leading controller %s is gone (%w): another one takes over in a moment, so ask again",
			name, err)
	}
	if err != nil {
		return nil, nil, i.explained(err, "connecting to the leading controller "+name, "get and create on pods/portforward")
	}
	w.Address = address
	return w, end, nil
}

// leader returns the pod of the leading controller, and the port of its xDS server.
func (i Installation) leader(ctx context.Context, api kubernetes.Interface) (pod string, port int, err error) {
	lease, err := api.CoordinationV1().Leases(i.Namespace).Get(ctx, install.Lease, metav1.GetOptions{})
	if err != nil {
		return "", 0, i.explained(err, "reading the Lease "+i.Namespace+"/"+install.Lease, "get on leases")
	}
	if pod, port, err = holder(lease); err != nil {
		return "", 0, fmt.Errorf("the Lease %s/%s of the cluster %s: %w", i.Namespace, install.Lease, i.Config.Host, err)
	}
	return pod, port, nil
}

// holder reads the identity of the holder of a Lease: POD_IP:PORT.
func holder(lease *coordinationv1.Lease) (pod string, port int, err error) {
	if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
		return "", 0, errors.New("no controller leads at the moment; see the pods of the Deployment controller")
	}
	identity := *lease.Spec.HolderIdentity
	end := strings.LastIndexByte(identity, '_')
	if end > 0 {
		if _, text, err := net.SplitHostPort(identity[end+1:]); err == nil {
			if port, err := strconv.Atoi(text); err == nil {
				return identity[:end], port, nil
			}
		}
	}
	return "", 0, fmt.Errorf("its holder %q is not POD_IP:PORT: another version of Sluice holds it", identity)
}

// certificate returns what a caller of the status needs for TLS.
func (i Installation) certificate(ctx context.Context, api kubernetes.Interface) (*tls.Config, error) {
	name := i.Namespace + "/" + install.StatusSecret
	secret, err := api.CoreV1().Secrets(i.Namespace).Get(ctx, install.StatusSecret, metav1.GetOptions{})
	if err != nil {
		return nil, i.explained(err, "reading the Secret "+name+", which has the certificate for the status", "get on secrets")
	}
	own, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, fmt.Errorf("the Secret %s: %w; delete it, and the leading controller makes another within a minute", name, err)
	}
	known := x509.NewCertPool()
	if !known.AppendCertsFromPEM(secret.Data[corev1.ServiceAccountRootCAKey]) {
		return nil, fmt.Errorf("the Secret %s has no authority in %s", name, corev1.ServiceAccountRootCAKey)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{own}, RootCAs: known, ServerName: install.ServerName(i.Namespace), MinVersion: tls.VersionTLS13,
	}, nil
}

// forward listens on this machine for connections to the port of a pod.
func (i Installation) forward(ctx context.Context, api *kubernetes.Clientset, pod string, port int) (string, func(), error) {
	dialer, err := i.dialer(api, pod)
	if err != nil {
		return "", nil, err
	}
	// The way outlives ctx, which bounds only its opening.
	way, end := context.WithCancel(context.WithoutCancel(ctx))
	ready, failed := make(chan struct{}), make(chan error, 1)
	f, err := portforward.NewOnAddressesForStreamingWithContext(way, dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)},
		ready, io.Discard, io.Discard)
	if err != nil {
		end()
		return "", nil, err
	}
	go func() { failed <- f.ForwardPorts() }()
	select {
	case <-ready:
	case err = <-failed:
	case <-ctx.Done():
		err = ctx.Err()
	}
	var ports []portforward.ForwardedPort
	if err == nil {
		ports, err = f.GetPorts()
	}
	if err != nil {
		end()
		return "", nil, err
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(int(ports[0].Local))), end, nil
}

// dialer connects by WebSocket, and by SPDY where the API server or a proxy before it has no WebSocket, as kubectl does.
func (i Installation) dialer(api *kubernetes.Clientset, pod string) (httpstream.Dialer, error) {
	url := api.CoreV1().RESTClient().Post().Resource(string(corev1.ResourcePods)).
		Namespace(i.Namespace).Name(pod).SubResource("portforward").URL()
	tripper, upgrader, err := spdy.RoundTripperFor(i.Config)
	if err != nil {
		return nil, err
	}
	old := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: tripper}, http.MethodPost, url)
	overWebSocket, err := portforward.NewSPDYOverWebsocketDialerForStreaming(url, i.Config)
	if err != nil {
		return nil, err
	}
	return portforward.NewFallbackDialerForStreaming(overWebSocket, old, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}

// explained says what to do about an error of the API server. right is what the caller's account needs in the namespace.
func (i Installation) explained(err error, doing, right string) error {
	where := "the cluster " + i.Config.Host
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%s: %s does not have it; Sluice is not installed there, or in another namespace, or has not started yet",
			doing, where)
	case apierrors.IsForbidden(err) || strings.Contains(err.Error(), "forbidden"): // as above
		return fmt.Errorf("%s: your account may not do so in %s: it needs %s in the namespace %s, which the Role %s there allows: %w",
			doing, where, right, i.Namespace, install.StatusRole, err)
	}
	return fmt.Errorf("%s, in %s: %w", doing, where, err)
}
