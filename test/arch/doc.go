// Package arch holds the layers of the house: who may import whom, as a table that a test checks.
package arch
