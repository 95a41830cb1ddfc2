// Package config reads the ConfigMaps of an installation: their data in, typed Settings out. Names, keys, defaults and rules are
// Knative's; docs/configuration.md lists them.
//
// It is pure: one file for each ConfigMap, and no client, clock or file. It must not know where the data come from, or who uses the
// Settings.
package config
