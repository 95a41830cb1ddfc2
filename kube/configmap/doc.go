// Package configmap watches the ConfigMaps of an installation and offers what they say as one value, config.Settings, which is always
// valid: of a wrong ConfigMap the last good data stay in force. What is wrong becomes an Event on the ConfigMap and a metric.
//
// It watches one namespace, and in it only the ConfigMaps that package config names. It writes nothing but Events and one ConfigMap of its
// own, with the last good data for the next process. It must not know who uses the Settings.
package configmap
