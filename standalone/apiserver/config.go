package apiserver

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"time"

	noop "go.opentelemetry.io/otel/trace/noop"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	extensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	crdoptions "k8s.io/apiextensions-apiserver/pkg/cmd/server/options"
	crdopenapi "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	apimachineryversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	apiopenapi "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/server/egressselector"
	"k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/util/compatibility"
	"k8s.io/apiserver/pkg/util/openapi"
	"k8s.io/apiserver/pkg/util/webhook"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	basecompatibility "k8s.io/component-base/compatibility"

	"sluice.dev/sluice/standalone/store"
)

const (
	// maxBody is the largest request body in bytes; etcd takes no value over 1.5 MiB.
	maxBody = 1 << 20
	// drain is how long a stop waits for requests and watches to end.
	drain = time.Second
)

// settings are what a server is built from.
type settings struct {
	listener net.Listener
	store    *store.Store
	token    string
	pair     keyPair
	scaling  func(annotations map[string]string) error
}

// newServer builds the API server. It needs no other API server: it has no delegated authentication or authorization, no
// informers of the core API, and no webhooks.
func newServer(s settings) (*extensions.CustomResourceDefinitions, error) {
	gc := genericapiserver.NewRecommendedConfig(extensions.Codecs)
	gc.EffectiveVersion = namedVersion{compatibility.DefaultBuildEffectiveVersion()}
	gc.MergedResourceConfig = extensions.DefaultAPIResourceConfigSource()
	gc.ShutdownWatchTerminationGracePeriod = drain // 0 would let one open watch hold a stop for a minute
	gc.MaxRequestBodyBytes = maxBody
	gc.JSONPatchMaxCopyBytes = maxBody
	gc.EnableProfiling = false
	gc.AdmissionControl = defaulting{scaling: s.scaling}

	// Without version 2 the controllers that publish the schemas (of both versions) would never start.
	defs := openapi.GetOpenAPIDefinitionsWithoutDisabledFeatures(crdopenapi.GetOpenAPIDefinitions)
	namer := apiopenapi.NewDefinitionNamer(extensions.Scheme, clientscheme.Scheme)
	gc.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(defs, namer)
	gc.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(defs, namer)

	etcd := storeOptions(s.store)
	if err := etcd.ApplyTo(&gc.Config); err != nil {
		return nil, fmt.Errorf("configuring the API's storage: %w", err)
	}
	if err := serveTLS(gc, s); err != nil {
		return nil, err
	}
	gc.Authentication.Authenticator = adminByToken(s.token)
	gc.Authorization.Authorizer = authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup)

	config := &extensions.Config{GenericConfig: gc, ExtraConfig: extensions.ExtraConfig{
		CRDRESTOptionsGetter: crdoptions.NewCRDRESTOptionsGetter(*etcd, gc.ResourceTransformers, gc.StorageObjectCountTracker),
		ServiceResolver:      webhook.NewDefaultServiceResolver(),
		AuthResolverWrapper: webhook.NewDefaultAuthenticationInfoResolverWrapper(nil, nil, gc.LoopbackClientConfig,
			noop.NewTracerProvider()),
		MasterCount: 1,
	}}
	completed := config.Complete()
	completed.GenericConfig.EnableDiscovery = true // Complete turns it off, because in a cluster the aggregator serves /apis
	chain := completed.GenericConfig.BuildHandlerChainFunc
	completed.GenericConfig.BuildHandlerChainFunc = func(api http.Handler, c *genericapiserver.Config) http.Handler {
		return chain(whileStored(s.store, api), c)
	}
	server, err := completed.New(genericapiserver.NewEmptyDelegate())
	if err != nil {
		return nil, fmt.Errorf("building the API server: %w", err)
	}
	// An idle HTTP/2 connection takes the server a second to close.
	server.GenericAPIServer.ShutdownTimeout = 2 * drain
	serveNamespaces(server.GenericAPIServer.Handler.NonGoRestfulMux)
	return server, listGroups(server)
}

func storeOptions(s *store.Store) *options.EtcdOptions {
	codec := extensions.Codecs.LegacyCodec(apiextensionsv1.SchemeGroupVersion)
	etcd := options.NewEtcdOptions(storagebackend.NewDefaultConfig(storagePrefix, codec))
	etcd.StorageConfig.Transport.ServerList = []string{s.URL()}
	etcd.StorageConfig.Transport.EgressLookup = func(egressselector.NetworkContext) (utilnet.DialFunc, error) {
		return func(ctx context.Context, _, _ string) (net.Conn, error) { return s.Dial(ctx) }, nil
	}
	// etcd is on this machine and clients are few. Without a watch cache, a watch replays etcd's own history, the first list
	// does not wait a second for the cache to fill, and 2,000 Services take 30 MB less.
	etcd.EnableWatchCache = false
	// There is no garbage collector, which would remove the finalizers of foreground and orphan deletes.
	etcd.EnableGarbageCollection = false
	return etcd
}

// serveTLS configures the listener, and a client with its own token for the server's own controllers.
func serveTLS(gc *genericapiserver.RecommendedConfig, s settings) error {
	cert, err := dynamiccertificates.NewStaticCertKeyContent("apiserver", s.pair.cert, s.pair.key)
	if err != nil {
		return fmt.Errorf("loading the API's certificate: %w", err)
	}
	gc.SecureServing = &genericapiserver.SecureServingInfo{Listener: s.listener, Cert: cert}
	loopback, err := gc.SecureServing.NewLoopbackClientConfig(rand.Text(), s.pair.cert)
	if err != nil {
		return fmt.Errorf("configuring the API's own client: %w", err)
	}
	loopback.QPS, loopback.Burst = -1, -1 // no limit; the default of 5 requests a second would slow down the server's controllers
	gc.LoopbackClientConfig = loopback
	gc.ExternalAddress = s.listener.Addr().String()
	return nil
}

// namedVersion has the version that clients see. Without linker flags the library answers v0.0.0, which kubectl cannot parse.
type namedVersion struct {
	basecompatibility.EffectiveVersion
}

// Info is what /version answers.
func (v namedVersion) Info() *apimachineryversion.Info {
	info := v.EffectiveVersion.Info()
	info.GitVersion = "v" + v.BinaryVersion().String() + ".0+sluice"
	info.GitCommit = ""
	return info
}
