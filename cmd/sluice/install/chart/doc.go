// Package chart makes files of the objects of package install: a kustomize base, and a Helm chart. Both have what `sluice install` prints,
// because they are made from it: a template of the chart is the YAML of an installation whose options have marks for values, and in place
// of each mark the template has the value's name. deploy/ has these files; `make verify` and test/charts hold them.
//
// It has pure functions over values. It must not know clients, files, or what the objects are for.
package chart

//go:generate go run ./generate -to ../../../../deploy
