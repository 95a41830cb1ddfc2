// Package apiserver is a Kubernetes API server for custom resources alone: k8s.io/apiextensions-apiserver inside this process, on
// top of package store, an etcd that listens on a unix socket only. kubectl, kn, controllers, watches and
// server-side apply talk to it as to any cluster, and its objects survive kill -9.
//
// It has no namespaces to create, no Secrets, Events, Leases or RBAC, and no garbage collector: whoever relies on owner
// references deletes owned objects itself. It knows the CustomResourceDefinitions and admission defaults of package
// crds; it must not know what the objects mean, nor who reconciles them.
package apiserver
