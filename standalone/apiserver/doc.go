// Package apiserver is a Kubernetes API server for custom resources only: k8s.io/apiextensions-apiserver inside this
// process, with package store, an etcd on a unix socket. kubectl, kn and controllers use it as they use any cluster, with
// watches and server-side apply. Its objects survive kill -9.
//
// It has no Secrets, Events, Leases or RBAC, and every namespace exists. It has no garbage collector: controllers delete the
// objects that they own. The package knows the CustomResourceDefinitions and admission defaults of package crds. It must not
// know what the objects mean, nor who reconciles them.
package apiserver
